"""Is the latent used, and what does it hold: the topic or the sentence?

``posteriors`` collects q(z | y) of a split in one pass; every metric is a pure function of them.
Shape legend: N sentences, Z latent, K flow length, T topics, M samples. Everything is in nats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from tgvae.data.batch import Batch
from tgvae.data.corpus import Corpus
from tgvae.distributions import HouseholderNormal, householder, safe_log
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.metric import Metrics
from tgvae.evaluation.registry import EvalInputs, Evaluation, evaluator, measure
from tgvae.models.base import Capability
from tgvae.progress import step, track
from tgvae.random import make_generator

ACTIVE_VARIANCE = 0.01
CHUNK_SIZE = 128  # sentences whose Z x Z matrices are in memory at once
MAX_DRAWS = 500


@dataclass(frozen=True, eq=False)
class Components:
    """The component c of the prior, a latent of its own.

    Attributes:
        weights: q(c | y, d) with shape (N, T).
        theta: topic proportions of the document without the sentence, p(c | d), with shape (N, T).
        loc: mu_c of p(z | c) with shape (T, Z).
        scale: sigma_c of p(z | c) with shape (T, Z).
    """

    weights: Tensor
    theta: Tensor
    loc: Tensor
    scale: Tensor


@dataclass(frozen=True, eq=False)
class Posteriors:
    """q(z | y) of every modelled sentence, in the order of the corpus, float64, on the CPU.

        q(z | y) = N(U loc, U diag(scale^2) U')                                  U = H_K ... H_1
        q(z | y, d) = sum_c q(c | y, d) N(mu_c + U loc, U diag(scale^2) U')      with components

    Attributes:
        loc: with shape (N, Z).
        scale: with shape (N, Z).
        vectors: the v_k of the reflections with shape (N, K, Z).
        components: None for a prior without c.
    """

    loc: Tensor
    scale: Tensor
    vectors: Tensor
    components: Components | None = None

    @property
    def weights(self) -> Tensor:
        """Mixture weights of each posterior, (N, T); a single 1 without components."""
        return self.loc.new_ones(len(self.loc), 1) if self.components is None else self.components.weights

    @property
    def centres(self) -> Tensor:
        """Means of the components, (T, Z); a single 0 without components."""
        return self.loc.new_zeros(1, self.loc.shape[1]) if self.components is None else self.components.loc

    @property
    def prior_scale(self) -> Tensor:
        """Standard deviation of p(z | c), averaged over sentences, (Z,); 1 without components."""
        if self.components is None:
            return self.loc.new_ones(self.loc.shape[1])
        return self.components.weights.mean(0) @ self.components.scale

    @property
    def deviations(self) -> Tensor:
        """U loc: the offset of each sentence from its component, with shape (N, Z)."""
        return householder(self.loc, self.vectors)

    @property
    def means(self) -> Tensor:
        """E_q[z | y] with the component averaged out, (N, Z); the deviations where there are no components."""
        return self.weights @ self.centres + self.deviations

    def gaussians(self) -> Iterator[HouseholderNormal]:
        """N(U loc, U diag(scale^2) U') in chunks of CHUNK_SIZE sentences."""
        parts = (x.split(CHUNK_SIZE) for x in (self.loc, self.scale, self.vectors))
        return (HouseholderNormal(*part) for part in zip(*parts, strict=True))

    def __len__(self) -> int:
        return len(self.loc)

    def sample(self, n: Tensor, rng: torch.Generator) -> Tensor:
        c = torch.multinomial(self.weights[n], 1, generator=rng).squeeze(1)
        noise = torch.randn(len(n), self.loc.shape[1], generator=rng, dtype=self.loc.dtype)
        return self.centres[c] + householder(self.loc[n] + self.scale[n] * noise, self.vectors[n])

    def log_densities(self, rows: slice, z: Tensor) -> Tensor:
        # Whitened by diag(1/scale) U', all Gaussians of a sentence are spheres of radius one, so the distances of all
        # samples to all of their centres are one matrix product
        loc, scale = self.loc[rows], self.scale[rows]
        frame = HouseholderNormal(loc, scale, self.vectors[rows]).orthogonal / scale.unsqueeze(-2)
        points = z @ frame
        centres = self.centres @ frame + (loc / scale).unsqueeze(-2)
        squares = points.square().sum(-1).unsqueeze(-1) + centres.square().sum(-1).unsqueeze(-2)
        distance = torch.baddbmm(squares, points, centres.mT, alpha=-2)
        volume = scale.log().sum(-1) + 0.5 * z.shape[1] * math.log(2 * math.pi)
        log_weights = safe_log(self.weights[rows]).unsqueeze(-2)
        return (log_weights - 0.5 * distance).logsumexp(-1) - volume.unsqueeze(-1)


def posteriors(model: Any, corpus: Corpus) -> Posteriors:
    """Return the posteriors of all modelled sentences of a split.

    A topic-guided model gets the rest of the document, with topic proportions at the posterior mean of g (not sampled).

    Raises:
        UserError: the split has no sentence to model.
    """
    chunks, index = [], corpus.sentence_batches(8192)
    guided = Capability.GUIDANCE in model.capabilities
    with evaluating(model, seed=0):
        for rows in track(index, "inferring latents"):
            chunks.append([x.cpu().double() for x in _posterior(model, corpus.gather(rows).to(model.device))])
        components = model.component(model.topic.log_beta.exp()) if guided else ()
        shared = [x.cpu().double() for x in components]
    order = torch.cat([torch.from_numpy(rows) for rows in index]).argsort()
    loc, scale, vectors, *of_c = (torch.cat(parts)[order] for parts in zip(*chunks, strict=True))
    return Posteriors(loc, scale, vectors, Components(*of_c, *shared) if of_c else None)


def _posterior(model: Any, batch: Batch) -> list[Tensor]:
    """Return location, scale and reflections, and then q(c | y, d) and t if c is a latent."""
    q = model.sentence.posterior(batch.targets, batch.lengths)
    gaussian = [q.loc, q.scale, q.vectors]
    if Capability.GUIDANCE not in model.capabilities or model.config.prior != "component":
        return gaussian
    t = model.topic.theta(batch.context)
    return [*gaussian, model.component.component_posterior(t, model.topic.log_beta, batch.sentence_bow).probs, t]


def active_units(means: Tensor) -> int:
    """Return the number of coordinates of z with Var_y E_q[z_j | y] > 0.01 (Burda et al. 2016); 0 for one sentence.

    The threshold is meant for a prior of variance 1: divide the means by ``prior_scale`` first.

    Examples:
        The mean of the first of two variables moves with the sentence:

        >>> import torch
        >>> active_units(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
        1
    """
    return int((means.var(0) > ACTIVE_VARIANCE).sum()) if len(means) > 1 else 0


class Aggregate(Protocol):
    """Posteriors q(z | y_n) of N rows on the CPU; their mean is the aggregate posterior."""

    def __len__(self) -> int: ...

    def sample(self, n: Tensor, rng: torch.Generator) -> Tensor:
        """Return one sample z ~ q(z | y_n) for each of the rows ``n`` (M,), with shape (M, ...)."""

    def log_densities(self, rows: slice, z: Tensor) -> Tensor:
        """Return log q(z_m | y_n) of some rows at samples (M, ...), with shape (rows, M)."""


@dataclass(frozen=True)
class MutualInformation:
    """I(y; z) under q.

    Attributes:
        nats: the estimate; never above ``cap``, below 0 only by chance.
        cap: ln N.
        standard_error: of ``nats`` over samples, for the given split.
    """

    nats: float
    cap: float
    standard_error: float


def mutual_information(found: Aggregate, draws: int = 1000, seed: int = 0) -> MutualInformation:
    """Estimate the mutual information of z and the row it belongs to (Hoffman & Johnson 2016).

        I(y; z) = E_y E_q(z|y)[log q(z | y) - log q(z)],    q(z) = 1/N sum_n q(z | y_n)

    q(z) averages over the whole split, because an estimate within a batch cannot exceed the log of the batch size.
    q(z) and the sum over components are exact; z is sampled M = ``draws`` times, from the rows in random order.

    Raises:
        UserError: fewer than two samples.
    """
    if draws < 2:
        raise UserError(f"mutual information needs at least 2 samples, not {draws}")
    rng = make_generator(seed)
    source = torch.randperm(len(found), generator=rng)[torch.arange(draws) % len(found)]
    z = found.sample(source, rng)
    own, aggregate = torch.empty(draws).double(), torch.full((draws,), -math.inf).double()
    for start in range(0, len(found), CHUNK_SIZE):
        log_q = found.log_densities(slice(start, start + CHUNK_SIZE), z)
        here = (source >= start) & (source < start + CHUNK_SIZE)
        own[here] = log_q[source[here] - start, here.nonzero().squeeze(1)]
        aggregate = torch.logaddexp(aggregate, log_q.logsumexp(0))
    cap = math.log(len(found))
    information = own - aggregate + cap
    return MutualInformation(information.mean().item(), cap, information.std().item() / math.sqrt(draws))


@dataclass(frozen=True)
class TotalCorrelation:
    """Distance of the posterior covariances from diagonal ones; both values are zero without the flow.

    Attributes:
        nats: mean over sentences of 1/2 (sum_j log Sigma_jj - log det Sigma).
        off_diagonal: mean over sentences of |Sigma - diag Sigma|_F / |Sigma|_F, from 0 to 1.
    """

    nats: float
    off_diagonal: float


def total_correlation(found: Posteriors) -> TotalCorrelation:
    """Return the KL from N(., Sigma) to its closest diagonal Gaussian, where Sigma = U diag(scale^2) U' given c."""
    nats, share = [], []
    for q in found.gaussians():
        variance, squares = q.variance, q.scale.square().square().sum(-1)  # |Sigma|_F does not depend on U
        nats.append((0.5 * variance.log().sum(-1) - q.scale.log().sum(-1)).clamp_min(0))
        share.append(((squares - variance.square().sum(-1)).clamp_min(0) / squares).sqrt())
    return TotalCorrelation(torch.cat(nats).mean().item(), torch.cat(share).mean().item())


@dataclass(frozen=True, eq=False)
class TopicKL:
    """KL of z by topic.

    Attributes:
        nats: mean of E_q(c)[KL(q(z | y, c) || p(z | c))] over the topic's sentences, (T,); 0 if it has none.
        sentences: number of sentences whose most probable component is the topic, with shape (T,).
    """

    nats: Tensor
    sentences: Tensor


def kl_per_topic(found: Posteriors) -> TopicKL:
    """Return the term ``kl/z`` averaged over c, in closed form, by the most probable component of each sentence.

    Relative to its component a posterior is N(U loc, Sigma) for every c, so c enters through sigma_c alone:

        KL_c = 1/2 sum_j (log 2 pi sigma_cj^2 + (Sigma_jj + (U loc)_j^2) / sigma_cj^2) - H[q]

    Raises:
        ValueError: posteriors without components.
    """
    if found.components is None:
        raise ValueError("only a model with the component prior has a KL for each topic")
    weights, precision = found.components.weights, found.components.scale.pow(-2)
    log_volume = (2 * math.pi / precision).log().sum(-1)
    parts = [
        0.5 * ((q.variance + q.mean.square()) @ precision.T + log_volume) - q.entropy().unsqueeze(-1)
        for q in found.gaussians()
    ]
    topic, size = weights.argmax(-1), weights.shape[1]
    sentences = topic.bincount(minlength=size)
    sums = weights.new_zeros(size).index_add(0, topic, (weights * torch.cat(parts)).sum(-1))
    return TopicKL(sums / sentences.clamp_min(1), sentences)


# Metrics


@evaluator("latent", Capability.LATENT)
@step("measuring the latent")
def evaluate_sentence_latent(inputs: EvalInputs, evaluation: Evaluation) -> Metrics:
    """How much the latent of sentences holds, in how many of its units, and what the flow adds."""
    found = evaluation.posteriors = posteriors(inputs.model, inputs.held_out)
    evaluation.topic_kl = None if found.components is None else kl_per_topic(found)
    sentences, size = found.loc.shape
    metrics = gaussian_metrics(found, "sentence", inputs.config.seed)
    own = active_units(found.deviations / found.prior_scale)
    metrics |= measure("active_units_sentence", own, sentences, latent_size=size, threshold=ACTIVE_VARIANCE)
    flow = total_correlation(found)
    metrics |= measure("total_correlation", flow.nats, sentences)
    metrics |= measure("off_diagonal_share", flow.off_diagonal, sentences)
    if evaluation.topic_kl is not None:
        nats = evaluation.topic_kl.nats[evaluation.topic_kl.sentences > 0]
        metrics |= measure("kl_z_min_topic", nats.min().item(), len(nats))
        metrics |= measure("kl_z_max_topic", nats.max().item(), len(nats))
    return metrics


def gaussian_metrics(found: Posteriors, row: str, seed: int) -> Metrics:
    """Return mutual information and active units of a Gaussian latent; ``row`` names a row: sentence, image or node."""
    active, size = active_units(found.means / found.prior_scale), found.loc.shape[1]
    return mutual_information_metric(found, row, seed) | measure(
        "active_units", active, len(found), latent_size=size, threshold=ACTIVE_VARIANCE
    )


def mutual_information_metric(found: Aggregate, row: str, seed: int) -> Metrics:
    """Return the mutual information of z and the rows of a split; nothing for a single row."""
    rows = len(found)
    if rows < 2:
        return {}
    draws = min(MAX_DRAWS, rows)
    estimate = mutual_information(found, draws, seed)
    return measure(
        "mutual_information",
        estimate.nats,
        rows,
        seed,
        estimate.standard_error,
        row=row,
        rows=rows,
        cap=estimate.cap,
        draws=draws,
    )

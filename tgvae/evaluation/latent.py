"""Is the latent used, and by what: the topic or the sentence?

One pass over a split collects ``posteriors``; every figure is a pure function of them.
Shape legend: N sentences, Z latent, K flow length, T topics, M draws. Everything is in nats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tgvae.data.batch import Batch
from tgvae.data.corpus import Corpus
from tgvae.distributions import HouseholderNormal, householder, safe_log
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import evaluating
from tgvae.models.sentence import LatentSentenceModel
from tgvae.models.tgvae import TGVAE
from tgvae.progress import track
from tgvae.random import make_generator

ACTIVE_VARIANCE = 0.01
AT_ONCE = 128  # sentences whose Z x Z matrices are held together


@dataclass(frozen=True, eq=False)
class Components:
    """The component latent c of TGVAE.

    Attributes:
        weights: q(c | y, d) with shape (N, T).
        theta: t of the document without the sentence, p(c | d), with shape (N, T).
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
        components: None for the sentence VAE and for priors of TGVAE without c.
    """

    loc: Tensor
    scale: Tensor
    vectors: Tensor
    components: Components | None = None

    @property
    def weights(self) -> Tensor:
        """Weights of the Gaussians that make up each posterior, (N, T); a single 1 without components."""
        return self.loc.new_ones(len(self.loc), 1) if self.components is None else self.components.weights

    @property
    def centres(self) -> Tensor:
        """What the Gaussians deviate from, (T, Z); a single 0 without components."""
        return self.loc.new_zeros(1, self.loc.shape[1]) if self.components is None else self.components.loc

    @property
    def prior_scale(self) -> Tensor:
        """Standard deviation of the prior around its component, the mean over sentences, (Z,); 1 without components."""
        if self.components is None:
            return self.loc.new_ones(self.loc.shape[1])
        return self.components.weights.mean(0) @ self.components.scale

    @property
    def deviations(self) -> Tensor:
        """U loc, what the sentence adds to its component, with shape (N, Z)."""
        return householder(self.loc, self.vectors)

    @property
    def means(self) -> Tensor:
        """E_q[z | y] with the component averaged out, (N, Z); the deviations where there are no components."""
        return self.weights @ self.centres + self.deviations

    def gaussians(self) -> Iterator[HouseholderNormal]:
        """N(U loc, U diag(scale^2) U'), some sentences at a time."""
        parts = (x.split(AT_ONCE) for x in (self.loc, self.scale, self.vectors))
        return (HouseholderNormal(*part) for part in zip(*parts, strict=True))

    def __len__(self) -> int:
        return len(self.loc)

    def drawn(self, n: Tensor, rng: torch.Generator) -> Tensor:
        c = torch.multinomial(self.weights[n], 1, generator=rng).squeeze(1)
        noise = torch.randn(len(n), self.loc.shape[1], generator=rng, dtype=self.loc.dtype)
        return self.centres[c] + householder(self.loc[n] + self.scale[n] * noise, self.vectors[n])

    def log_densities(self, rows: slice, z: Tensor) -> Tensor:
        """In a sentence's frame, diag(1/scale) U' z, its Gaussians are spheres of radius one.

        The distances of their centres to all draws are then one matrix product.
        """
        loc, scale = self.loc[rows], self.scale[rows]
        frame = HouseholderNormal(loc, scale, self.vectors[rows]).orthogonal / scale.unsqueeze(-2)
        points = z @ frame
        centres = self.centres @ frame + (loc / scale).unsqueeze(-2)
        squares = points.square().sum(-1).unsqueeze(-1) + centres.square().sum(-1).unsqueeze(-2)
        distance = torch.baddbmm(squares, points, centres.mT, alpha=-2)
        volume = scale.log().sum(-1) + 0.5 * z.shape[1] * math.log(2 * math.pi)
        log_weights = safe_log(self.weights[rows]).unsqueeze(-2)
        return (log_weights - 0.5 * distance).logsumexp(-1) - volume.unsqueeze(-1)


def posteriors(model: LatentSentenceModel, corpus: Corpus) -> Posteriors:
    """The posteriors of a split, for TGVAE given the rest of the document with g at its posterior mean, not drawn.

    Raises:
        UserError: the split has no sentence to model.
    """
    found, index = [], corpus.sentence_batches(8192)
    with evaluating(model, seed=0):
        for rows in track(index, "inferring latents"):
            found.append([x.cpu().double() for x in _posterior(model, corpus.gather(rows).to(model.device))])
        components = model.component(model.topic.log_beta.exp()) if isinstance(model, TGVAE) else ()
        shared = [x.cpu().double() for x in components]
    order = torch.cat([torch.from_numpy(rows) for rows in index]).argsort()
    loc, scale, vectors, *of_c = (torch.cat(parts)[order] for parts in zip(*found, strict=True))
    return Posteriors(loc, scale, vectors, Components(*of_c, *shared) if of_c else None)


def _posterior(model: LatentSentenceModel, batch: Batch) -> list[Tensor]:
    """Location, scale and reflections; then q(c | y, d) and t where c is a latent."""
    q = model.sentence.posterior(batch.targets, batch.lengths)
    gaussian = [q.loc, q.scale, q.vectors]
    if not (isinstance(model, TGVAE) and model.config.prior == "component"):
        return gaussian
    t = model.topic.theta(batch.context)
    return [*gaussian, model.component.component_posterior(t, model.topic.log_beta, batch.sentence_bow).probs, t]


def active_units(means: Tensor) -> int:
    """Coordinates of z with Var_y E_q[z_j | y] > 0.01 (Burda et al. 2016); none for a single sentence.

    The threshold is for a prior of variance 1: divide the means by ``prior_scale`` first.

    Examples:
        The mean of the first of two variables moves with the sentence:

        >>> import torch
        >>> active_units(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
        1
    """
    return int((means.var(0) > ACTIVE_VARIANCE).sum()) if len(means) > 1 else 0


class Aggregate(Protocol):
    """The posteriors q(z | y_n) of N rows, sentences or others, on the CPU: their mean is the aggregate posterior."""

    def __len__(self) -> int: ...

    def drawn(self, n: Tensor, rng: torch.Generator) -> Tensor:
        """A draw z ~ q(z | y_n) for each of the rows ``n`` (M,), with shape (M, ...)."""

    def log_densities(self, rows: slice, z: Tensor) -> Tensor:
        """log q(z_m | y_n) of some rows at draws (M, ...), with shape (rows, M)."""


@dataclass(frozen=True)
class MutualInformation:
    """I(y; z) under q.

    Attributes:
        nats: the estimate; below 0 by chance alone, never above ``cap``.
        cap: ln N.
        standard_error: of ``nats`` over draws, the split being given.
    """

    nats: float
    cap: float
    standard_error: float


def mutual_information(found: Aggregate, draws: int = 1000, seed: int = 0) -> MutualInformation:
    """What z tells of which row of the split it came from (Hoffman & Johnson 2016).

        I(y; z) = E_y E_q(z|y)[log q(z | y) - log q(z)],    q(z) = 1/N sum_n q(z | y_n)

    Over the whole split: within a batch the value could not pass the log of its size. q(z) and the sum over
    components are exact; z is drawn M = ``draws`` times, from the rows in turn, in a random order.

    Raises:
        UserError: fewer than two draws.
    """
    if draws < 2:
        raise UserError(f"mutual information needs at least 2 draws, not {draws}")
    rng = make_generator(seed)
    source = torch.randperm(len(found), generator=rng)[torch.arange(draws) % len(found)]
    z = found.drawn(source, rng)
    own, aggregate = torch.empty(draws).double(), torch.full((draws,), -math.inf).double()
    for start in range(0, len(found), AT_ONCE):
        log_q = found.log_densities(slice(start, start + AT_ONCE), z)
        here = (source >= start) & (source < start + AT_ONCE)
        own[here] = log_q[source[here] - start, here.nonzero().squeeze(1)]
        aggregate = torch.logaddexp(aggregate, log_q.logsumexp(0))
    cap = math.log(len(found))
    information = own - aggregate + cap
    return MutualInformation(information.mean().item(), cap, information.std().item() / math.sqrt(draws))


@dataclass(frozen=True)
class TotalCorrelation:
    """How far posterior covariances are from diagonal; both zero without the flow.

    Attributes:
        nats: mean over sentences of 1/2 (sum_j log Sigma_jj - log det Sigma).
        off_diagonal: mean over sentences of |Sigma - diag Sigma|_F / |Sigma|_F, a share from 0 to 1.
    """

    nats: float
    off_diagonal: float


def total_correlation(found: Posteriors) -> TotalCorrelation:
    """KL from N(., Sigma) to its closest diagonal Gaussian, Sigma = U diag(scale^2) U' the covariance given c."""
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
        nats: mean of E_q(c)[KL(q(z | y, c) || p(z | c))] over the topic's sentences, (T,); 0 without any.
        sentences: how many have the topic as their most probable component, with shape (T,).
    """

    nats: Tensor
    sentences: Tensor


def kl_per_topic(found: Posteriors) -> TopicKL:
    """The term ``kl/z`` in closed form, the mean over c included, by the most probable component.

    Around its component a posterior is N(U loc, Sigma) whatever c is, so that c enters by sigma_c alone:

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

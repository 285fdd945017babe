"""Metrics of models of vectors: likelihood of held-out vectors and information in z, with simple baselines.

Shape legend: N vectors, D values of each, Z latent variables, C categories of each, M samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Bernoulli, Independent

from tgvae.data.vectors import VectorSplit
from tgvae.distributions import diagonal_normal
from tgvae.evaluation.latent import Posteriors, gaussian_metrics, mutual_information_metric
from tgvae.evaluation.likelihood import BATCH_SIZES, Units, bound_of, evaluating, importance_weighted_nll, measure_terms
from tgvae.evaluation.metric import Metrics, Parts
from tgvae.evaluation.registry import EvalInputs, Evaluation, evaluator, measure
from tgvae.models.base import Capability
from tgvae.models.vae import LEAST_SPREAD, VectorVAE
from tgvae.progress import step

Floats = NDArray[np.floating]
NEIGHBOURS = 5


@evaluator("likelihood", Capability.VECTORS)
@step("computing likelihoods")
def evaluate_vector_likelihood(inputs: EvalInputs, evaluation: Evaluation) -> Metrics:
    """Likelihood of held-out vectors."""
    config = inputs.config
    return vector_likelihood_metrics(inputs.model, inputs.train, inputs.held_out, config.samples, config.seed)


@evaluator("latent", Capability.VECTORS)
@step("measuring the latent")
def evaluate_vector_latent(inputs: EvalInputs, evaluation: Evaluation) -> Metrics:
    """How much z holds, in how many of its units or categories, and whether near vectors have the same label in it."""
    return vector_latent_metrics(inputs.model, inputs.train, inputs.held_out, inputs.config.seed)


def row_of(model: VectorVAE) -> str:
    """Return the name of a vector of the model's data."""
    return "image" if model.space.picture else "vector"


def vector_likelihood_metrics(
    model: VectorVAE, train: VectorSplit, held_out: VectorSplit, samples: int, seed: int
) -> Metrics:
    """Return reconstruction, KL and bounds in nats per vector and value, with models without a network as baselines.

    For a deterministic autoencoder only the reconstruction: -log p(x | z) at its code is no bound of -log p(x).
    Densities of a normal likelihood have ids of their own: they cannot be compared with probabilities.
    """
    row, of = row_of(model), " (density)" if model.config.likelihood == "normal" else ""
    nats: Units = {"row": row, "word": "value"}
    units: Units = {unit: called + of for unit, called in nats.items()}
    bound = bound_of(model, held_out, "vector", seed)
    if model.config.latent == "point":
        found = measure_terms("reconstruction_per_{row}", bound, "nll/", units, "at the code of the encoder", None)
        return {id: replace(metric, unit="nats, no bound") for id, metric in found.items()}
    references = {id: replace(bound, terms={"nll/x": nll}) for id, nll in baselines(model, train.x, held_out.x).items()}
    found = measure_terms("reconstruction_per_{row}", bound, "nll/", units, "one draw", seed)
    found |= measure_terms("kl_per_{row}", bound, "kl/", nats, "closed form", None)
    found |= measure_terms("neg_elbo_per_{row}", bound, "", units, "one draw", seed, references)
    if samples:
        weighted = importance_weighted_nll(model, held_out, samples, seed, unit="vector").bound
        how = f"importance-weighted, {samples} draws per {row}"
        found |= measure_terms("nll_iw_per_{row}", weighted, "", units, how, seed, references, samples=samples)
    return found


def baselines(model: VectorVAE, train: Floats, test: Floats) -> dict[str, Tensor]:
    """Return -log p of the test vectors under models without a network that are fitted to the training vectors.

    ``independent_values`` is the best that a decoder can do without z. ``pca``, for a normal likelihood, is
    probabilistic PCA with as many components, the optimum of a linear VAE (Tipping & Bishop 1999). It is left out if so
    many components leave no variance for the noise.

    Returns:
        nats with shape (N,) by id of the baseline.
    """
    fitted = independent_values(torch.from_numpy(train).double(), model.config.likelihood == "bernoulli")
    found = {"independent_values": -fitted.log_prob(torch.from_numpy(test).double())}
    if model.config.likelihood == "normal" and model.config.latent_size < min(train.shape):
        from sklearn.decomposition import PCA

        pca = PCA(model.config.latent_size, svd_solver="full").fit(train.astype(np.float64))
        if pca.noise_variance_ > LEAST_SPREAD**2:
            found["pca"] = -torch.from_numpy(pca.score_samples(test.astype(np.float64)))
    return found


def independent_values(x: Tensor, binary: bool) -> Independent:
    """Return a distribution over D independent values, fitted to x (N, D).

    Bernoulli: p_d = (sum_n x_nd + 1) / (N + 2), the mean under a uniform prior, so that no value is impossible.
    Normal: the mean of each value, and one standard deviation for all values, as in the decoder.
    """
    if binary:
        return Independent(Bernoulli((x.sum(0) + 1) / (len(x) + 2), validate_args=False), 1, validate_args=False)
    mean = x.mean(0)
    return diagonal_normal(mean, (x - mean).square().mean().sqrt().clamp_min(LEAST_SPREAD).expand_as(mean))


def vector_latent_metrics(model: VectorVAE, train: VectorSplit, held_out: VectorSplit, seed: int) -> Metrics:
    """Return mutual information, active units or use of categories, and accuracy of nearest neighbours."""
    row, found = row_of(model), {}
    if model.config.latent == "normal":
        found = gaussian_metrics(gaussians(model, held_out), row, seed)
    elif model.config.latent == "categorical":
        of_each = categories(model, held_out)
        found = mutual_information_metric(of_each, row, seed) | of_each.metrics()
    return found | neighbour_accuracy(model, train, held_out)


def map_batches(model: VectorVAE, split: VectorSplit, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a function of the encoder's input for all vectors of a split, (N, ...), in float64 on the CPU."""
    rows = split.rows("vector")
    with evaluating(model, seed=0):
        batches = (rows.gather(index).to(model.device) for index in rows.batches(BATCH_SIZES["vector"], None))
        return torch.cat([function(batch.encoder_inputs).cpu().double() for batch in batches])


def embedded(model: VectorVAE, split: VectorSplit) -> NDArray[np.float64]:
    """Return E_q[z | x], or the code, of every vector, with shape (N, Z), or (N, Z C) for one-hot variables."""
    return map_batches(model, split, lambda x: model.embed(x).flatten(1)).numpy()


def gaussians(model: VectorVAE, split: VectorSplit) -> Posteriors:
    """Return q(z | x) of every vector of a split: diagonal Gaussians, K = 0 reflections."""

    def moments(x: Tensor) -> Tensor:
        q = model.posterior(x)
        assert q is not None
        return torch.stack((q.mean, q.stddev), dim=1)

    loc, scale = map_batches(model, split, moments).unbind(1)
    return Posteriors(loc, scale, loc.new_zeros(len(loc), 0, loc.shape[1]))


def categories(model: VectorVAE, split: VectorSplit) -> Categories:
    """Return q(z | x) of every vector of a split for a discrete z."""

    def log_probs(x: Tensor) -> Tensor:
        q = model.posterior(x)
        assert q is not None
        return q.base_dist.logits

    return Categories(map_batches(model, split, log_probs))


@dataclass(frozen=True, eq=False)
class Categories:
    """q(z | x) of every vector for Z variables of C categories each; an ``Aggregate``.

    Attributes:
        log_probs: log q(z_j = c | x_n) with shape (N, Z, C), float64.
    """

    log_probs: Tensor

    def __len__(self) -> int:
        return len(self.log_probs)

    def sample(self, n: Tensor, rng: torch.Generator) -> Tensor:
        """Return one-hot samples, with shape (M, Z, C)."""
        probs = self.log_probs[n].exp()
        chosen = torch.multinomial(probs.flatten(0, 1), 1, generator=rng).view(probs.shape[:2])
        return torch.nn.functional.one_hot(chosen, probs.shape[2]).to(probs)

    def log_densities(self, rows: slice, z: Tensor) -> Tensor:
        return self.log_probs[rows].flatten(1) @ z.flatten(1).T

    def metrics(self) -> Metrics:
        """Return the entropy of q and how evenly the categories are used over the vectors.

        Read them together: a variable that ignores x uses all categories evenly, but has an entropy of ln C.
        """
        probs, (count, variables, size) = self.log_probs.exp(), self.log_probs.shape
        entropy = -(probs * self.log_probs).sum(-1)
        used = probs.mean(0)
        perplexity = torch.special.entr(used).sum(-1).exp().mean().item()
        best = torch.nn.functional.one_hot(probs.argmax(-1), size).sum(0)
        return (
            measure(
                "posterior_entropy",
                Parts.mean(entropy.mean(1), paired=True),
                baselines={"ln_c": float(np.log(size))},
            )
            | measure("category_perplexity", perplexity, count, categories=size)
            | measure("unused_categories", int((best == 0).sum()), count, categories=variables * size)
        )


def neighbour_accuracy(model: VectorVAE, train: VectorSplit, held_out: VectorSplit) -> Metrics:
    """Return the accuracy of labels of the nearest training vectors in latent space, with raw values as baseline."""
    if train.labels is None or held_out.labels is None:
        return {}
    known = np.isin(held_out.labels, train.labels)  # a class may have been left out of training
    held_out = replace(held_out, x=held_out.x[known], labels=held_out.labels[known])
    assert held_out.labels is not None
    in_latent, in_values = (
        neighbour_hits(points, train.labels, others, held_out.labels)
        for points, others in ((embedded(model, train), embedded(model, held_out)), (train.x, held_out.x))
    )
    return measure(
        "knn_accuracy",
        Parts.mean(in_latent, paired=True),
        baselines={"raw_values": float(in_values.mean())},
        neighbours=NEIGHBOURS,
        row=row_of(model),
    )


def neighbour_hits(
    train: Floats, train_labels: NDArray[np.str_], test: Floats, test_labels: NDArray[np.str_]
) -> NDArray[np.bool_]:
    """Return for each test vector whether the commonest label of its nearest training vectors is its own."""
    from sklearn.neighbors import KNeighborsClassifier

    nearest = KNeighborsClassifier(min(NEIGHBOURS, len(train))).fit(train, train_labels)
    return np.asarray(nearest.predict(test) == test_labels)

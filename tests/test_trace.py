"""The bound, on a linear-Gaussian VAE whose log p(x) and posterior are known in closed form."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, kl_divergence

from tests.dense import DenseWords
from tgvae.data.schema import PreparedFolder
from tgvae.distributions import GaussianMixture, HouseholderNormal, diagonal_normal
from tgvae.divergences import kl
from tgvae.evaluation.likelihood import (
    evaluating,
)
from tgvae.models.sentence import LanguageModel, SentenceConfig
from tgvae.trace import Latent, Observed, Trace, importance_weighted, objective

B, Z, X = 3, 2, 4
NOISE = 0.7


def normals(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


class LinearGaussian:
    """z ~ N(0, I), x | z ~ N(W z + b, NOISE^2 I)."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.w, self.b, self.x = normals(X, Z), normals(X), normals(B, X)

    @property
    def prior(self) -> MultivariateNormal:
        return MultivariateNormal(torch.zeros(Z).double(), torch.eye(Z).double())

    @property
    def log_px(self) -> Tensor:
        covariance = self.w @ self.w.T + NOISE**2 * torch.eye(X)
        return MultivariateNormal(self.b, covariance).log_prob(self.x)

    @property
    def posterior(self) -> MultivariateNormal:
        precision = torch.eye(Z) + self.w.T @ self.w / NOISE**2
        covariance = torch.linalg.inv(precision)
        mean = (self.x - self.b) @ self.w @ covariance / NOISE**2
        return MultivariateNormal(mean, covariance)

    def approximation(self) -> MultivariateNormal:
        """A posterior that is off in mean and covariance."""
        exact = self.posterior
        return MultivariateNormal(exact.mean + 0.3, torch.diag_embed(1.5 * exact.variance))

    def trace(self, q: Distribution, samples: int) -> Trace:
        z = q.rsample((samples,))
        likelihood = diagonal_normal(z @ self.w.T + self.b, torch.full((X,), NOISE, dtype=torch.float64))
        return Trace({"z": Latent(q, self.prior, z, "sentence")}, {"x": Observed(likelihood, self.x, "sentence")})


def test_exact_posterior_has_weights_without_variance() -> None:
    model = LinearGaussian()
    weights = model.trace(model.posterior, 20).log_weights("sentence")
    assert weights.shape == (20, B)
    torch.testing.assert_close(weights, model.log_px.expand(20, B))
    torch.testing.assert_close(importance_weighted(weights), model.log_px)


def test_elbo_misses_log_px_by_the_kl_to_the_exact_posterior() -> None:
    model, samples = LinearGaussian(), 20_000
    q = model.approximation()
    trace = model.trace(q, samples)
    elbo = -torch.stack(list(trace.terms("sentence").values())).sum(0)
    error = trace.observed["x"].log_prob.std(0) / samples**0.5
    gap = kl_divergence(q, model.posterior)
    assert (gap > 0.1).all()
    assert ((model.log_px - elbo - gap).abs() < 5 * error).all()


def test_importance_weighting_rises_from_the_elbo_to_log_px() -> None:
    model, draws = LinearGaussian(), 2**15
    q = model.approximation()
    log_weights = model.trace(q, draws).log_weights("sentence")
    bounds, errors = [], []
    for samples in (1, 2, 8, 64, 512):
        estimates = importance_weighted(log_weights.view(samples, -1)).view(-1, B)
        bounds.append(estimates.mean(0))
        errors.append(estimates.std(0) / len(estimates) ** 0.5)
    elbo = model.log_px - kl_divergence(q, model.posterior)
    assert ((bounds[0] - elbo).abs() < 5 * errors[0]).all()
    for lower, higher in itertools.pairwise(bounds):
        assert (higher > lower).all()
    for bound, error in zip(bounds, errors, strict=True):
        assert (bound < model.log_px + 4 * error).all()
    torch.testing.assert_close(bounds[-1], model.log_px, rtol=0, atol=0.02)


def test_importance_weighted_is_the_log_of_the_mean() -> None:
    log_weights = normals(7, B)
    torch.testing.assert_close(importance_weighted(log_weights), log_weights.exp().mean(0).log())
    torch.testing.assert_close(importance_weighted(log_weights - 5000), importance_weighted(log_weights) - 5000)


def two_units() -> Trace:
    """Two documents with a bag of words, three sentences; five samples."""
    torch.manual_seed(1)
    zero, one = torch.zeros(Z), torch.ones(Z)
    g, z = diagonal_normal(torch.randn(2, Z), one.expand(2, Z)), diagonal_normal(torch.randn(3, Z), one)
    prior = diagonal_normal(zero, one)
    words = DenseWords(torch.randn(5, 2, 4).log_softmax(-1))
    return Trace(
        {
            "g": Latent(g, prior, g.rsample((5,)), "document"),
            "z": Latent(z, prior, z.rsample((5,)), "sentence", "monte_carlo"),
        },
        {
            "words": Observed(words, torch.ones(2, 4), "document"),
            "x": Observed(diagonal_normal(torch.randn(5, 3, X), torch.ones(X)), torch.randn(3, X), "sentence"),
        },
        {"similarity": torch.tensor([0.5])},
    )


def test_terms_by_unit() -> None:
    trace = two_units()
    terms = trace.terms()
    assert set(terms) == {"nll/words", "nll/x", "kl/g", "kl/z", "aux/similarity"}
    assert {name: value.shape[0] for name, value in terms.items()} == {
        "nll/words": 2,
        "kl/g": 2,
        "nll/x": 3,
        "kl/z": 3,
        "aux/similarity": 1,
    }
    assert set(trace.terms("document")) == {"nll/words", "kl/g"}
    assert set(trace.terms("sentence")) == {"nll/x", "kl/z"}
    assert trace.log_weights("document").shape == (5, 2)
    assert trace.log_weights("sentence").shape == (5, 3)


def test_terms_are_means_over_samples() -> None:
    trace = two_units()
    terms, x, z, g = trace.terms(), trace.observed["x"], trace.latents["z"], trace.latents["g"]
    torch.testing.assert_close(terms["nll/x"], -x.dist.log_prob(x.x).mean(0))
    torch.testing.assert_close(terms["kl/z"], (z.q.log_prob(z.z) - z.p.log_prob(z.z)).mean(0))
    torch.testing.assert_close(terms["kl/g"], kl_divergence(g.q, g.p))
    ratio = x.dist.log_prob(x.x) + z.p.log_prob(z.z) - z.q.log_prob(z.z)
    torch.testing.assert_close(trace.log_weights("sentence"), ratio)


def test_kl_to_a_drawn_prior_is_averaged_over_its_draws() -> None:
    torch.manual_seed(2)
    q = HouseholderNormal(torch.randn(B, Z), torch.ones(B, Z), torch.randn(B, 1, Z))
    p = GaussianMixture(torch.randn(5, B, 3).softmax(-1), torch.randn(3, Z), torch.ones(3, Z))
    latent = Latent(q, p, q.rsample((5,)), "sentence", "jensen")
    one_by_one = [kl(q, GaussianMixture(t, p.loc, p.scale), latent.z, "jensen") for t in p.weights]
    torch.testing.assert_close(Trace({"z": latent}).terms()["kl/z"], torch.stack(one_by_one).mean(0))


def test_objective_is_the_weighted_sum_of_means() -> None:
    terms = {"nll/x": torch.tensor([1.0, 3.0]), "kl/z": torch.tensor([4.0, 6.0]), "aux/a": torch.tensor([7.0])}
    assert objective(terms, {}).item() == 2 + 5 + 7
    assert objective(terms, {"kl/z": 0.5, "aux/a": 0.0}).item() == 2 + 2.5
    assert objective(terms, {"kl/z": 0.5}, {"kl/z": 8.0}).item() == 2 + 4 + 7


@pytest.mark.parametrize(("floor", "slope"), [(4.0, 0.25), (6.0, 0.0)])
def test_free_nats_stop_the_gradient_below_the_floor(floor: float, slope: float) -> None:
    rows = torch.tensor([4.0, 6.0], requires_grad=True)
    loss = objective({"kl/z": rows, "nll/x": torch.ones(2)}, {"kl/z": 0.5}, {"kl/z": floor})
    assert loss.item() == 1 + 0.5 * max(5.0, floor)
    (gradient,) = torch.autograd.grad(loss, rows)
    assert gradient.tolist() == [slope, slope]


@pytest.mark.parametrize(("weights", "floors"), [({"kl/zz": 1.0}, None), ({}, {"kl/zz": 1.0})])
def test_objective_refuses_terms_that_are_not_there(weights: dict[str, float], floors: dict[str, float] | None) -> None:
    with pytest.raises(ValueError, match=r"kl/zz.*this model has \['kl/z'\]"):
        objective({"kl/z": torch.ones(2)}, weights, floors)


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_puts_everything_back(training: bool, prepared: PreparedFolder) -> None:
    config = SentenceConfig(embedding_size=4, hidden_size=4)
    model = LanguageModel(config, prepared.tokenizer, prepared.topic_vocabulary).train(training)
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    draws = []
    for _ in range(2):
        with evaluating(model, seed=7):
            assert not model.training
            assert not torch.is_grad_enabled()
            draws.append(torch.randn(3))
    with pytest.raises(RuntimeError, match="within"), evaluating(model, seed=7):
        raise RuntimeError("within")
    assert torch.equal(*draws)
    assert torch.equal(torch.randn(3), expected)
    assert model.training is training
    assert torch.is_grad_enabled()

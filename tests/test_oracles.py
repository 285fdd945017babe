"""The family against what is known: closed forms, Monte Carlo, PCA by linear algebra, and exact gradients.

The Householder posterior and the topic mixture stand in ``test_divergences.py``, draws of the Gumbel-softmax and
its sharpening in ``test_distributions.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from sklearn.decomposition import PCA
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, OneHotCategorical

from tgvae.data.vectors import Space, VectorSplit, open_vectors
from tgvae.distributions import diagonal_normal, gumbel_softmax, safe_log
from tgvae.divergences import kl
from tgvae.evaluation.likelihood import importance_weighted_nll
from tgvae.models.vae import VectorConfig, VectorVAE
from tgvae.recipes import Recipe
from tgvae.runs import start_run
from tgvae.training.config import Phase, TrainConfig

B, Z, C, D, DRAWS = 4, 3, 5, 7, 4000
LATENTS: tuple[Literal["normal"], Literal["categorical"]] = ("normal", "categorical")
Pair = tuple[Distribution, Distribution]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def normals(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def one_hot(logits: Tensor) -> Independent:
    return Independent(OneHotCategorical(logits=logits), 1)


def normal_and_standard() -> Pair:
    return diagonal_normal(normals(B, Z), normals(B, Z).exp()), diagonal_normal(0 * normals(Z), 0 * normals(Z) + 1)


def normal_and_normal() -> Pair:
    """A document's topics against the Laplace approximation of a Dirichlet."""
    return diagonal_normal(normals(B, Z), normals(B, Z).exp()), diagonal_normal(normals(Z), normals(Z).exp())


def categorical_and_uniform() -> Pair:
    return one_hot(2 * normals(B, Z, C)), one_hot(0 * normals(Z, C))


def component_and_proportions() -> Pair:
    """The topic of a sentence against those of its document, one of which has no mass for the posterior."""
    t = normals(B, C).softmax(-1)
    q = (t * normals(B, C).exp()).index_fill(-1, torch.tensor([1]), 0)
    return OneHotCategorical(logits=safe_log(q / q.sum(-1, keepdim=True))), OneHotCategorical(logits=safe_log(t))


PAIRS: list[Callable[[], Pair]] = [
    normal_and_standard,
    normal_and_normal,
    categorical_and_uniform,
    component_and_proportions,
]


@pytest.mark.parametrize("pair", PAIRS)
def test_analytic_kl_is_that_of_monte_carlo_and_of_the_entropy(pair: Callable[[], Pair]) -> None:
    """KL(q || p) = E_q[log q - log p] = -H[q] - E_q[log p], the last with H in closed form and E_q by draws."""
    q, p = pair()
    z = q.sample((DRAWS,))
    exact, log_ratio, log_p = kl(q, p, z), q.log_prob(z) - p.log_prob(z), p.log_prob(z)
    assert exact.shape == (B,)
    assert (exact > 0).all()
    assert ((kl(q, p, z, "monte_carlo") - exact).abs() < 5 * log_ratio.std(0) / DRAWS**0.5).all()
    assert ((-q.entropy() - log_p.mean(0) - exact).abs() < 5 * log_p.std(0) / DRAWS**0.5 + 1e-9).all()
    assert (kl(q, q, z).abs() < 1e-9).all()


def test_kl_of_the_models_is_that_of_scipy() -> None:
    """-H[q] - E_q[log p] by hand for the Gaussian, relative entropy for the categories."""
    x = torch.randn(B, D)
    with torch.no_grad():
        for latent in LATENTS:
            model = VectorVAE(VectorConfig((), Z, latent, categories=C), Space(D))
            q = model.posterior(x)
            assert q is not None
            found = kl(q, model.prior(), torch.empty(0)).numpy()
            if latent == "categorical":
                expected = scipy.stats.entropy(q.mean.numpy(), np.full(C, 1 / C), axis=-1).sum(-1)
            else:
                mean, scale = q.mean.double().numpy(), q.stddev.double().numpy()
                cross = 0.5 * (np.log(2 * np.pi) + mean**2 + scale**2)
                expected = (cross - scipy.stats.norm.entropy(mean, scale)).sum(-1)
            np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("likelihood", ["bernoulli", "normal"])
def test_likelihoods_are_those_of_scipy(likelihood: Literal["bernoulli", "normal"]) -> None:
    """Log-probabilities of given values; and of the likelihood's own draws they are -H on average."""
    model = VectorVAE(VectorConfig((6,), Z, likelihood=likelihood), Space(D)).requires_grad_(False)
    if likelihood == "normal":
        model.log_scale.fill_(-0.7)
    dist = model.likelihood(torch.randn(2, B, Z))
    mean, x = dist.mean.double().numpy(), torch.randint(2, (B, D)).float()
    scipys = (
        scipy.stats.bernoulli(mean).logpmf if likelihood == "bernoulli" else scipy.stats.norm(mean, np.exp(-0.7)).logpdf
    )
    np.testing.assert_allclose(dist.log_prob(x).numpy(), scipys(x.numpy()).sum(-1), rtol=1e-5)
    drawn = dist.log_prob(dist.sample((DRAWS,)))
    assert ((drawn.mean(0) + dist.entropy()).abs() < 5 * drawn.std(0) / DRAWS**0.5).all()


@pytest.fixture(scope="module")
def low_rank(tmp_path_factory: pytest.TempPathFactory) -> str:
    """x = b + M z + noise, three factors in eight values: a file of 2,500 vectors, 2,000 of them to train on."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=8) + rng.normal(size=(2500, Z)) @ rng.normal(size=(Z, 8)) + 0.5 * rng.normal(size=(2500, 8))
    path = tmp_path_factory.mktemp("vectors") / "low_rank.npz"
    np.savez(path, x=x)
    return str(path)


def trained(latent: Literal["normal", "point"], source: str, run: Path) -> tuple[VectorVAE, VectorSplit]:
    """A linear autoencoder of three factors, and what it was trained on."""
    config = VectorConfig(hidden_sizes=(), latent_size=Z, latent=latent, likelihood="normal")
    phase = Phase("vector", epochs=8, learning_rate=5e-2, batch=20)
    model = start_run(
        Recipe("vector-vae", config, TrainConfig({"vectors": phase}, device="cpu")), source, run, quiet=True
    )
    assert isinstance(model, VectorVAE)
    return model.requires_grad_(False), open_vectors(source).splits["train"]


def test_a_linear_gaussian_vae_finds_probabilistic_pca(low_rank: str, tmp_path: Path) -> None:
    """Its marginal N(b, W W' + s^2 I) is as likely as PCA's maximum, and there the bound is tight.

    Tipping & Bishop 1999; that diagonal posteriors lose nothing is shown by Lucas et al. 2019 (arXiv 1911.02469).
    """
    model, train = trained("normal", low_rank, tmp_path / "run")
    w, x = model.output.weight.double(), torch.from_numpy(train.x).double()
    covariance = w @ w.T + (2 * model.log_scale.double()).exp() * torch.eye(len(w))
    marginal = MultivariateNormal(model.output.bias.double(), covariance).log_prob(x).mean().item()
    maximum = PCA(Z).fit(train.x).score(train.x)
    terms = model.trace(train.gather(np.arange(len(x))), 20).terms()
    elbo = -(terms["nll/x"] + terms["kl/z"]).mean().item()
    weighted = -importance_weighted_nll(model, train, 20, unit="vector").nll
    assert maximum * 1.01 < elbo < weighted < marginal + 0.02
    assert weighted == pytest.approx(marginal, rel=0.003)
    assert maximum * 1.01 < marginal < maximum + 1e-3, "nothing is more likely than the maximum"


def test_a_linear_autoencoder_finds_the_principal_subspace(low_rank: str, tmp_path: Path) -> None:
    """No linear map through three values loses less than PCA (Eckart & Young 1936; Baldi & Hornik 1989)."""
    model, train = trained("point", low_rank, tmp_path / "run")
    pca = PCA(Z).fit(train.x)
    errors = [
        np.square(train.x - found).sum(1).mean()
        for found in (
            model.likelihood(model.embed(torch.from_numpy(train.x))).mean.numpy(),
            pca.inverse_transform(pca.transform(train.x)),
        )
    ]
    assert errors[1] * (1 - 1e-5) <= errors[0] < 1.01 * errors[1]
    assert scipy.linalg.subspace_angles(model.output.weight.numpy(), pca.components_.T).max() < 0.05
    assert model.log_scale.exp().item() == pytest.approx((errors[0] / 8) ** 0.5, rel=0.03), "the deviation that is left"


LOGITS = torch.tensor([0.0, 0.5, -0.5, 1.0], dtype=torch.float64)
SLOPES = torch.tensor([-1.0, 0.0, 1.0, 2.0], dtype=torch.float64)


def curved(z: Tensor) -> Tensor:
    """f(z) = exp(a'z): far from linear between the corners of the simplex."""
    return (z @ SLOPES).exp()


def quadratic(z: Tensor) -> Tensor:
    return (z @ SLOPES).square()


def exact_gradient(f: Callable[[Tensor], Tensor]) -> Tensor:
    """d E[f(z)] / d logits, by the sum over all categories."""
    logits = LOGITS.clone().requires_grad_()
    return torch.autograd.grad(logits.softmax(-1) @ f(torch.eye(4).double()), logits)[0]


def straight_through_limit(f: Callable[[Tensor], Tensor]) -> Tensor:
    """What the straight-through gradient tends to as the temperature falls.

    The exact one is sum_j p_k p_j (f(e_k) - f(e_j)). A draw that moves from e_j to e_k is one-hot on the way, the
    halves of which are at either end: the difference becomes half the sum of both slopes along e_k - e_j, which is
    the trapezoidal rule (Liu et al. 2023, arXiv 2304.08612).
    """
    corners, p = torch.eye(4).double().requires_grad_(), LOGITS.softmax(-1)
    slopes = torch.autograd.grad(f(corners).sum(), corners)[0]
    along = slopes.diagonal().unsqueeze(1) - slopes  # grad f(e_k)' (e_k - e_j) at [k, j]
    difference = 0.5 * (along - along.T)
    return (p.unsqueeze(1) * p * difference).sum(1)


def drawn_gradient(f: Callable[[Tensor], Tensor], temperature: float, hard: bool) -> tuple[Tensor, Tensor]:
    """The gradient by 100,000 draws, and its standard error."""
    logits = LOGITS.repeat(100_000, 1).requires_grad_()
    gradients = torch.autograd.grad(f(gumbel_softmax(logits, temperature, hard)).sum(), logits)[0]
    return gradients.mean(0), gradients.std(0) / len(logits) ** 0.5


def test_the_relaxed_gradient_loses_its_bias_as_the_temperature_falls() -> None:
    exact, biases = exact_gradient(curved), []
    for temperature in (2.0, 1.0, 0.5, 0.25, 0.05):
        found, error = drawn_gradient(curved, temperature, hard=False)
        biases.append(((found - exact).norm() / exact.norm()).item())
    assert biases == sorted(biases, reverse=True)
    assert biases[1:4] == pytest.approx([0.46, 0.20, 0.07], abs=0.02), "as shares of the gradient"
    assert ((found - exact).abs() < 5 * error).all(), "nothing but Monte Carlo error is left"


@pytest.mark.parametrize(("f", "bias"), [(quadratic, 0.0), (curved, 0.41)])
def test_straight_through_keeps_the_bias_of_the_trapezoidal_rule(f: Callable[[Tensor], Tensor], bias: float) -> None:
    """However low the temperature: none for a quadratic f, two fifths of the gradient for exp(a'z)."""
    exact, limit = exact_gradient(f), straight_through_limit(f)
    assert ((limit - exact).norm() / exact.norm()).item() == pytest.approx(bias, abs=0.005)
    found, error = drawn_gradient(f, 0.05, hard=True)
    assert ((found - limit).abs() < 5 * error).all()
    assert ((found - exact).abs() > 5 * error).any() == (bias > 0)

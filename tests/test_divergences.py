"""KL divergences against torch's MultivariateNormal, Monte Carlo and finite differences."""

from __future__ import annotations

from typing import Literal, get_args

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Laplace, MultivariateNormal, kl_divergence

from tgvae.distributions import GaussianMixture, HouseholderNormal, diagonal_normal
from tgvae.divergences import Estimator, kl, kl_to_components

Bound = Literal["jensen", "variational"]
B, Z, T, S = 4, 5, 6, 3
NO_DRAWS = torch.empty(0)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def normals(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def posterior(flow: int = 3, centre: Tensor | None = None) -> HouseholderNormal:
    return HouseholderNormal(normals(B, Z), (0.5 * normals(B, Z)).exp(), normals(B, flow, Z), centre)


def mixture(*batch: int) -> GaussianMixture:
    return GaussianMixture(normals(*batch, T).softmax(-1), 2 * normals(T, Z), normals(T, Z).exp())


def as_multivariate(q: HouseholderNormal) -> MultivariateNormal:
    return MultivariateNormal(q.mean, q.covariance_matrix)


def standard() -> Independent:
    return diagonal_normal(torch.zeros(Z, dtype=torch.float64), torch.ones(Z, dtype=torch.float64))


def within_error(q: HouseholderNormal, p: GaussianMixture | Independent, expected: Tensor, count: int) -> bool:
    """Monte Carlo agrees with ``expected`` within five standard errors."""
    z = q.rsample((count, *p.batch_shape[:-1]))
    error = (q.log_prob(z) - p.log_prob(z)).std(0) / count**0.5
    return bool(((kl(q, p, z, "monte_carlo") - expected).abs() < 5 * error + 1e-9).all())


@pytest.mark.parametrize("batch", [(), (B,), (S, B)])
@pytest.mark.parametrize("flow", [0, 1, 4])
def test_householder_against_diagonal(flow: int, batch: tuple[int, ...]) -> None:
    q = posterior(flow)
    loc, scale = normals(*batch, Z), normals(*batch, Z).exp()
    p = diagonal_normal(loc, scale)
    exact = kl_divergence(as_multivariate(q), MultivariateNormal(loc, torch.diag_embed(scale.square())))
    torch.testing.assert_close(kl(q, p, NO_DRAWS), exact)
    assert within_error(q, p, exact, 4000)


def test_with_a_centre_for_every_sample() -> None:
    q = posterior(centre=normals(S, B, Z))
    loc, scale = normals(S, B, Z), normals(S, B, Z).exp()
    exact = kl_divergence(as_multivariate(q), MultivariateNormal(loc, torch.diag_embed(scale.square())))
    torch.testing.assert_close(kl(q, diagonal_normal(loc, scale), NO_DRAWS), exact)


def test_the_flow_matters_to_an_anisotropic_prior_alone() -> None:
    q = posterior(flow=4)
    plain = HouseholderNormal(q.loc, q.scale, q.vectors[:, :0])
    torch.testing.assert_close(kl(q, standard(), NO_DRAWS), kl(plain, standard(), NO_DRAWS))
    stretched = diagonal_normal(torch.zeros(Z).double(), torch.tensor([0.1, 0.5, 1.0, 2.0, 10.0]).double())
    difference = kl(q, stretched, NO_DRAWS) - kl(plain, stretched, NO_DRAWS)
    assert (difference.abs() > 0.1).all()


def test_to_each_component() -> None:
    q, p = posterior(), mixture(B)
    got = kl_to_components(q, p)
    assert got.shape == (B, T)
    for i in range(T):
        component = MultivariateNormal(p.loc[i], torch.diag(p.scale[i].square()))
        torch.testing.assert_close(got[:, i], kl_divergence(as_multivariate(q), component))


@pytest.mark.parametrize("batch", [(B,), (S, B)])
def test_bounds_stand_in_order(batch: tuple[int, ...]) -> None:
    q, p, count = posterior(), mixture(*batch), 4000
    jensen, variational = (kl(q, p, NO_DRAWS, bound) for bound in get_args(Bound))
    assert jensen.shape == variational.shape == batch
    z = q.rsample((count, *batch[:-1]))
    ratio = q.log_prob(z) - p.log_prob(z)
    exact, error = ratio.mean(0), ratio.std(0) / count**0.5
    assert (jensen >= variational).all()
    assert (jensen - variational).max() > 0.1
    assert (variational >= exact - 4 * error).all()


@pytest.mark.parametrize("bound", get_args(Bound))
@pytest.mark.parametrize("components", [1, T])
def test_bounds_are_exact_for_equal_components(bound: Bound, components: int) -> None:
    """One component, or the same one T times: the mixture is that Gaussian."""
    q, loc, scale = posterior(), normals(1, Z), normals(1, Z).exp()
    weights = normals(B, components).softmax(-1)
    p = GaussianMixture(weights, loc.expand(components, Z), scale.expand(components, Z))
    exact = kl(q, diagonal_normal(loc[0], scale[0]), NO_DRAWS)
    torch.testing.assert_close(kl(q, p, NO_DRAWS, bound), exact)
    assert within_error(q, p, exact, 2000)


def test_variational_is_exact_for_components_far_apart() -> None:
    """q reaches one component alone: KL = KL_i - log t_i, which Jensen is far from."""
    q = posterior()
    p = GaussianMixture(normals(B, T).softmax(-1), normals(T, Z), torch.ones(T, Z, dtype=torch.float64))
    p.loc[1:] += 300 * torch.arange(1, T, dtype=torch.float64).unsqueeze(-1)
    exact = kl_to_components(q, p)[:, 0] - p.weights[:, 0].log()
    torch.testing.assert_close(kl(q, p, NO_DRAWS, "variational"), exact)
    assert within_error(q, p, exact, 4000)
    assert (kl(q, p, NO_DRAWS, "jensen") > 1000).all()


@pytest.mark.parametrize("bound", get_args(Bound))
def test_one_hot_weights_choose_a_component(bound: Bound) -> None:
    q, p, chosen = posterior(), mixture(), torch.tensor([0, 5, 2, 2])
    one_hot = torch.nn.functional.one_hot(chosen, T).double()
    got = kl(q, GaussianMixture(one_hot, p.loc, p.scale), NO_DRAWS, bound)
    torch.testing.assert_close(got, kl_to_components(q, p)[torch.arange(B), chosen])


def test_monte_carlo_is_unbiased_for_few_draws() -> None:
    q, p, repeats = posterior(), standard(), 3000
    estimates = torch.stack([kl(q, p, q.rsample((2,)), "monte_carlo") for _ in range(repeats)])
    error = estimates.std(0) / repeats**0.5
    assert ((estimates.mean(0) - kl(q, p, NO_DRAWS)).abs() < 5 * error).all()


@pytest.mark.parametrize("estimator", ["jensen", "variational", "monte_carlo"])
def test_gradients_to_the_mixture(estimator: Estimator) -> None:
    inputs = (
        normals(2, 3),
        normals(2, 3).exp(),
        normals(2, 2, 3),
        normals(2, T).softmax(-1),
        normals(T, 3),
        normals(T, 3).exp(),
    )
    noise = normals(S, 2, 3)

    def value(loc: Tensor, scale: Tensor, vectors: Tensor, t: Tensor, means: Tensor, scales: Tensor) -> Tensor:
        q = HouseholderNormal(loc, scale, vectors)
        z = q.mean + (q.orthogonal @ (scale * noise).unsqueeze(-1)).squeeze(-1)
        return kl(q, GaussianMixture(t, means, scales), z, estimator)

    assert torch.autograd.gradcheck(value, tuple(x.requires_grad_() for x in inputs))


def test_gradients_to_a_gaussian() -> None:
    inputs = (normals(2, 3), normals(2, 3).exp(), normals(2, 2, 3), normals(2, 3), normals(3), normals(3).exp())

    def value(loc: Tensor, scale: Tensor, vectors: Tensor, centre: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        return kl(HouseholderNormal(loc, scale, vectors, centre), diagonal_normal(mean, std), NO_DRAWS)

    assert torch.autograd.gradcheck(value, tuple(x.requires_grad_() for x in inputs))


def test_torchs_own_table_is_still_there() -> None:
    q, p = diagonal_normal(normals(B, Z), normals(B, Z).exp()), standard()
    torch.testing.assert_close(kl(q, p, NO_DRAWS), kl_divergence(q, p))


def test_unknown_estimator() -> None:
    with pytest.raises(ValueError, match=r"unknown KL estimator 'exact'; choose from \('analytic', 'jensen', "):
        kl(posterior(), standard(), NO_DRAWS, "exact")  # type: ignore[arg-type]


@pytest.mark.parametrize("bound", get_args(Bound))
def test_mixture_bounds_want_a_mixture(bound: Bound) -> None:
    with pytest.raises(ValueError, match=f"{bound} bound is for"):
        kl(posterior(), standard(), NO_DRAWS, bound)
    with pytest.raises(ValueError, match=f"{bound} bound is for"):
        kl(standard(), mixture(), NO_DRAWS, bound)


def test_no_closed_form() -> None:
    with pytest.raises(NotImplementedError):
        kl(posterior(), mixture(B), NO_DRAWS, "analytic")
    laplace = Independent(Laplace(torch.zeros(Z), torch.ones(Z)), 1)
    with pytest.raises(NotImplementedError, match="Laplace"):
        kl(posterior(), laplace, NO_DRAWS)

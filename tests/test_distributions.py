"""Distributions against torch's own, brute force and counts of draws."""

from __future__ import annotations

import functools

import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.autograd.functional import jacobian
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from tgvae.distributions import (
    GaussianMixture,
    HouseholderNormal,
    TokenSequence,
    diagonal_normal,
    gumbel_softmax,
    householder,
)
from tgvae.kernels import cross_entropy
from tgvae.kernels.adaptive_softmax import adaptive_log_probs

B, Z, S, T = 4, 5, 3, 6
FLOWS = [0, 1, 2, 7]
CENTRES: list[tuple[int, ...] | None] = [None, (Z,), (B, Z), (S, B, Z)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def normals(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def posterior(flow: int = 3, centre: tuple[int, ...] | None = None) -> HouseholderNormal:
    shift = None if centre is None else normals(*centre)
    return HouseholderNormal(normals(B, Z), normals(B, Z).exp(), normals(B, flow, Z), shift)


def matrix(vectors: Tensor) -> Tensor:
    """H_K ... H_1 as a product of matrices, from one row's vectors (K, Z)."""
    unit = torch.eye(vectors.shape[-1], dtype=vectors.dtype)
    reflections = [unit - 2 * torch.outer(v, v) / v.dot(v) for v in vectors]
    return functools.reduce(lambda product, h: h @ product, reflections, unit)


def as_multivariate(q: HouseholderNormal) -> MultivariateNormal:
    u = torch.stack([matrix(v) for v in q.vectors])
    mean = q.centre + (u @ q.loc.unsqueeze(-1)).squeeze(-1)
    return MultivariateNormal(mean, u @ torch.diag_embed(q.scale.square()) @ u.mT)


@pytest.mark.parametrize("flow", FLOWS)
def test_householder_is_a_product_of_reflections(flow: int) -> None:
    z, vectors = normals(B, Z), normals(B, flow, Z)
    out = householder(z, vectors)
    for row in range(B):
        torch.testing.assert_close(out[row], matrix(vectors[row]) @ z[row])
    torch.testing.assert_close(out.norm(dim=-1), z.norm(dim=-1))
    torch.testing.assert_close(householder(out, vectors.flip(-2)), z)
    torch.testing.assert_close(householder(z, vectors * -3.7), out)


@pytest.mark.parametrize("flow", FLOWS)
def test_orthogonal_is_the_jacobian_of_the_flow(flow: int) -> None:
    q = posterior(flow)
    u = q.orthogonal
    torch.testing.assert_close(u @ u.mT, torch.eye(Z, dtype=u.dtype).expand(B, Z, Z))
    torch.testing.assert_close(torch.linalg.det(u), torch.full((B,), (-1.0) ** flow, dtype=u.dtype))
    for row in range(B):
        derivative = jacobian(lambda z, v=q.vectors[row]: householder(z, v), q.loc[row])
        torch.testing.assert_close(u[row], derivative)


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("flow", FLOWS)
def test_householder_normal_is_a_full_gaussian(flow: int, centre: tuple[int, ...] | None) -> None:
    q = posterior(flow, centre)
    oracle = as_multivariate(q)
    assert q.batch_shape == oracle.batch_shape
    assert q.event_shape == oracle.event_shape
    z = normals(2, *oracle.mean.shape)
    torch.testing.assert_close(q.log_prob(z), oracle.log_prob(z))
    torch.testing.assert_close(q.mean, oracle.mean)
    torch.testing.assert_close(q.variance, oracle.variance)
    torch.testing.assert_close(q.entropy(), oracle.entropy())
    torch.testing.assert_close(q.covariance_matrix, oracle.covariance_matrix)


def test_without_flow_it_is_the_diagonal_gaussian() -> None:
    q = posterior(flow=0)
    z = normals(S, B, Z)
    torch.testing.assert_close(q.log_prob(z), diagonal_normal(q.loc, q.scale).log_prob(z))


def test_the_flow_keeps_the_density() -> None:
    q = posterior()
    z_0 = q.loc + q.scale * normals(S, B, Z)
    z_k = householder(z_0, q.vectors)
    torch.testing.assert_close(q.log_prob(z_k), diagonal_normal(q.loc, q.scale).log_prob(z_0))


def test_draws_have_the_moments_of_the_gaussian() -> None:
    q, count = posterior(centre=(B, Z)), 40_000
    z = q.rsample((count,))
    error = (q.variance / count).sqrt()
    assert ((z.mean(0) - q.mean).abs() < 5 * error).all()
    for row in range(B):
        torch.testing.assert_close(z[:, row].T.cov(), q.covariance_matrix[row], rtol=0.05, atol=0.15)


def test_noise_is_scaled_moved_reflected_and_centred() -> None:
    q, noise = posterior(centre=(B, Z)), normals(B, Z)
    for row in range(B):
        expected = q.centre[row] + matrix(q.vectors[row]) @ (q.loc[row] + q.scale[row] * noise[row])
        torch.testing.assert_close(q.place(noise)[row], expected)


def test_what_is_no_number_is_no_error_here() -> None:
    """A step that diverges is told by training, with its rows; a check here would wait for the device."""
    nothing = torch.full((B, Z), torch.nan)
    q = HouseholderNormal(nothing, nothing, normals(B, 1, Z))
    gaussian = diagonal_normal(nothing, nothing)
    p = GaussianMixture(torch.full((B, T), torch.nan), normals(T, Z), normals(T, Z).exp())
    for value in (q.log_prob(q.rsample()), q.entropy(), gaussian.log_prob(nothing), p.log_prob(nothing)):
        assert value.shape == (B,)
        assert value.isnan().all()


def test_every_centre_has_its_own_draw() -> None:
    """Importance weighting needs S independent draws of the deviation, one round each centre."""
    q = posterior(centre=(S, B, Z))
    deviation = q.rsample() - q.centre
    assert deviation.shape == (S, B, Z)
    assert not torch.isclose(deviation[0], deviation[1]).any()
    assert q.rsample((2,)).shape == (2, S, B, Z)


def test_gradients_reach_every_input() -> None:
    inputs = [normals(B, Z), normals(B, Z).exp(), normals(B, 3, Z), normals(S, B, Z)]
    for x in inputs:
        x.requires_grad_()
    q = HouseholderNormal(*inputs)
    target = normals(S, B, Z)
    for value in (q.log_prob(target).sum(), (q.rsample() * target).sum()):
        for gradient in torch.autograd.grad(value, inputs):
            assert gradient.isfinite().all()
            assert gradient.abs().amin() > 0


def mixture(*batch: int) -> GaussianMixture:
    return GaussianMixture(normals(*batch, T).softmax(-1), 2 * normals(T, Z), normals(T, Z).exp())


def as_mixture_same_family(p: GaussianMixture) -> MixtureSameFamily:
    shape = (*p.batch_shape, *p.loc.shape)
    return MixtureSameFamily(Categorical(p.weights), diagonal_normal(p.loc.expand(shape), p.scale.expand(shape)))


@pytest.mark.parametrize("batch", [(), (B,), (S, B)])
def test_mixture_is_torchs_with_expanded_components(batch: tuple[int, ...]) -> None:
    p = mixture(*batch)
    oracle = as_mixture_same_family(p)
    assert p.batch_shape == oracle.batch_shape == batch
    assert p.event_shape == (Z,)
    for z in (normals(*batch, Z), normals(7, *batch, Z)):
        torch.testing.assert_close(p.log_prob(z), oracle.log_prob(z))
    torch.testing.assert_close(p.mean, oracle.mean)
    torch.testing.assert_close(p.variance, oracle.variance)
    assert p.sample().shape == (*batch, Z)
    assert p.sample((2, 7)).shape == (2, 7, *batch, Z)


def test_draws_of_the_mixture_have_its_moments() -> None:
    p, count = mixture(B), 40_000
    z = p.sample((count,))
    assert ((z.mean(0) - p.mean).abs() < 5 * (p.variance / count).sqrt()).all()
    torch.testing.assert_close(z.var(0), p.variance, rtol=0.08, atol=0)


def test_draws_of_the_mixture_depend_on_the_generator_alone() -> None:
    p, generator = mixture(B), torch.Generator()
    first, again, other = (p.sample((S,), generator.manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.isclose(first, other).any()


def test_mixture_given_a_component_is_that_gaussian() -> None:
    p, index = mixture(B), torch.tensor([[0, 3, 5, 1], [2, 2, 4, 0]])
    c = torch.nn.functional.one_hot(index, T).double()
    z = normals(2, B, Z)
    torch.testing.assert_close(p.given(c).log_prob(z), diagonal_normal(p.loc[index], p.scale[index]).log_prob(z))


def test_mixture_with_all_weight_on_one_component() -> None:
    p = mixture(B)
    weights = torch.eye(T, dtype=torch.float64)[:B].requires_grad_()
    one, z = GaussianMixture(weights, p.loc, p.scale), normals(B, Z)
    log_prob = one.log_prob(z)
    torch.testing.assert_close(log_prob, diagonal_normal(p.loc[:B], p.scale[:B]).log_prob(z))
    assert torch.autograd.grad(log_prob.sum(), weights)[0].isfinite().all()


PAD, V, E, L = 0, 11, 6, 5
LENGTHS = [5, 2, 1, 4]


def token_case() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States, weight, bias (leaves of the graph) and padded targets."""
    targets = torch.randint(1, V, (B, L)).masked_fill(torch.arange(L) >= torch.tensor(LENGTHS)[:, None], PAD)
    states, weight, bias = torch.randn(S, B, L, E), torch.randn(V, E), torch.randn(V)
    for leaf in (states, weight, bias):
        leaf.requires_grad_()
    return states, weight, bias, targets


def plain_token_log_prob(states: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    log_probs = (states @ weight.T + bias).log_softmax(-1)
    picked = log_probs.gather(-1, targets.expand(S, B, L).unsqueeze(-1)).squeeze(-1)
    return picked * (targets != PAD)


@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_token_sequence_is_the_plain_softmax(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "CHUNK", chunk)
    states, weight, bias, targets = token_case()
    y = TokenSequence(states, weight, bias, PAD)
    assert (y.batch_shape, y.event_shape) == ((S, B), (L,))
    expected = plain_token_log_prob(states, weight, bias, targets)
    got = y.token_log_prob(targets)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(y.log_prob(targets), expected.sum(-1))
    factor = torch.randn(S, B, L)
    leaves = (states, weight, bias)
    for ours, plain in zip(
        torch.autograd.grad((got * factor).sum(), leaves),
        torch.autograd.grad((expected * factor).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("adaptive", [False, True])
def test_sequences_without_samples(adaptive: bool) -> None:
    """States of (B, L, E) are those of one sample; with clusters too, which have a likelihood of their own."""
    states, weight, bias, targets = token_case()
    clusters = (torch.randn(2, E), torch.randn(2)) if adaptive else None
    one = TokenSequence(states[0], weight, bias, PAD, clusters)
    assert (one.batch_shape, one.event_shape) == ((B,), (L,))
    log_probs = adaptive_log_probs(states[0], weight, bias, clusters) if clusters else states[0] @ weight.T + bias
    expected = log_probs.log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1) * (targets != PAD)
    torch.testing.assert_close(one.token_log_prob(targets), expected)
    torch.testing.assert_close(one.log_prob(targets), expected.sum(-1))


def test_padding_costs_and_changes_nothing() -> None:
    states, weight, bias, targets = token_case()
    got = TokenSequence(states, weight, bias, PAD).token_log_prob(targets)
    for row, length in enumerate(LENGTHS):
        assert (got[:, row, :length] < 0).all()
        assert (got[:, row, length:] == 0).all()
    other = torch.where((targets == PAD).unsqueeze(-1), torch.full_like(states, 1e9), states)
    longer = torch.cat((other, torch.randn(S, B, 2, E)), dim=2)
    padded = torch.nn.functional.pad(targets, (0, 2), value=PAD)
    torch.testing.assert_close(
        TokenSequence(longer, weight, bias, PAD).log_prob(padded), got.sum(-1), rtol=0, atol=1e-6
    )
    nothing = TokenSequence(states, weight, bias, PAD).log_prob(torch.full_like(targets, PAD))
    assert (nothing == 0).all()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_hard_draws_follow_the_softmax(temperature: float) -> None:
    logits, count = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5]), 20_000
    draws = gumbel_softmax(logits.expand(count, -1), temperature, hard=True)
    assert set(draws.unique().tolist()) <= {0.0, 1.0}
    assert (draws.sum(-1) == 1).all()
    expected = count * logits.double().softmax(-1)
    assert scipy.stats.chisquare(draws.sum(0).numpy(), expected.numpy(), sum_check=False).pvalue > 1e-3


def test_draws_are_over_the_last_dimension() -> None:
    draws = gumbel_softmax(torch.randn(3, B, T), 1.0, hard=True)
    assert draws.shape == (3, B, T)
    assert (draws.sum(-1) == 1).all()


def test_soft_draws_sharpen_as_the_temperature_falls() -> None:
    logits, largest = torch.randn(50, T), []
    for temperature in (10.0, 1.0, 0.1, 0.001):
        torch.manual_seed(1)
        draws = gumbel_softmax(logits, temperature, hard=False)
        torch.testing.assert_close(draws.sum(-1), torch.ones(50))
        largest.append(draws.amax(-1).mean().item())
    assert largest == sorted(largest)
    assert largest[0] < 0.4
    assert largest[-1] > 0.99


def test_straight_through_has_the_gradient_of_the_relaxed_draw() -> None:
    factor, gradients, values = torch.randn(8, T), [], []
    logits = torch.randn(8, T, requires_grad=True)
    for hard in (True, False):
        torch.manual_seed(2)
        draws = gumbel_softmax(logits, 0.7, hard)
        values.append(draws)
        gradients += torch.autograd.grad((draws * factor).sum(), logits)
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].abs().max() > 0
    assert torch.equal(values[0].argmax(-1), values[1].argmax(-1))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_impossible_temperatures(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        gumbel_softmax(torch.zeros(2, 3), temperature, hard=True)


def test_everything_is_made_on_the_device_of_the_inputs() -> None:
    """What names no device would be on "meta" here, and cannot be mixed with the rest."""
    q, p, z, (states, weight, bias, targets) = posterior(), mixture(B), normals(S, B, Z), token_case()
    y = TokenSequence(states, weight, bias, PAD)
    with torch.device("meta"):
        values = q.log_prob(z), q.rsample(), q.entropy(), q.covariance_matrix, p.log_prob(z), p.sample((S,)), p.variance
        values += y.log_prob(targets), gumbel_softmax(states, 1.0, hard=True)
    assert {value.device.type for value in values} == {"cpu"}

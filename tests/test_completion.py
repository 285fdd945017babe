"""Completion: against the conditional Gaussian of a linear model, and against enumeration."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from tgvae.data.vectors import Space
from tgvae.errors import UserError
from tgvae.models.imputation import complete
from tgvae.models.vae import VectorConfig, VectorVAE

DRAWS, NOISE = 4000, 0.7
KNOWN = torch.tensor([True, True, False, False, False])


@pytest.fixture(scope="module")
def linear() -> VectorVAE:
    """x = W z + b + noise, z of two dimensions, and a q that is wrong in place and in width."""
    torch.manual_seed(1)
    config = VectorConfig(hidden_sizes=(), latent_size=2, likelihood="normal")
    model = VectorVAE(config, Space(5)).eval()
    with torch.no_grad():
        model.output.weight.copy_(torch.randn(5, 2))
        model.output.bias.copy_(torch.randn(5))
        model.log_scale.fill_(NOISE).log_()
        w, b = model.output.weight, model.output.bias
        covariance = (torch.eye(2) + w.T @ w / NOISE**2).inverse()  # of the exact posterior
        exact = covariance @ w.T / NOISE**2
        model.head.loc.weight.copy_(0.8 * exact)
        model.head.loc.bias.copy_(0.2 - exact @ b)
        model.head.log_scale.weight.zero_()
        model.head.log_scale.bias.copy_((1.3 * covariance.diagonal().sqrt()).log())
    return model


def conditional(model: VectorVAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of p(x_m | x_o), x ~ N(b, W W' + s^2 I)."""
    w, b = model.output.weight.detach().double(), model.output.bias.detach().double()
    whole = w @ w.T + NOISE**2 * torch.eye(5).double()
    gain = whole[~KNOWN][:, KNOWN] @ whole[KNOWN][:, KNOWN].inverse()
    return b[~KNOWN] + gain @ (x.double() - b)[KNOWN], whole[~KNOWN][:, ~KNOWN] - gain @ whole[KNOWN][:, ~KNOWN]


def test_completions_of_a_linear_model_have_the_conditional_law(linear: VectorVAE) -> None:
    x = torch.tensor([[1.0, -2.0, 9.0, 9.0, 9.0], [-1.0, 0.5, 9.0, 9.0, 9.0]])
    found = complete(linear, x, KNOWN, draws=DRAWS, steps=60, seed=3)
    assert 0.2 < found.accepted < 0.9, "q is neither exact nor useless"
    assert torch.equal(found.x[..., KNOWN], x[:, KNOWN].expand(DRAWS, -1, -1)), "what is known stays"
    for row in range(2):
        mean, covariance = conditional(linear, x[row])
        drawn = found.x[:, row, ~KNOWN].double()
        assert ((drawn.mean(0) - mean).abs() < 4 * (covariance.diagonal() / DRAWS).sqrt()).all()
        spread = (covariance.diagonal().outer(covariance.diagonal()) + covariance.square()) / DRAWS
        assert ((drawn.T.cov() - covariance).abs() < 4 * spread.sqrt()).all()


def test_the_acceptance_step_matters(linear: VectorVAE) -> None:
    """The same chains with every proposal taken have another law: the test above can fail."""
    x = torch.tensor([[1.0, -2.0, 0.0, 0.0, 0.0]])
    torch.manual_seed(0)
    z = torch.randn(DRAWS, 1, 2)
    with torch.no_grad():
        for _ in range(60):
            z = linear.posterior(torch.where(KNOWN, x, linear.likelihood(z).sample())).sample()
        drawn = linear.likelihood(z).sample()[:, 0, ~KNOWN].double()
    mean, covariance = conditional(linear, x[0])
    assert ((drawn.mean(0) - mean).abs() > 4 * (covariance.diagonal() / DRAWS).sqrt()).any()


def test_completions_of_a_discrete_model_have_the_enumerated_law() -> None:
    torch.manual_seed(2)
    config = VectorConfig(hidden_sizes=(), latent_size=2, latent="categorical", categories=3)
    model = VectorVAE(config, Space(4)).eval()
    with torch.no_grad():
        model.output.weight.normal_(0, 1.5)
    x, known = torch.tensor([[1.0, 0.0, 0.5, 0.5]]), torch.tensor([[True, True, False, False]])
    one_hot = torch.eye(3)
    states = torch.stack([torch.stack(pair) for pair in itertools.product(one_hot, one_hot)])
    ends = torch.tensor(list(itertools.product((0.0, 1.0), repeat=2)))
    whole = torch.cat((x[:, :2].expand(4, 2), ends), 1)
    with torch.no_grad():
        joint = model.likelihood(states.unsqueeze(1)).log_prob(whole).exp().sum(0)
    expected = (joint / joint.sum()).double()
    found = complete(model, x, known, draws=DRAWS, steps=40, seed=0)
    assert found.z.shape == (DRAWS, 1, 2, 3)
    shares = (found.x[:, 0, None, 2:] == ends).all(-1).double().mean(0)
    assert ((shares - expected).abs() < 4 * (expected * (1 - expected) / DRAWS).sqrt()).all()


def test_the_seed_alone_decides_and_rows_may_miss_different_values(linear: VectorVAE) -> None:
    x, known = torch.randn(2, 5), torch.tensor([[True] * 5, [False] * 5])
    first, again = (complete(linear, x, known, draws=3, steps=2, seed=5) for _ in range(2))
    assert torch.equal(first.x, again.x)
    assert not torch.equal(first.x, complete(linear, x, known, draws=3, steps=2, seed=6).x)
    assert torch.equal(first.x[:, 0], x[0].expand(3, 5)), "nothing to draw"
    assert (first.x[:, 1] != x[1]).all(), "nothing is known"


def test_what_is_missing_does_not_matter(linear: VectorVAE) -> None:
    x = torch.randn(1, 5)
    hidden = torch.where(KNOWN, x, torch.full_like(x, torch.nan))
    assert torch.equal(*(complete(linear, rows, KNOWN, draws=2, steps=3).x for rows in (x, hidden)))


def test_mistakes_are_named(linear: VectorVAE) -> None:
    x = torch.zeros(1, 5)
    with pytest.raises(UserError, match="deterministic"):
        complete(VectorVAE(VectorConfig(latent="point"), Space(5)), x, KNOWN)
    for rows, steps in ((x, 0), (x[:0], 1)):
        with pytest.raises(UserError, match="at least 1 vector, draw and step"):
            complete(linear, rows, KNOWN, steps=steps)
    for known in (KNOWN.float(), KNOWN[:3], KNOWN.expand(2, 5)):
        with pytest.raises(UserError, match="known must be"):
            complete(linear, x, known)

"""EM on the shared trace: the bound it raises, the posterior that closes it, and scikit-learn's fit."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as ReferenceMixture
from torch import Tensor
from torch.distributions import MultivariateNormal, OneHotCategorical, kl_divergence

from tgvae.divergences import kl
from tgvae.errors import UserError
from tgvae.models.gmm import Mixture, em, m_step, start_mixture
from tgvae.trace import importance_weighted

B, K, D = 60, 3, 2


def normals(*shape: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def data(seed: int = 0) -> Tensor:
    """Three clouds that overlap, each of its own shape."""
    centres, shapes = 2 * normals(K, D, seed=seed), normals(K, D, D, seed=seed + 100)
    noise = normals(K, B // K, D, seed=seed + 200)
    return (centres.unsqueeze(1) + noise @ shapes).flatten(0, 1)


def mixture(seed: int = 0, components: int = K) -> Mixture:
    """One that fits the data badly."""
    roots = normals(components, D, D, seed=seed + 1)
    return Mixture(
        normals(components, seed=seed + 2).softmax(-1),
        normals(components, D, seed=seed + 3),
        roots @ roots.mT + 0.5 * torch.eye(D),
    )


def wrong_q(x: Tensor, components: int = K, seed: int = 9) -> OneHotCategorical:
    return OneHotCategorical(logits=normals(len(x), components, seed=seed))


def one_hot(labels: Tensor, components: int) -> OneHotCategorical:
    return OneHotCategorical(probs=torch.nn.functional.one_hot(labels, components).double())


def log_joint(model: Mixture, x: Tensor) -> np.ndarray:
    """log p(x, c) with shape (B, K), by scipy, one component at a time."""
    parts = zip(model.weights, model.loc, model.covariance, strict=True)
    return np.stack([np.log(w) + multivariate_normal(m, c).logpdf(x) for w, m, c in parts], -1)


def log_px(model: Mixture, x: Tensor) -> Tensor:
    return torch.from_numpy(logsumexp(log_joint(model, x), axis=-1))


def falls(bounds: list[float]) -> list[float]:
    return [before - after for before, after in itertools.pairwise(bounds) if after < before - 1e-12]


def assert_same(a: Mixture, b: Mixture, rtol: float | None = None, atol: float | None = None) -> None:
    for name in ("weights", "loc", "covariance"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=rtol, atol=atol)


def test_exact_posterior_makes_every_weight_log_px() -> None:
    model, x = mixture(), data()
    weights = model.trace(x).log_weights("vector")
    assert weights.shape == (K, B)
    torch.testing.assert_close(weights, log_px(model, x).expand(K, B))
    torch.testing.assert_close(importance_weighted(weights), log_px(model, x))
    torch.testing.assert_close(model.elbo(x), log_px(model, x))


def test_posterior_is_bayes_rule_even_where_it_underflows() -> None:
    model, x = mixture(), torch.cat([data(), torch.tensor([[90.0, -80.0]])])
    joint = log_joint(model, x)
    expected = torch.from_numpy(joint - logsumexp(joint, axis=-1, keepdims=True))
    assert expected.min() < math.log(torch.finfo(torch.float64).tiny)
    torch.testing.assert_close(model.posterior(x).logits, expected)
    torch.testing.assert_close(model.trace(x).log_weights("vector")[:, -1], log_px(model, x)[-1:].expand(K))


def test_a_wrong_q_misses_log_px_by_its_kl_to_the_posterior() -> None:
    model, x = mixture(), data()
    q = wrong_q(x)
    gap = kl_divergence(q, model.posterior(x))
    assert (gap > 0.01).any()
    torch.testing.assert_close(model.elbo(x, q), log_px(model, x) - gap)


def test_elbo_is_reconstruction_minus_the_kl_term_of_the_trace() -> None:
    model, x = mixture(), data()
    q = wrong_q(x)
    trace = model.trace(x, q)
    assert (trace.latents["c"].unit, trace.observed["x"].unit) == ("vector", "vector")
    reconstruction = (q.probs.mT * trace.observed["x"].log_prob).sum(0)
    torch.testing.assert_close(model.elbo(x, q), reconstruction - trace.terms("vector")["kl/c"])


def test_elbo_is_the_mean_of_drawn_weights() -> None:
    model, x, draws = mixture(), data()[:4], 40_000
    q = wrong_q(x)
    torch.manual_seed(0)
    drawn = q.sample((draws,)).argmax(-1)
    weights = model.trace(x, q).log_weights("vector").gather(0, drawn)
    error = weights.std(0) / math.sqrt(draws)
    assert ((weights.mean(0) - model.elbo(x, q)).abs() < 5 * error).all()


def test_categorical_kl_agrees_with_monte_carlo() -> None:
    model, x, draws = mixture(), data()[:4], 40_000
    q = wrong_q(x)
    torch.manual_seed(0)
    c = q.sample((draws,))
    ratio = q.log_prob(c) - model.prior.log_prob(c)
    difference = kl(q, model.prior, c) - kl(q, model.prior, c, "monte_carlo")
    assert (difference.abs() < 5 * ratio.std(0) / math.sqrt(draws)).all()


@pytest.mark.parametrize("by", ["probs", "logits"])
def test_components_that_q_rules_out_add_nothing(by: str) -> None:
    model, x = mixture(), data()
    labels = torch.arange(B) % K
    q = one_hot(labels, K)
    q = q if by == "probs" else OneHotCategorical(logits=q.probs.log())
    expected = torch.from_numpy(log_joint(model, x)).gather(1, labels.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(model.elbo(x, q), expected)


def test_a_component_of_weight_zero_changes_nothing() -> None:
    two, x = mixture(components=2), data()
    weights = torch.cat([two.weights, torch.zeros(1).double()])
    three = Mixture(weights, torch.cat([two.loc, two.loc[:1]]), torch.cat([two.covariance, two.covariance[:1]]))
    torch.testing.assert_close(three.elbo(x), log_px(two, x))
    torch.testing.assert_close(three.trace(x).log_weights("vector"), log_px(two, x).expand(3, B))


@pytest.mark.parametrize("seed", range(5))
def test_no_half_step_lowers_the_bound(seed: int) -> None:
    x = data(seed)
    fitted, bounds = em(x, mixture(seed), steps=30, tolerance=0, floor=0)
    assert len(bounds) == 61
    assert falls(bounds) == []
    assert bounds[-1] > bounds[0] + 0.1
    torch.testing.assert_close(fitted.elbo(x), log_px(fitted, x))


def test_bounds_after_e_steps_are_log_px_and_those_between_are_not() -> None:
    x, model = data(), mixture()
    _, bounds = em(x, model, steps=4, tolerance=0)
    for step in range(4):
        assert bounds[2 * step] == pytest.approx(log_px(model, x).mean().item(), abs=1e-12)
        q = model.posterior(x)
        model = m_step(x, q)
        gap = kl_divergence(q, model.posterior(x)).mean().item()
        assert gap > 1e-6
        assert bounds[2 * step + 1] == pytest.approx(log_px(model, x).mean().item() - gap, abs=1e-12)


def test_m_step_is_a_maximum_of_the_bound() -> None:
    x = data()
    q = wrong_q(x)
    best = m_step(x, q, floor=0)
    bound = best.elbo(x, q).mean()
    for seed in range(20):
        step = 0.02 * normals(K, D, D, seed=seed)
        weights = (best.weights.log() + step[:, 0, 0]).softmax(-1)
        moved = Mixture(weights, best.loc + step[:, 0], best.covariance + step @ step.mT)
        assert moved.elbo(x, q).mean() < bound
    weights, loc, root = best.weights.log(), best.loc, torch.linalg.cholesky(best.covariance)
    leaves = [part.clone().requires_grad_() for part in (weights, loc, root)]
    moving = Mixture(leaves[0].softmax(-1), leaves[1], leaves[2] @ leaves[2].mT)
    for gradient in torch.autograd.grad(moving.elbo(x, q).mean(), leaves):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)


@pytest.mark.parametrize("floor", [1e-3, 0.05])
def test_a_floor_lowers_the_bound_at_the_optimum_by_the_kl_it_causes(floor: float) -> None:
    x = data()
    optimum, bounds = em(x, start_mixture(x, 2, seed=0), steps=400, tolerance=0, floor=0)
    assert bounds[-1] - bounds[-3] < 1e-12
    q = optimum.posterior(x)
    floored = m_step(x, q, floor)
    loss = kl_divergence(
        MultivariateNormal(optimum.loc, optimum.covariance), MultivariateNormal(optimum.loc, floored.covariance)
    )
    fall = bounds[-1] - floored.elbo(x, q).mean().item()
    assert fall == pytest.approx((optimum.weights * loss).sum().item(), rel=1e-3)
    assert fall > 0
    assert falls(em(x, optimum, steps=1, tolerance=0, floor=0.05)[1]) != []


@pytest.mark.parametrize(("seed", "floor"), [(0, 1e-6), (1, 1e-6), (2, 0.1)])
def test_agrees_with_scikit_learn(seed: int, floor: float) -> None:
    x, start, steps = data(seed), start_mixture(data(seed), K, seed), 12
    reference = ReferenceMixture(
        K,
        reg_covar=floor,
        tol=0,
        max_iter=steps,
        weights_init=start.weights.numpy(),
        means_init=start.loc.numpy(),
        precisions_init=torch.linalg.inv(start.covariance).numpy(),
    )
    with pytest.warns(ConvergenceWarning):
        reference.fit(x.numpy())
    fitted, bounds = em(x, start, steps, tolerance=0, floor=floor)
    expected = Mixture(*(torch.from_numpy(v) for v in (reference.weights_, reference.means_, reference.covariances_)))
    assert_same(fitted, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(fitted.elbo(x), torch.from_numpy(reference.score_samples(x.numpy())), rtol=0, atol=1e-6)
    torch.testing.assert_close(fitted.posterior(x).probs, torch.from_numpy(reference.predict_proba(x.numpy())))
    assert bounds[-1] == pytest.approx(reference.score(x.numpy()), abs=1e-6)


def test_one_component_is_the_gaussian_of_maximum_likelihood() -> None:
    x = data()
    fitted, bounds = em(x, mixture(components=1), steps=5, tolerance=1e-9, floor=0)
    torch.testing.assert_close(fitted.loc[0], x.mean(0))
    torch.testing.assert_close(fitted.covariance[0], x.T.cov(correction=0))
    assert fitted.weights.tolist() == [1.0]
    entropy = MultivariateNormal(fitted.loc[0], fitted.covariance[0]).entropy().item()
    assert bounds[-1] == pytest.approx(-entropy)
    assert len(bounds) == 5  # one pair finds the optimum, the second finds that nothing changed


def test_m_step_of_whole_rows_is_the_statistics_of_each_cluster() -> None:
    x, labels = data(), torch.arange(B) % K
    made = m_step(x, one_hot(labels, K), floor=0.25)
    for k in range(K):
        torch.testing.assert_close(made.loc[k], x[labels == k].mean(0))
        torch.testing.assert_close(made.covariance[k], x[labels == k].T.cov(correction=0) + 0.25 * torch.eye(D))
    torch.testing.assert_close(made.weights, torch.full((K,), 1 / K).double())


def test_order_of_rows_and_of_components_is_immaterial() -> None:
    x, start = data(), mixture()
    fitted, bounds = em(x, start, steps=5, tolerance=0)
    shuffled, same = em(x[torch.from_numpy(np.random.default_rng(0).permutation(B))], start, 5, 0)
    assert_same(shuffled, fitted)
    turn = [2, 0, 1]
    turned, also = em(x, Mixture(start.weights[turn], start.loc[turn], start.covariance[turn]), 5, 0)
    assert_same(turned, Mixture(fitted.weights[turn], fitted.loc[turn], fitted.covariance[turn]))
    assert same == pytest.approx(bounds)
    assert also == pytest.approx(bounds)


@pytest.mark.parametrize("unit", [1e-5, 1.0, 1e6])
def test_units_of_the_data_only_shift_the_bound(unit: float) -> None:
    x, start = data(), mixture()
    a, b = unit * torch.tensor([[3.0, 4.0], [-2.0, 0.5]]).double(), torch.tensor([7.0, -3.0]).double()
    fitted, bounds = em(x, start, 5, 0, floor=0)
    moved_start = Mixture(start.weights, start.loc @ a.T + b, a @ start.covariance @ a.T)
    moved, shifted = em(x @ a.T + b, moved_start, 5, 0, floor=0)
    assert_same(moved, Mixture(fitted.weights, fitted.loc @ a.T + b, a @ fitted.covariance @ a.T))
    assert shifted == pytest.approx([bound - a.det().abs().log().item() for bound in bounds])


def test_a_row_is_judged_alone() -> None:
    model, x = mixture(), data()
    torch.testing.assert_close(torch.cat([model.elbo(row) for row in x.split(7)]), model.elbo(x))
    torch.testing.assert_close(model.elbo(x[:1]), model.elbo(x)[:1])


def test_tolerance_stops_early_and_zero_steps_is_the_start() -> None:
    x, start = data(), mixture()
    _, bounds = em(x, start, steps=200, tolerance=1e-3)
    rises = [after - before for before, after in itertools.pairwise(bounds[::2])]
    assert len(rises) < 200
    assert rises[-1] < 1e-3 <= min(rises[:-1])
    same, bound = em(x, start, steps=0)
    assert same is start
    assert bound == bounds[:1]


def test_em_finds_the_clusters_that_data_were_drawn_from() -> None:
    truth = Mixture(
        torch.tensor([0.2, 0.5, 0.3]).double(),
        torch.tensor([[-6.0, 0.0], [0.0, 0.0], [6.0, 2.0]]).double(),
        torch.tensor([[[1.0, 0.6], [0.6, 1.0]], [[0.5, 0.0], [0.0, 2.0]], [[2.0, -0.5], [-0.5, 1.0]]]).double(),
    )
    x, c = truth.sample(4000, seed=0)
    fitted, _ = em(x, start_mixture(x, 3, seed=0), steps=100, tolerance=1e-8)
    order = fitted.loc[:, 0].argsort()
    found = Mixture(fitted.weights[order], fitted.loc[order], fitted.covariance[order])
    assert_same(found, truth, rtol=0, atol=0.15)
    agree = found.posterior(x).probs.argmax(-1) == c.argmax(-1)
    assert agree.double().mean() > 0.98


def test_samples_have_the_moments_of_the_mixture() -> None:
    model, num = mixture(), 40_000
    x, c = model.sample(num, seed=3)
    assert x.shape == (num, D)
    assert c.shape == (num, K)
    assert (c.sum(-1) == 1).all()
    torch.testing.assert_close(c.mean(0), model.weights, rtol=0, atol=5 * 0.5 / math.sqrt(num))
    for k in range(K):
        own = x[c[:, k] == 1]
        error = (model.covariance[k].diagonal() / len(own)).sqrt()
        assert ((own.mean(0) - model.loc[k]).abs() < 5 * error).all()
        torch.testing.assert_close(own.T.cov(), model.covariance[k], rtol=0.1, atol=0.1)


def test_samples_depend_on_their_seed_alone() -> None:
    model = mixture()
    torch.manual_seed(5)
    after = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (model.sample(8, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.rand(3), after)


def test_start_is_the_statistics_of_well_separated_clusters() -> None:
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]]).double()
    x = (centres.unsqueeze(1) + normals(K, 20, D, seed=0)).flatten(0, 1)
    start = start_mixture(x, K, seed=0, floor=0)
    expected = m_step(x, one_hot(torch.arange(K).repeat_interleave(20), K), floor=0)
    order = (start.loc - expected.loc.unsqueeze(1)).norm(dim=-1).argmin(-1)
    assert sorted(order.tolist()) == [0, 1, 2]
    assert_same(Mixture(start.weights[order], start.loc[order], start.covariance[order]), expected)
    assert_same(start_mixture(x, K, seed=0, floor=0), start, rtol=0, atol=0)


def test_a_component_for_every_row_needs_the_floor() -> None:
    x = data()[:4]
    each = start_mixture(x, 4, seed=0, floor=0.5)
    torch.testing.assert_close(each.covariance, 0.5 * torch.eye(D).double().expand(4, D, D))
    with pytest.raises(UserError, match=r"components \[0, 1, 2, 3\] are singular.*raise floor"):
        start_mixture(x, 4, seed=0, floor=0)


def test_data_of_single_precision_are_read_as_double() -> None:
    x = data().float()
    fitted, bounds = em(x, start_mixture(x, 2, seed=0), steps=3)
    expected, same = em(x.double(), start_mixture(x.double(), 2, seed=0), steps=3)
    assert_same(fitted, expected, rtol=0, atol=0)
    assert bounds == same
    half = OneHotCategorical(logits=torch.zeros(B, 2))
    torch.testing.assert_close(m_step(x, half).loc, x.double().mean(0).expand(2, D))


def test_a_component_that_loses_every_row_is_named() -> None:
    with pytest.raises(UserError, match=r"no row belongs to components \[1\].*fewer components"):
        m_step(data(), one_hot(torch.zeros(B).long(), 2))
    start = mixture(components=2)
    far = Mixture(start.weights, torch.tensor([[0.0, 0.0], [1e3, 1e3]]).double(), torch.eye(D).double().expand(2, D, D))
    with pytest.raises(UserError, match=r"components \[1\]"):
        em(data(), far, steps=3)


def test_a_value_that_follows_from_the_others_is_singular_without_a_floor() -> None:
    x = data()
    dependent = torch.cat([x, x @ torch.tensor([[0.3], [1.7]]).double()], -1)
    with pytest.raises(UserError, match="raise floor"):
        m_step(dependent, wrong_q(x), floor=0)
    assert m_step(dependent, wrong_q(x), floor=1e-3).elbo(dependent).isfinite().all()


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("weights", torch.tensor([0.5, 0.6]).double(), "sum to 1"),
        ("weights", torch.tensor([1.5, -0.5]).double(), "negative"),
        ("weights", torch.ones(3).double() / 3, r"weights must have shape \(2,\)"),
        ("weights", torch.tensor([0.5, 0.5]), "float64"),
        ("loc", torch.zeros(2).double(), "loc must have shape"),
        ("loc", torch.zeros(0, 2).double(), "loc must have shape"),
        ("loc", torch.full((2, 2), math.inf).double(), "not finite"),
        ("covariance", torch.ones(2, 2).double(), r"covariance must have shape \(2, 2, 2\)"),
        ("covariance", torch.stack([torch.eye(2), torch.ones(2, 2)]).double(), r"components \[1\] are singular"),
        ("covariance", torch.stack([torch.eye(2), -torch.eye(2)]).double(), r"components \[1\] are singular"),
        (
            "covariance",
            torch.stack([torch.eye(2), torch.eye(2) + 0.1 * torch.ones(2, 2).tril()]).double(),
            r"components \[1\].*symmetric",
        ),
        (
            "covariance",
            torch.ones(2, 2, 2) + torch.tensor([1e-14, 1e-3]).double().view(2, 1, 1) * torch.eye(2),
            r"\[0\] are",
        ),
        ("covariance", torch.full((2, 2, 2), math.nan).double(), r"components \[0, 1\]"),
    ],
)
def test_parts_that_are_no_mixture_are_refused(part: str, value: Tensor, message: str) -> None:
    model = mixture(components=2)
    parts = {"weights": model.weights, "loc": model.loc, "covariance": model.covariance} | {part: value}
    with pytest.raises(UserError, match=message):
        Mixture(**parts)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(0, D), "at least one of each"),
        (torch.zeros(D), "at least one of each"),
        (torch.zeros(4, D + 1), "vectors of 2 values, but x has 3"),
        (torch.tensor([[0.0, 1.0], [math.nan, 0.0]]), "row 1 of x"),
    ],
)
def test_rows_that_cannot_be_read_are_refused(x: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        mixture().elbo(x)


def test_settings_that_make_no_sense_are_refused() -> None:
    model, x = mixture(), data()
    with pytest.raises(UserError, match=r"q must have shape \(60, 3\)"):
        model.elbo(x, wrong_q(x, components=2))
    with pytest.raises(UserError, match=r"q must have shape \(60, 3\)"):
        model.elbo(x, wrong_q(x[:5]))
    with pytest.raises(UserError, match=r"q has the batch shape \(5,\), but x has 60 rows"):
        m_step(x, wrong_q(x[:5]))
    with pytest.raises(UserError, match="floor"):
        m_step(x, wrong_q(x), floor=-1e-6)
    with pytest.raises(UserError, match="num must be at least 1"):
        model.sample(0, seed=0)
    for components in (0, 3):
        with pytest.raises(UserError, match=f"{components} components for 2 distinct rows"):
            start_mixture(torch.eye(2).repeat(5, 1), components, seed=0)

"""A mixture of Gaussians fitted by EM: both of its steps raise the ELBO of ``trace.py``.

    p(c) = Categorical(weights),   p(x | c) = N(x; loc_c, covariance_c)
    log p(x) = ELBO(q) + KL(q(c|x) || p(c|x)),   ELBO(q) = sum_c q(c|x) (log p(x, c) - log q(c|x))

The E step sets q(c|x) = p(c|x), which closes the gap; the M step maximises the ELBO in the parameters with q
held (Neal & Hinton 1998). c has K values, so they are enumerated instead of drawn and nothing is noise.
Shape legend: K components, B rows, D values a row. Everything is float64 and in nats.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, OneHotCategorical, constraints

from tgvae.distributions import safe_log
from tgvae.errors import UserError
from tgvae.random import fork_rng
from tgvae.trace import Latent, Observed, Trace

FLOOR = 1e-6
SINGULAR = 1e-12  # share of a value's variance that the values before it leave unexplained: below, it is rounding


@dataclass(frozen=True, eq=False)
class Mixture:
    """K Gaussians with full covariances over vectors, the component c being a latent variable.

    It has no gradient: ``em`` fits it. (``distributions.GaussianMixture`` is the topic prior: diagonal, with
    weights of their own for every row, and with c summed out.)

    Attributes:
        weights: p(c) with shape (K,).
        loc: means with shape (K, D).
        covariance: with shape (K, D, D).

    Raises:
        UserError: shapes that do not fit, numbers other than float64, weights that are no distribution, means
            that are not finite, or a covariance that is not symmetric or (nearly) singular.

    Examples:
        >>> import torch
        >>> weights, loc = torch.tensor([0.5, 0.5]).double(), torch.tensor([[-2.0], [2.0]]).double()
        >>> two = Mixture(weights, loc, covariance=torch.ones(2, 1, 1).double())
        >>> [round(p, 4) for p in two.posterior(torch.tensor([[0.5]])).probs[0].tolist()]  # 1 / (1 + e^2), ...
        [0.1192, 0.8808]
    """

    weights: Tensor
    loc: Tensor
    covariance: Tensor

    def __post_init__(self) -> None:
        if self.loc.dim() != 2 or 0 in self.loc.shape:
            raise UserError(
                f"loc must have shape (components, values), one of each or more, not {tuple(self.loc.shape)}"
            )
        k, d = self.loc.shape
        for name, value, shape in (("weights", self.weights, (k,)), ("covariance", self.covariance, (k, d, d))):
            if value.shape != shape:
                raise UserError(f"{name} must have shape {shape} to fit loc, not {tuple(value.shape)}")
        if {self.weights.dtype, self.loc.dtype, self.covariance.dtype} != {torch.float64}:
            raise UserError("a mixture is float64: convert its parts with .double()")
        if not constraints.simplex.check(self.weights):
            raise UserError(f"weights must not be negative and must sum to 1, not {self.weights.tolist()}")
        if not self.loc.isfinite().all():
            raise UserError("loc holds a value that is not finite")
        if bad := _singular(self.covariance):
            raise UserError(
                f"the covariances of components {bad} are singular or not symmetric; if EM made them, they have "
                "too few distinct rows or values that follow from others: raise floor or ask for fewer components"
            )

    @property
    def prior(self) -> OneHotCategorical:
        """p(c) with batch shape (). A weight of 0 counts as the smallest normal number, about e^-708."""
        return OneHotCategorical(logits=safe_log(self.weights))

    @property
    def components(self) -> MultivariateNormal:
        """p(x | c) for every c, with batch shape (K, 1): ``log_prob`` of x with shape (B, D) is (K, B)."""
        root = torch.linalg.cholesky(self.covariance)
        return MultivariateNormal(self.loc.unsqueeze(1), scale_tril=root.unsqueeze(1), validate_args=False)

    def posterior(self, x: Tensor) -> OneHotCategorical:
        """p(c | x), the responsibilities, with batch shape (B,), for x with shape (B, D).

        Raises:
            UserError: as every method that reads x: no rows, rows of another size, or values not finite.
        """
        x = _rows(x, self.loc.shape[1])
        return OneHotCategorical(logits=(self.components.log_prob(x) + self.prior.logits.unsqueeze(-1)).mT)

    def trace(self, x: Tensor, q: OneHotCategorical | None = None) -> Trace:
        """The mixture seen as a model with latent c and observed x, both of the unit ``vector``.

        The sample dimension *enumerates* the values of c: sample s is the one-hot of component s, so S = K and
        the one-hots have shape (K, B, K). ``log_weights`` are log p(x, c) - log q(c|x) with shape (K, B): with
        the exact posterior every one of them is log p(x). What averages over draws of q (``nll/x`` of
        ``terms``) does not apply to an enumeration; ``elbo`` gives each value the probability that q does.

        Args:
            x: with shape (B, D).
            q: q(c | x) with batch shape (B,); the posterior by default.

        Raises:
            UserError: q is not over K components for B rows.
        """
        x = _rows(x, self.loc.shape[1])
        q = self.posterior(x) if q is None else q
        k = self.weights.shape[0]
        if q.logits.shape != (len(x), k):
            raise UserError(f"q must have shape {(len(x), k)}, rows and components, not {tuple(q.logits.shape)}")
        c = torch.eye(k, dtype=x.dtype, device=x.device).unsqueeze(1).expand(k, len(x), k)
        return Trace({"c": Latent(q, self.prior, c, "vector")}, {"x": Observed(self.components, x, "vector")})

    def elbo(self, x: Tensor, q: OneHotCategorical | None = None) -> Tensor:
        """E_q[log p(x, c) - log q(c | x)] with shape (B,): log p(x) where q is the posterior, the default.

        A component that q rules out adds nothing: 0 log 0 = 0.
        """
        q = self.posterior(x) if q is None else q
        log_weights, probs = self.trace(x, q).log_weights("vector"), q.probs.mT
        return torch.where(probs > 0, probs * log_weights, 0.0).sum(0)

    def sample(self, num: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draws of x with shape (num, D), and the one-hot components they come from, (num, K)."""
        if num < 1:
            raise UserError(f"num must be at least 1, not {num}")
        with fork_rng(seed, self.loc.device):
            c = self.prior.sample((num,))
            of_each = self.components.sample((num,)).squeeze(-2)
        return (c.unsqueeze(-1) * of_each).sum(-2), c


def m_step(x: Tensor, q: OneHotCategorical, floor: float = FLOOR) -> Mixture:
    """The mixture with the highest mean ELBO for a held q: weighted shares, means and covariances.

    Args:
        x: with shape (B, D).
        q: q(c | x) with batch shape (B,).
        floor: variance added to the diagonal of every covariance (scikit-learn's ``reg_covar``). The step is
            exact for 0. Above 0 its mean ELBO is lower than the exact one by
            sum_c weights_c KL(N(loc_c, S_c) || N(loc_c, S_c + floor I)), so near the optimum the bound can fall.

    Raises:
        UserError: a component that no row belongs to, a covariance that is singular for this ``floor``, a
            negative ``floor``, or q and x with different numbers of rows.
    """
    x = _rows(x)
    if not floor >= 0:
        raise UserError(f"floor is a variance and cannot be {floor}; give 0 or more")
    if q.batch_shape != x.shape[:1]:
        raise UserError(f"q has the batch shape {tuple(q.batch_shape)}, but x has {len(x)} rows")
    probs = q.probs.double()
    rows_each = probs.sum(0)
    if empty := (rows_each < torch.finfo(x.dtype).eps).nonzero().flatten().tolist():
        raise UserError(f"no row belongs to components {empty}: ask for fewer components or another start")
    share = (probs / rows_each).mT
    loc = share @ x
    centred = x - loc.unsqueeze(1)
    covariance = (share.unsqueeze(-1) * centred).mT @ centred
    return Mixture(rows_each / len(x), loc, covariance + floor * torch.eye(x.shape[1], dtype=x.dtype, device=x.device))


def em(
    x: Tensor, start: Mixture, steps: int, tolerance: float = 1e-3, floor: float = FLOOR
) -> tuple[Mixture, list[float]]:
    """EM from ``start``: an E step, then up to ``steps`` times an M step and an E step.

    Args:
        x: with shape (B, D).
        start: as from ``start_mixture``.
        steps: pairs of half-steps, at most.
        tolerance: stop when a pair changes mean log p(x) by less, in nats a row; 0 never stops early.
        floor: see ``m_step``.

    Returns:
        The mixture, and the mean ELBO in nats a row after every half-step, beginning with the first E step:
        2 n + 1 values for n pairs. Those at even places are mean log p(x); with ``floor`` 0 none is below the
        one before it, and neighbours are the bound before and after a half-step.

    Raises:
        UserError: as ``m_step``.

    Examples:
        Neither half of a step lowers the bound:

        >>> import torch
        >>> x = torch.tensor([[-3.0], [-2.0], [-1.0], [1.0], [2.0], [3.0]])
        >>> mixture, bounds = em(x, start_mixture(x, components=2, seed=0, floor=0), steps=20, floor=0)
        >>> all(later >= earlier - 1e-9 for earlier, later in zip(bounds, bounds[1:]))
        True
    """
    mixture, q = start, start.posterior(x)
    bounds = [mixture.elbo(x, q).mean().item()]
    for _ in range(steps):
        mixture = m_step(x, q, floor)
        after_m = mixture.elbo(x, q)
        q = mixture.posterior(x)
        bounds += [after_m.mean().item(), mixture.elbo(x, q).mean().item()]
        if abs(bounds[-1] - bounds[-3]) < tolerance:
            break
    return mixture, bounds


def start_mixture(x: Tensor, components: int, seed: int, floor: float = FLOOR) -> Mixture:
    """Where EM starts: the M step of k-means' clusters, each row belonging to one wholly.

    Raises:
        UserError: ``components`` is not between 1 and the number of distinct rows, or as ``m_step``.
    """
    from sklearn.cluster import KMeans

    x = _rows(x)
    distinct = len(x.unique(dim=0))
    if not 1 <= components <= distinct:
        raise UserError(f"{components} components for {distinct} distinct rows: ask for 1 to {distinct}")
    labels = KMeans(components, n_init=3, random_state=seed).fit_predict(x.cpu().numpy())
    own = torch.nn.functional.one_hot(torch.from_numpy(labels).long(), components)
    return m_step(x, OneHotCategorical(probs=own.to(x)), floor)


def _rows(x: Tensor, size: int | None = None) -> Tensor:
    """x as float64, checked: (B, D) with at least one row, finite, and D = ``size`` where that is given."""
    if x.dim() != 2 or 0 in x.shape:
        raise UserError(f"x must have shape (rows, values) with at least one of each, not {tuple(x.shape)}")
    if size not in (None, x.shape[1]):
        raise UserError(f"the mixture is over vectors of {size} values, but x has {x.shape[1]} a row")
    if bad := (~x.isfinite().all(-1)).nonzero().flatten().tolist():
        raise UserError(f"row {bad[0]} of x holds a value that is not finite; leave it out or fill it in")
    return x.double()


def _singular(covariance: Tensor) -> list[int]:
    """The components whose covariance has no usable Cholesky root; judged by correlations, which have no unit."""
    scale = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    correlation = covariance / (scale.unsqueeze(-1) * scale.unsqueeze(-2))
    root, failed = torch.linalg.cholesky_ex(correlation)
    unexplained = root.diagonal(dim1=-2, dim2=-1).square()
    symmetric = torch.isclose(correlation, correlation.mT).all((-2, -1))
    usable = (failed == 0) & symmetric & (unexplained > SINGULAR).all(-1)
    return (~usable).nonzero().flatten().tolist()

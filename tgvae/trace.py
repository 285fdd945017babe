"""The interface between models and everything else: a model turns a batch into a ``Trace``.

    log p(x) >= ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z))

The ELBO, its terms and the importance-weighted bound are computed here from latents and observations, once for all
models: training minimises ``objective``, evaluation uses ``Trace.log_weights``.

Shape legend: S samples, B batch. Everything is in nats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from tgvae.divergences import Estimator, kl


@dataclass(frozen=True)
class Latent:
    """A latent variable: posterior q, prior p, samples z ~ q with shape (S, B, ...).

    ``unit`` says what a row is, e.g. ``document`` or ``sentence``; a trace may contain several units.

    Examples:
        >>> import torch
        >>> from tgvae.distributions import diagonal_normal
        >>> from tgvae.divergences import kl
        >>> q, p = (diagonal_normal(torch.full((1, 1), mean), torch.ones(1, 1)) for mean in (1.0, 0.0))
        >>> z = Latent(q, p, q.rsample((3,)), unit="sentence")
        >>> z.z.shape, kl(z.q, z.p, z.z).tolist()
        (torch.Size([3, 1, 1]), [0.5])
    """

    q: Distribution
    p: Distribution
    z: Tensor
    unit: str
    estimator: Estimator = "analytic"


@dataclass(frozen=True)
class Observed:
    """Observed data x with its likelihood given the latents; ``dist.log_prob(x)`` has shape (S, B).

    Examples:
        >>> import torch
        >>> coin = torch.distributions.Bernoulli(torch.full((1, 1), 0.25))  # one sample, one row
        >>> round(Observed(coin, torch.ones(1, 1), unit="vector").log_prob.item(), 4)  # log 1/4
        -1.3863
    """

    dist: Distribution
    x: Any
    unit: str

    @property
    def log_prob(self) -> Tensor:
        return self.dist.log_prob(self.x)


@dataclass(frozen=True)
class Trace:
    """Latents, observations and regularisers of a batch; ``aux`` is to be *minimised*, one value per row.

    Examples:
        z ~ N(0, 1), x | z ~ N(z, 1) and x = 0. The exact posterior is N(0, 1/2). With it every importance weight is
        p(x) = N(0; 0, 2), whatever z is, and the terms add up to -log p(x) in expectation:

        >>> import torch
        >>> from tgvae.distributions import diagonal_normal
        >>> zero, one = torch.zeros(1, 1), torch.ones(1, 1)
        >>> q, p = diagonal_normal(zero, one / 2**0.5), diagonal_normal(zero, one)
        >>> z = q.rsample((3,))
        >>> x = Observed(diagonal_normal(z, one), zero, "vector")
        >>> trace = Trace({"z": Latent(q, p, z, "vector")}, {"x": x})
        >>> [round(x, 4) for x in trace.log_weights("vector").flatten().tolist()]  # -log(4 pi) / 2
        [-1.2655, -1.2655, -1.2655]
        >>> sorted(trace.terms()), round(trace.terms()["kl/z"].item(), 4)  # (1/2 - 1 + log 2) / 2
        (['kl/z', 'nll/x'], 0.0966)
    """

    latents: dict[str, Latent] = field(default_factory=dict)
    observed: dict[str, Observed] = field(default_factory=dict)
    aux: dict[str, Tensor] = field(default_factory=dict)

    def terms(self, unit: str | None = None) -> dict[str, Tensor]:
        """Return ``nll/NAME`` and ``kl/NAME``, averaged over samples, with shape (B,).

        Without a ``unit``: those of all units, and ``aux/NAME``.
        """
        observed = {name: x for name, x in self.observed.items() if unit in (None, x.unit)}
        latents = {name: h for name, h in self.latents.items() if unit in (None, h.unit)}
        nlls = {f"nll/{name}": -x.log_prob.mean(0) for name, x in observed.items()}
        kls = {f"kl/{name}": _mean_over_samples(kl(h.q, h.p, h.z, h.estimator)) for name, h in latents.items()}
        aux = {f"aux/{name}": value for name, value in self.aux.items()} if unit is None else {}
        return nlls | kls | aux

    def log_weights(self, unit: str) -> Tensor:
        """Return log p(x, z) - log q(z | x) with shape (S, B), over all observations and latents of ``unit``."""
        log_p = [part.log_prob for part in self.observed.values() if part.unit == unit]
        log_ratio = [h.p.log_prob(h.z) - h.q.log_prob(h.z) for h in self.latents.values() if h.unit == unit]
        return torch.stack(torch.broadcast_tensors(*log_p, *log_ratio)).sum(0)


def _mean_over_samples(value: Tensor) -> Tensor:
    """Return a KL with shape (B,); it has a sample dimension (S, B) if the prior depends on a sampled latent."""
    return value.mean(0) if value.dim() > 1 else value


def importance_weighted(log_weights: Tensor) -> Tensor:
    """Return log 1/S sum_s w_s with shape (B,), from log w with shape (S, B) (Burda et al. 2016, arXiv 1509.00519).

    In expectation it lies between the ELBO and log p(x), and increases with S.

    Examples:
        The mean of the weights 1 and 3 is 2:

        >>> import torch
        >>> round(importance_weighted(torch.tensor([[1.0], [3.0]]).log()).item(), 4)  # log 2
        0.6931
    """
    return log_weights.logsumexp(0) - math.log(log_weights.shape[0])


def objective(
    terms: Mapping[str, Tensor], weights: Mapping[str, float], free_nats: Mapping[str, float] | None = None
) -> Tensor:
    """Return the training loss: the weighted sum of the mean of each term.

    Args:
        terms: from ``Trace.terms``.
        weights: a factor per term, 1 by default; beta is ``weights["kl/z"]``.
        free_nats: a minimum per term in nats (Kingma et al. 2016); below it the term has no gradient.

    Raises:
        ValueError: a name in ``weights`` or ``free_nats`` is not a term.

    Examples:
        A mean nll of 3 and half a mean KL of 1; with 2 free nats the KL counts as 2:

        >>> import torch
        >>> terms = {"nll/x": torch.tensor([2.0, 4.0]), "kl/z": torch.tensor([0.5, 1.5])}
        >>> objective(terms, {"kl/z": 0.5}).item()
        3.5
        >>> objective(terms, {"kl/z": 0.5}, free_nats={"kl/z": 2.0}).item()
        4.0
    """
    floors = free_nats or {}
    if unknown := (set(weights) | set(floors)) - set(terms):
        raise ValueError(f"no such terms: {sorted(unknown)}; this model has {sorted(terms)}")
    means = {name: value.mean() for name, value in terms.items()}
    # The floor applies to the mean over the batch, not to rows: a row may be uninformative if others are not.
    floored = {name: mean.clamp_min(floors[name]) if name in floors else mean for name, mean in means.items()}
    return torch.stack([weights.get(name, 1.0) * value for name, value in floored.items()]).sum()

"""The one seam: a model turns a batch into a ``Trace``; the ELBO, its terms and IWAE are derived here.

    log p(x) >= ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z))

A model's ``trace(batch, samples)`` returns latents and observations; no model writes its own bound.
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
    """A latent variable: posterior q, prior p, draws z ~ q with shape (S, B, ...).

    ``unit`` says what a row is (``document`` or ``sentence``): one trace may hold both.

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
    """An observation x with its likelihood given the latents; ``dist.log_prob(x)`` has shape (S, B).

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
    """What a model says of a batch. ``aux`` holds regularisers to be *minimised*, one value a row.

    Examples:
        z ~ N(0, 1), x | z ~ N(z, 1), and x = 0 is seen. The posterior is N(0, 1/2); with it every importance weight is
        p(x) = N(0; 0, 2), whatever is drawn, and both terms add up to -log p(x) on average:

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
        """``nll/NAME`` and ``kl/NAME``, one value a row with shape (B,), averaged over samples.

        All units and ``aux/NAME`` too, unless one ``unit`` is named.
        """
        wanted = {name: part for name, part in self.observed.items() if unit in (None, part.unit)}
        latent = {name: part for name, part in self.latents.items() if unit in (None, part.unit)}
        nll = {f"nll/{name}": -part.log_prob.mean(0) for name, part in wanted.items()}
        kls = {f"kl/{n}": _rows(kl(part.q, part.p, part.z, part.estimator)) for n, part in latent.items()}
        aux = {f"aux/{name}": value for name, value in self.aux.items()} if unit is None else {}
        return nll | kls | aux

    def log_weights(self, unit: str) -> Tensor:
        """log p(x, z) - log q(z | x) with shape (S, B), over all parts of that ``unit``."""
        log_p = [part.log_prob for part in self.observed.values() if part.unit == unit]
        log_ratio = [h.p.log_prob(h.z) - h.q.log_prob(h.z) for h in self.latents.values() if h.unit == unit]
        return torch.stack(torch.broadcast_tensors(*log_p, *log_ratio)).sum(0)


def _rows(value: Tensor) -> Tensor:
    """KL of a prior that was itself drawn has a sample dimension (S, B): average it away."""
    return value.mean(0) if value.dim() > 1 else value


def importance_weighted(log_weights: Tensor) -> Tensor:
    """log 1/S sum_s w_s with shape (B,), from log w with shape (S, B) (Burda et al. 2016, 1509.00519).

    ELBO <= this <= log p(x), rising in S.

    Examples:
        The weights 1 and 3 have the mean 2:

        >>> import torch
        >>> round(importance_weighted(torch.tensor([[1.0], [3.0]]).log()).item(), 4)  # log 2
        0.6931
    """
    return log_weights.logsumexp(0) - math.log(log_weights.shape[0])


def objective(
    terms: Mapping[str, Tensor], weights: Mapping[str, float], free_nats: Mapping[str, float] | None = None
) -> Tensor:
    """The training loss: sum over terms of weight x mean over rows.

    Args:
        terms: as given by ``Trace.terms``.
        weights: a factor a term; a term that is not named counts once. beta is ``weights["kl/z"]``.
        free_nats: a floor a term, in nats (Kingma et al. 2016): below it the term has no gradient.

    Raises:
        ValueError: a weight or floor names a term that the model does not have.

    Examples:
        A mean nll of 3, half a mean KL of 1; with 2 nats free the KL counts as 2:

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
    floored = {name: mean.clamp_min(floors[name]) if name in floors else mean for name, mean in means.items()}
    return torch.stack([weights.get(name, 1.0) * value for name, value in floored.items()]).sum()

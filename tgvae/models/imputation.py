"""Imputation of missing values: samples of p(x_m | x_o) under a VAE.

Metropolis-within-Gibbs (Mattei & Frellsen 2018, arXiv 1802.04826). A chain over z and x_m repeats

    x_m ~ p(x_m | z)
    z'  ~ q(z | x),  accepted with probability  min(1, w(z') / w(z)),   w(z) = p(x | z) p(z) / q(z | x),  x = (x_o, x_m)

and converges to p(z, x_m | x_o) for any q. The first steps accept every z', as in the paper: a chain that starts at a z
of the prior would accept few.

Shape legend: N samples, B rows, D values of a vector, Z latent variables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from tgvae.errors import UserError
from tgvae.models.vae import VectorVAE
from tgvae.random import fork_rng

WARM_UP = 20
"""Steps at the start of a chain that accept every z'."""


@dataclass(frozen=True, eq=False)
class Completion:
    """Samples of the missing values of B vectors.

    Attributes:
        x: the vectors with missing values sampled, with shape (N, B, D).
        z: latents of these samples, with shape (N, B, Z), or (N, B, Z, C) one-hot.
        accepted: share of accepted z' after the warm-up; near 0 the chains hardly move and need more steps.
    """

    x: Tensor
    z: Tensor
    accepted: float


@torch.no_grad()
def complete(
    model: VectorVAE, x: Tensor, known: Tensor, draws: int = 10, steps: int = 100, seed: int = 0
) -> Completion:
    """Sample the values of ``x`` that are not ``known``, each sample with its own chain. Exact as ``steps`` grows.

    Args:
        model: with a distribution of z.
        x: with shape (B, D); values that are not known are ignored.
        known: True where x is given, with shape (D,) or (B, D).
        draws: N.
        steps: per chain, after ``WARM_UP``.
        seed: of all samples.

    Raises:
        UserError: a deterministic autoencoder, or shapes and numbers that do not fit.

    Examples:
        An untrained model; known values do not change:

        >>> import torch
        >>> from tgvae.models.vae import Space, VectorConfig, VectorVAE
        >>> model = VectorVAE(VectorConfig(latent_size=2), Space(4)).eval()
        >>> x, known = torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([True, True, False, False])
        >>> found = complete(model, x, known, draws=3, steps=10)
        >>> found.x.shape, found.x[..., :2].unique(dim=0).tolist()
        (torch.Size([3, 1, 4]), [[[1.0, 0.0]]])
    """
    _require(model, x, known, draws, steps)
    prior, accepted = model.prior(), 0.0
    with fork_rng(seed, model.device):
        z = prior.sample((draws, len(x)))
        for step in range(WARM_UP + steps):
            of_x = model.likelihood(z)
            filled = torch.where(known, x, of_x.sample())
            q: Independent = model.posterior(filled)  # type: ignore[assignment]
            proposed = q.sample()
            gain = _log_weight(filled, proposed, model.likelihood(proposed), prior, q)
            gain -= _log_weight(filled, z, of_x, prior, q)
            accept = torch.rand_like(gain).log() < (gain if step >= WARM_UP else math.inf)
            z = torch.where(accept.view(*accept.shape, *[1] * (z.dim() - 2)), proposed, z)
            accepted += accept.double().mean().item() / steps * (step >= WARM_UP)
        return Completion(torch.where(known, x, model.likelihood(z).sample()), z, accepted)


def _log_weight(x: Tensor, z: Tensor, of_x: Distribution, prior: Distribution, q: Distribution) -> Tensor:
    """Return log w(z) with shape (N, B)."""
    return of_x.log_prob(x) + prior.log_prob(z) - q.log_prob(z)


def _require(model: VectorVAE, x: Tensor, known: Tensor, draws: int, steps: int) -> None:
    if model.config.latent == "point":
        raise UserError("a deterministic autoencoder has no distribution to sample from; use a VAE")
    if min(draws, steps, len(x)) < 1:
        raise UserError(f"imputation needs at least 1 vector, draw and step, not {len(x)}, {draws} and {steps}")
    if known.dtype != torch.bool or known.shape not in (x.shape, x.shape[-1:]):
        raise UserError(f"known must be true or false for vectors {tuple(x.shape)}, not {known.dtype} {known.shape}")

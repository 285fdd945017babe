"""Layers that map features to distributions, and bags of words to features."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from tgvae.data.bow import BagOfWords
from tgvae.distributions import HouseholderNormal, diagonal_normal
from tgvae.nn.dropout import Dropout


def mlp(sizes: list[int], dropout: float = 0.0) -> nn.Sequential:
    """Return linear layers of the given sizes, each followed by ReLU and dropout."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU(), Dropout(dropout)]
    return nn.Sequential(*layers)


class BagLinear(nn.Module):
    """C W + b for sparse bags C (U, D): a linear layer that looks up the rows of the words present.

    W has shape (D, H), so the weights of a word are adjacent in memory; it is saved transposed, like ``nn.Linear``'s.
    """

    def __init__(self, vocabulary_size: int, features: int) -> None:
        super().__init__()
        start = nn.Linear(vocabulary_size, features)
        self.weight = nn.Parameter(start.weight.detach().T.contiguous())
        self.bias = start.bias

    def forward(self, bags: BagOfWords | Tensor) -> Tensor:
        return bags @ self.weight + self.bias

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = destination[prefix + "weight"].T

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *options: Any) -> None:
        if (name := prefix + "weight") in state_dict:
            state_dict[name] = state_dict[name].T.contiguous()
        super()._load_from_state_dict(state_dict, prefix, *options)


class NormalHead(nn.Module):
    """Features (..., F) -> N(mu, diag sigma^2) over Z."""

    def __init__(self, features: int, latent_size: int) -> None:
        super().__init__()
        self.loc = nn.Linear(features, latent_size)
        self.log_scale = nn.Linear(features, latent_size)

    def forward(self, h: Tensor) -> torch.distributions.Independent:
        return diagonal_normal(self.loc(h).float(), scale_of(self.log_scale(h)))


class HouseholderHead(nn.Module):
    """Features (B, F) -> HouseholderNormal over Z: v_1 = linear(h), v_{k+1} = linear(v_k).

    Args:
        features: F.
        latent_size: Z.
        flow_length: K; 0 gives the diagonal Gaussian.
    """

    def __init__(self, features: int, latent_size: int, flow_length: int) -> None:
        super().__init__()
        self.loc = nn.Linear(features, latent_size)
        self.log_scale = nn.Linear(features, latent_size)
        sizes = [features] + [latent_size] * flow_length
        self.flow = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, h: Tensor, centre: Tensor | None = None) -> HouseholderNormal:
        loc, vectors, v = self.loc(h).float(), [], h
        for layer in self.flow:
            v = layer(v)
            vectors.append(v.float())
        stacked = torch.stack(vectors, dim=-2) if vectors else loc.new_zeros(*loc.shape[:-1], 0, loc.shape[-1])
        return HouseholderNormal(loc, scale_of(self.log_scale(h)), stacked, centre)


def scale_of(log_scale: Tensor) -> Tensor:
    """Return exp(log_scale) in float32, within [e^-6, e^3], so that no distribution becomes a point or overflows."""
    return log_scale.float().clamp(-6, 3).exp()

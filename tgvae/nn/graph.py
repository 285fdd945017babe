"""Graph convolution, and the distribution of links given the latents of nodes.

Shape legend: S samples, N nodes, M pairs of nodes, F features, H outputs, Z latent.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, constraints


class GraphConvolution(nn.Module):
    """A X W, with A the normalised adjacency (Kipf & Welling 2017, arXiv 1609.02907); no bias, as in the paper.

    Args:
        inputs: F, which is N for identity features.
        outputs: H.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(inputs, outputs)))

    def forward(self, adjacency: Tensor, x: Tensor | None) -> Tensor:
        """Return (N, H) for a sparse adjacency (N, N) and features (N, F), sparse or dense; None is the identity."""
        with torch.autocast(adjacency.device.type, enabled=False):  # sparse products have no gradient in bfloat16
            return torch.sparse.mm(adjacency, self.weight if x is None else x @ self.weight)


def log_odds(z: Tensor, pairs: Tensor) -> Tensor:
    """Return z_i . z_j with shape (..., M) for latents (..., N, Z) and pairs (M, 2)."""
    i, j = pairs.T
    return (z[..., i, :] * z[..., j, :]).sum(-1)


class Links(Distribution):
    """p(A_ij = 1 | z) = sigmoid(z_i . z_j) for some pairs of nodes, each with a weight.

    The log-probability of a pair is divided between its two nodes. Weights other than 1 make it a pseudo-likelihood,
    not the probability of a graph.

    Args:
        z: latents with shape (S, N, Z).
        pairs: with shape (M, 2).
        weight: of the pairs, with shape (M,).
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.boolean

    def __init__(self, z: Tensor, pairs: Tensor, weight: Tensor) -> None:
        self.pairs, self.weight = pairs, weight
        self.log_odds = log_odds(z, pairs)
        super().__init__(z.shape[:-1], weight.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the share of each node with shape (S, N): half of weight x log p(A_ij), summed over its pairs.

        Args:
            value: 1 for an edge, otherwise 0, with shape (M,).
        """
        nll = F.binary_cross_entropy_with_logits(self.log_odds, value.expand_as(self.log_odds), reduction="none")
        half = -0.5 * self.weight * nll
        i, j = self.pairs.T
        return half.new_zeros(self.batch_shape).index_add(-1, i, half).index_add(-1, j, half)

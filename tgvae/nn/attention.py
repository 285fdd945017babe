"""Attention over the states of a source (Bahdanau et al. 2015, arXiv 1409.0473).

    score(q, h_n) = v' tanh(W q + U h_n),   a = softmax(score),   context = sum_n a_n h_n

Shape legend: B batch, Q queries (steps), N source tokens, F source features, H query features, A attention size;
... stands for samples or nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Memory(NamedTuple):
    """A source to attend to.

    Attributes:
        states: h with shape (B, N, F); padding may have any finite value.
        keys: 2 U h with shape (B, N, A), computed once per source.
        real: True where there is a token, with shape (B, N); at least one per row.
    """

    states: Tensor
    keys: Tensor
    real: Tensor


class AdditiveAttention(nn.Module):
    """Additive attention; the weight of padding is exactly zero."""

    chunk = 2**24  # size of tanh(W q + U h) per pass: it has B Q N A values, too many for all queries at once

    def __init__(self, features: int, query_size: int, attention_size: int) -> None:
        super().__init__()
        self.key = nn.Linear(features, attention_size, bias=False)
        self.query = nn.Linear(query_size, attention_size)
        self.score = nn.Linear(attention_size, 1, bias=False)

    def memory(self, states: Tensor, lengths: Tensor) -> Memory:
        """Return the memory of states (B, N, F) whose rows have ``lengths`` (B,) tokens."""
        real = torch.arange(states.shape[1], device=states.device) < lengths.unsqueeze(1)
        return Memory(states, 2 * self.key(states), real)

    def forward(self, queries: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return weights (..., B, Q, N) and contexts (..., B, Q, F) of queries (..., B, Q, H)."""
        projected = self.query(queries)
        each = max(1, self.chunk // max(1, memory.keys.numel() * projected[..., 0, 0, 0].numel()))
        scores = torch.cat([self._scores(part, memory) for part in projected.split(each, dim=-2)], dim=-2)
        weights = scores.float().masked_fill(~memory.real.unsqueeze(-2), -torch.inf).softmax(-1)
        weighted = weights.to(memory.states.dtype)  # einsum does not copy the source for each sample
        return weights, torch.einsum("...bqn,bnf->...bqf", weighted, memory.states)

    def _scores(self, projected: Tensor, memory: Memory) -> Tensor:
        # v' tanh(x) = 2 v' sigmoid(2x) - v' 1, and the softmax cancels v' 1. On a CPU torch's sigmoid takes a tenth of
        # the time of its tanh.
        return 2 * self.score((2 * projected.unsqueeze(-2) + memory.keys.unsqueeze(-3)).sigmoid()).squeeze(-1)


def coverage_loss(attention: Tensor, real: Tensor) -> Tensor:
    """Return sum_m sum_n min(a_mn, sum_{k < m} a_kn), repeated attention to one position (See et al. 2017).

    Args:
        attention: weights of every step with shape (..., L, N).
        real: True at steps that are not padding, with shape (..., L).

    Returns:
        The loss with shape (...).
    """
    before = attention.cumsum(-2) - attention
    return (torch.minimum(attention, before).sum(-1) * real).sum(-1)

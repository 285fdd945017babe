"""The plain likelihood of words from dense counts: the oracle of the sparse ones, and words for made-up models."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution, constraints


class DenseWords(Distribution):
    """log p(d) = sum_w n_w log p(w | t), for log p(w | t) with shape (..., D) and counts with shape (..., D)."""

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, log_probs: Tensor) -> None:
        self.log_probs = log_probs
        super().__init__(log_probs.shape[:-1], log_probs.shape[-1:], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return (value * self.log_probs).sum(-1)

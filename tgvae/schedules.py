"""Values that change during training: KL weight (beta), Gumbel temperature. Pure Python."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from tgvae.errors import UserError

Shape = Literal["constant", "linear", "sigmoid", "cyclical"]


@dataclass(frozen=True)
class Schedule:
    """A value that changes from ``start`` to ``end`` during the first ``share`` of training.

    ``linear`` and ``sigmoid`` (Bowman et al. 2016) do so once. ``cyclical`` (Fu et al. 2019) divides the whole training
    into ``cycles`` equal cycles, with a linear change in the first half of each. ``constant`` is always ``end``.

    Examples:
        >>> beta = Schedule("linear", share=0.5)
        >>> [beta(progress) for progress in (0, 0.25, 0.5, 1)]
        [0.0, 0.5, 1.0, 1.0]
        >>> [Schedule("cyclical", cycles=2)(progress) for progress in (0.125, 0.25, 0.5, 0.625)]
        [0.5, 1.0, 0.0, 0.5]
    """

    shape: Shape = "constant"
    start: float = 0.0
    end: float = 1.0
    share: float = 0.3
    cycles: int = 4

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise UserError(f"schedule.shape {self.shape!r} is not one of {', '.join(get_args(Shape))}")
        if not math.isfinite(self.start) or not math.isfinite(self.end):
            raise UserError(f"schedule.start is {self.start} and schedule.end is {self.end}; both must be finite")
        if not 0 < self.share <= 1 or self.cycles < 1:
            raise UserError("schedule.share must lie in (0, 1] and schedule.cycles be at least 1")

    def __call__(self, progress: float) -> float:
        """Return the value at ``progress`` = finished steps / all steps, in [0, 1]."""
        if self.shape == "constant":
            return self.end
        if self.shape == "cyclical":
            rise = min(1.0, 2 * (progress * self.cycles % 1.0)) if progress < 1 else 1.0
        else:
            rise = min(1.0, progress / self.share)
            if self.shape == "sigmoid" and rise < 1:
                rise = 1 / (1 + math.exp(-12 * (rise - 0.5)))
        return self.start + (self.end - self.start) * rise

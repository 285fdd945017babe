"""The interface between data and training or evaluation: the rows of a split, in batches, for any type of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tgvae.data.corruption import Corruption
from tgvae.errors import UserError

Ints = NDArray[np.int64]
Unit = Literal["document", "sentence", "vector", "node"]


@dataclass(frozen=True)
class Rows:
    """The rows of one unit in a split.

    Attributes:
        unit: what a row is; latents and observations of a trace have the same unit.
        batches: indices of rows from a size and a seed; without a seed in order, for evaluation. The size is in padded
            tokens for sentences, in rows for documents and vectors.
        gather: the batch of some rows. Any batch has ``to(device)`` and ``sizes``.
        names: names of rows for messages, from ``sizes["documents"]``.
        corrupt: a batch as a denoising model reads it.
    """

    unit: Unit
    batches: Callable[[int, int | None], list[Ints]]
    gather: Callable[[Ints], Any]
    names: Callable[[Ints], list[str]]
    corrupt: Callable[[Any, Corruption], Any]

    def corrupted(self, batch: Any, corruption: Corruption) -> Any:
        """Return a batch as a denoising model reads it."""
        return batch if corruption.kind == "none" else self.corrupt(batch, corruption)


class Examples(Protocol):
    """A split of some data: a corpus, pairs, vectors or a graph."""

    def rows(self, unit: Unit) -> Rows:
        """Return the rows of a unit. Raises UserError where the split has none."""

    @property
    def description(self) -> str:
        """What a user should know before training, such as how many rows were left out; '' for nothing."""


def shuffled(count: int, size: int, seed: int | None = None) -> list[Ints]:
    """Return the indices below ``count`` in batches of ``size``; shuffled if a seed is given.

    Examples:
        >>> [batch.tolist() for batch in shuffled(5, size=2)]
        [[0, 1], [2, 3], [4]]
    """
    order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
    return [order[i : i + size] for i in range(0, count, size)]


def not_corrupted(batch: Any, corruption: Corruption) -> Any:
    """Raise UserError: ``Rows.corrupt`` of rows that no denoising model reads."""
    raise UserError(
        f"{corruption.kind} is a corruption of sentences or images; documents, summaries and graphs have none"
    )

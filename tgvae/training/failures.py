"""What can go wrong in training, in words: a loss that is no loss, no memory, no room, a process that is gone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from tgvae.errors import UnwritableError, UserError, out_of_memory

LOST_PEER = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")  # as gloo says it


class DivergedError(UserError):
    """The loss is not a number, or absurd; the run folder holds the last good state."""


class NoMemoryError(UserError):
    """There is no memory for a step of training."""


def wrong_with(loss: float, norm: float, terms: Mapping[str, Tensor], limit: float) -> str:
    """What is wrong with an objective and the norm of its gradient, in words; empty where nothing is.

    Args:
        loss: the objective in nats a row.
        norm: of the gradient.
        terms: of the objective, to name those at fault.
        limit: the largest objective that is no nonsense.
    """
    if loss <= limit and math.isfinite(loss + norm):
        return ""
    values = {"objective": loss, "gradient": norm} | {name: value.mean().item() for name, value in terms.items()}
    if bad := [name for name, value in values.items() if not math.isfinite(value)]:
        return f"{', '.join(bad)} not finite"
    told = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    return f"{told}: more nats a row than --train.largest-loss {limit:g}"


@contextmanager
def enough_memory(name: str, batch: int) -> Iterator[None]:
    """A lack of memory in a phase of training, as a NoMemoryError that names its batch."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise NoMemoryError(
            f"out of memory in the phase {name}; take a machine with more, or train anew with a lower "
            f"--train.phases.{name}.batch ({batch} now) or a smaller model"
        ) from error


@contextmanager
def explained(run: Path) -> Iterator[None]:
    """Faults of the machine while a run is trained, as UserErrors that say how to go on."""
    go_on = f"what was saved is kept, to go on: `tgvae train --resume {run}`"
    try:
        yield
    except (UnwritableError, NoMemoryError) as error:
        raise UserError(f"{error}; {go_on}") from error
    except RuntimeError as error:
        if not any(words in str(error) for words in LOST_PEER):
            raise
        raise UserError(f"another process of the training has ended; {go_on}") from error

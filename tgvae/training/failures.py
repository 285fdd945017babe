"""Failures of training with an explanation: divergence, lack of memory or disk space, a lost process."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from tgvae.errors import UnwritableError, UserError, out_of_memory

LOST_PEER = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")  # messages of gloo


class DivergedError(UserError):
    """The loss is not finite, or too large; the run folder holds the last good state."""


class NoMemoryError(UserError):
    """There is not enough memory for a training step."""


def describe_divergence(loss: float, norm: float, terms: Mapping[str, Tensor], limit: float) -> str:
    """Return what is wrong with a loss and the norm of its gradient, or ''.

    Args:
        loss: the objective in nats per row.
        norm: the norm of the gradient.
        terms: the terms of the objective, to name those at fault.
        limit: the largest loss that is accepted.
    """
    if loss <= limit and math.isfinite(loss + norm):
        return ""
    values = {"objective": loss, "gradient": norm} | {name: value.mean().item() for name, value in terms.items()}
    if bad := [name for name, value in values.items() if not math.isfinite(value)]:
        return f"{', '.join(bad)} not finite"
    text = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    return f"{text}: more nats per row than --train.largest-loss {limit:g}"


@contextmanager
def explain_lack_of_memory(phase: str, batch: int) -> Iterator[None]:
    """Raise NoMemoryError, which names the phase's batch option, where memory runs out inside."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise NoMemoryError(
            f"out of memory in the phase {phase}; use a machine with more, or train again with a lower "
            f"--train.phases.{phase}.batch (now {batch}) or a smaller model"
        ) from error


@contextmanager
def explain_failures(run: Path) -> Iterator[None]:
    """Raise UserError, which says how to resume, for failures of the machine inside."""
    resume = f"what was saved is kept; resume with `tgvae train --resume {run}`"
    try:
        yield
    except (UnwritableError, NoMemoryError) as error:
        raise UserError(f"{error}; {resume}") from error
    except RuntimeError as error:
        if not any(words in str(error) for words in LOST_PEER):
            raise
        raise UserError(f"another process of the training has ended; {resume}") from error

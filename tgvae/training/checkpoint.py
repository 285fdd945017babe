"""The checkpoint: one file with weights, optimiser state, progress and metrics not yet written.

Safetensors with the progress as JSON in its header, so there is no pickle, written by ``atomic_write``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tgvae.errors import UserError
from tgvae.files import atomic_write
from tgvae.training.config import Phase

CHECKPOINT = "last.safetensors"
SUMS = "journal.sums"
INCOMPATIBLE = "made by an earlier version of tgvae and cannot be resumed; train again with --overwrite"


@dataclass
class Progress:
    """Progress of a run: the next batch to train on, and the best validation objective of the phase.

    ``step`` counts updates over all phases; ``stale`` counts validations since the best one.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float = float("inf")
    stale: int = 0

    def finished(self, phase: Phase) -> bool:
        """Whether its phase has ended, after its last epoch or by early stopping."""
        return self.epoch >= phase.epochs or self.stale >= phase.patience


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, sums: Tensor | None = None
) -> None:
    """Replace the checkpoint at ``path``.

    The old one is kept until the new one is on disk, so there must be room for two. Each is about three times as large
    as the weights, because AdamW has two moments of every weight.

    Args:
        path: the file.
        model: gives weights and buffers.
        optimizer: gives its state.
        progress: the progress of the run.
        sums: metrics that the logger has not written yet.

    Raises:
        UnwritableError: it cannot be written; the old checkpoint is kept.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {} if sums is None else {SUMS: sums}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    contiguous = {name: value.detach().contiguous() for name, value in tensors.items()}
    with atomic_write(path) as partial:
        save_file(contiguous, partial, metadata={"progress": json.dumps(asdict(progress))})


def read_progress(path: Path) -> Progress:
    """Read the progress in a checkpoint. Raises UserError if there is none or it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            return Progress(**json.loads(file.metadata()["progress"]))
    except FileNotFoundError:
        raise UserError(f"{path}: no checkpoint to resume from; train with --overwrite instead") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a checkpoint of tgvae, or damaged ({error})") from error


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Tensor | None:
    """Restore weights and optimiser state; return the sums that were saved with them.

    Raises:
        UserError: the state belongs to parameters with other names or shapes.
    """
    try:
        tensors = load_file(path)
        sums = tensors.pop(SUMS, None)
        weights = {key.removeprefix("model."): value for key, value in tensors.items() if key.startswith("model.")}
        states: dict[int, dict[str, Tensor]] = {}
        for key in tensors.keys() - {f"model.{name}" for name in weights}:
            _, number, part = key.split(".")
            states.setdefault(int(number), {})[part] = tensors[key]
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if any(states[n]["exp_avg"].shape != parameters[n].shape for n in states):  # AdamW would not notice
            raise UserError(f"{path}: {INCOMPATIBLE}")
        model.load_state_dict(weights)
    except (SafetensorError, KeyError, IndexError, RuntimeError) as error:
        raise UserError(f"{path}: {INCOMPATIBLE} ({error})") from error
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return sums

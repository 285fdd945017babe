"""One file that holds all that a run needs to go on: weights, optimiser state and progress.

Safetensors with the progress as JSON in its header: no pickle. Files are written beside their place,
synced and renamed, so that a reader finds the old one or the new one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tgvae.errors import UserError
from tgvae.files import replacing


@dataclass
class Progress:
    """Where a run stands: the next batch to train on, and the best validation bound of the phase.

    ``step`` counts updates over all phases; ``stale`` counts validations since the best.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float = float("inf")
    stale: int = 0


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Replace the checkpoint at ``path``."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    contiguous = {name: value.detach().contiguous() for name, value in tensors.items()}
    with replacing(path) as partial:
        save_file(contiguous, partial, metadata={"progress": json.dumps(asdict(progress))})


def read_progress(path: Path) -> Progress:
    """Raises UserError: no checkpoint there, or not one of ours."""
    try:
        with safe_open(path, "pt") as file:
            return Progress(**json.loads(file.metadata()["progress"]))
    except FileNotFoundError:
        raise UserError(f"{path}: no checkpoint to resume from; train with --overwrite instead") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a checkpoint of tgvae ({error})") from error


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put weights and optimiser state back. The optimiser must be over the same parameters.

    Raises:
        UserError: the state is of parameters with other shapes.
    """
    weights: dict[str, Tensor] = {}
    states: dict[int, dict[str, Tensor]] = {}
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118 (safe_open is no mapping)
            kind, name = key.split(".", 1)
            if kind == "model":
                weights[name] = file.get_tensor(key)
            else:
                number, part = name.split(".")
                states.setdefault(int(number), {})[part] = file.get_tensor(key)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if any(states[n]["exp_avg"].shape != parameters[n].shape for n in states):  # which AdamW would not notice
        raise UserError(f"{path}: made by an earlier version of tgvae, which cannot be resumed; train with --overwrite")
    model.load_state_dict(weights)
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})

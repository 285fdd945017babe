"""Weights on disk, with the hashes of every file of a model.

    model.safetensors    the tensors, and one metadata entry in the header:
    sha256               a JSON object with the SHA-256 of the tensors, and of every other file of the model by name

The file with the hashes is written last and replaces the old one atomically, so a folder always has hashes. They detect
damage of any bit, but not malice: whoever changes weights can change hashes. A folder from a stranger is safe for
another reason: safetensors hold no code, and names, types and shapes are compared with the model's before any memory is
allocated. Weights of tgvae 0.1.0 have no hashes and are loaded without them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tgvae.data.schema import file_hash, require_files
from tgvae.errors import UserError
from tgvae.files import atomic_write

HASHES = "sha256"
REMEDY = "copy the whole folder again, or train again"
INITIALIZERS = {"eye", "log", "mul", "normal_", "uniform_"}
"""Functions that compute initial weights and keep their shape."""
MAX_NAMED = 3
"""Tensors named in an error message."""


class SkipInitialization(TorchFunctionMode):
    """Context in which a model on the device ``meta`` gets shapes only, without computing initial values.

    Random functions on ``meta`` make torch import its compiler: 1.3 s instead of 0.05 s for loading a small model, in a
    command that takes 2.1 s in all. ``accelerate.init_empty_weights`` is no alternative: it allocates every weight on
    the CPU first, and the sizes in a stranger's config.json must not allocate anything.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.__name__ in INITIALIZERS:
            return next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        return (torch.empty if func is torch.randn else func)(*args, **kwargs)


def save_weights(weights: Mapping[str, Tensor], path: Path, others: Sequence[Path]) -> None:
    """Replace the weights file of a model.

    Args:
        weights: by name.
        path: the file, in the folder of the model.
        others: the other files of the model, already written.
    """
    tensors = {name: weight.cpu().contiguous() for name, weight in weights.items()}
    hashes = {other.name: file_hash(other) for other in others} | {path.name: hash_of(tensors)}
    with atomic_write(path) as partial:
        save_file(tensors, partial, {HASHES: json.dumps(hashes, sort_keys=True)})


def load_weights(model: nn.Module, path: Path) -> None:
    """Load weights into a model that was built on the device ``meta``.

    Raises:
        UserError: the file is missing or damaged, its tensors do not fit the model or are not finite, or another file
            of the folder has changed since the weights were saved.
    """
    if not os.path.isfile(path):
        raise UserError(f"{path}: missing; {REMEDY}")
    try:
        with safe_open(path, "pt") as file:
            hashes = json.loads((file.metadata() or {}).get(HASHES, "{}"))
            require_files(path.parent, {name: hash for name, hash in hashes.items() if name != path.name}, REMEDY)
            _require_fit(path, _shapes(file), model)
            weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError, AttributeError, RecursionError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: cannot be loaded ({error}); {REMEDY}") from error
    if hashes and hashes.get(path.name) != hash_of(weights):
        raise UserError(f"{path}: changed since it was written (SHA-256); {REMEDY}")
    if bad := [name for name, weight in weights.items() if not weight.isfinite().all()]:
        raise UserError(f"{path}: {', '.join(bad[:MAX_NAMED])} not finite; {REMEDY}")
    model.load_state_dict(weights, assign=True)


def hash_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names and values of contiguous CPU tensors, independent of their order."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _shapes(file: Any) -> dict[str, str]:
    """Return type and shape of every tensor of an open file, read from its header."""
    parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    return {name: f"{part.get_dtype()} {list(part.get_shape())}" for name, part in parts.items()}


def _require_fit(path: Path, found: Mapping[str, str], model: nn.Module) -> None:
    """Raise UserError unless the tensors are those of the model, all float32."""
    expected = {name: f"F32 {list(weight.shape)}" for name, weight in model.state_dict().items()}
    wrong = [name for name in sorted(expected.keys() | found.keys()) if expected.get(name) != found.get(name)]
    if wrong:
        lines = [
            f"{name} is {found.get(name, 'missing')}, not {expected.get(name, 'expected')}"
            for name in wrong[:MAX_NAMED]
        ]
        more = [f"{len(wrong) - MAX_NAMED} more"] if len(wrong) > MAX_NAMED else []
        raise UserError(f"{path}: does not fit config and vocabularies: {', '.join(lines + more)}; {REMEDY}")

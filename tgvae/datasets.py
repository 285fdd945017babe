"""What runs are trained on, whatever it is: opened by name, described, and cut into splits.

Text models learn from prepared folders, models of vectors from packaged digits or files (``data/vectors.py``), models
of graphs from edge lists or Planetoid's files (``data/graphs.py``).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tgvae.data.corpus import Corpus
from tgvae.data.dataset import Examples
from tgvae.data.graph_io import open_graph
from tgvae.data.graphs import Graph, split_edges
from tgvae.data.schema import MANIFEST, PreparedFolder, file_hash
from tgvae.data.vectors import PACKAGED, Vectors, open_vectors
from tgvae.models.base import Model, TextModel
from tgvae.models.summarizer import Summarizer
from tgvae.models.vae import VectorVAE

Data = PreparedFolder | Vectors | Graph


def open_source(kind: type[Model], source: str) -> Data:
    """The data named ``source`` that a kind of model learns from.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if issubclass(kind, TextModel):
        return PreparedFolder.open(source)
    return open_vectors(source) if issubclass(kind, VectorVAE) else open_graph(source)


def describe(data: Data) -> dict[str, Any]:
    """Where data was and what it held, for run.json."""
    if isinstance(data, PreparedFolder):
        where = {"path": str(data.path.resolve()), "manifest_sha256": file_hash(data.path / MANIFEST)}
        return where | data.manifest["source"]
    name, rest, left_out = data.source.partition(":not=")
    if isinstance(data, Vectors):
        source = data.source if name in PACKAGED else str(Path(name).resolve()) + rest + left_out
        labels: list[NDArray[Any]] = [s.labels for s in data.splits.values() if s.labels is not None]
        values: list[NDArray[Any]] = [split.x for split in data.splits.values()]
        return {"path": source, "sha256": _hash(str(data.space), *values, *labels)}
    features = () if data.features is None else (data.features.data, data.features.indices, data.features.indptr)
    classes = () if data.labels is None else (data.labels,)
    names = json.dumps(list(data.names))
    return {"path": str(Path(data.source).resolve()), "sha256": _hash(names, data.edges, *features, *classes)}


def _hash(text: str, *arrays: NDArray[Any]) -> str:
    """SHA-256 over a text and the values of arrays."""
    found = hashlib.sha256(text.encode())
    for array in arrays:
        found.update(array.tobytes())
    return found.hexdigest()


def fingerprint(described: dict[str, Any]) -> str:
    """The hash in what ``describe`` says: of a corpus that of its manifest."""
    return str(described.get("manifest_sha256") or described.get("sha256"))


def examples_of(model: Model, data: Data, split: str, seed: int) -> Examples:
    """What a model learns from, or is measured on: a split of its data.

    ``seed`` decides which edges of a graph are held out; all other splits are part of the data.
    """
    if isinstance(data, PreparedFolder):
        corpus = Corpus(data, split, context=model.context_tokens if isinstance(model, TextModel) else 0)
        return model.pairs(corpus) if isinstance(model, Summarizer) else corpus
    if isinstance(data, Graph):
        return split_edges(data, seed)[split]
    assert isinstance(model, VectorVAE)
    return model.examples(data.splits[split])

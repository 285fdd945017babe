"""Graphs: nodes with features and undirected edges, and their split for link prediction.

A graph comes from a file (``graph_io.py``), or from documents that are linked by their topics.
Shape legend: N nodes, E edges, M pairs of nodes, F features, T topics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from tgvae.data.dataset import Ints, Rows, Unit, not_corrupted
from tgvae.errors import UserError

NON_EDGES = 5
"""Sampled non-edges per edge of a training batch: with one, held-out links of sparse graphs are predicted less well."""


@dataclass(frozen=True, eq=False)
class Graph:
    """An undirected graph.

    Attributes:
        names: of the nodes.
        edges: pairs i < j of nodes, each once, with shape (E, 2).
        source: where it comes from, for messages.
        features: float32 with shape (N, F); None means identity features.
        labels: class of each node, (N,), -1 if unknown; None if no node has one.
        loops: edges of a node with itself that were left out.
        duplicates: repeated edges that were left out.
    """

    names: Sequence[str]
    edges: Ints
    source: str
    features: csr_array | None = None
    labels: Ints | None = None
    loops: int = 0
    duplicates: int = 0

    @property
    def nodes(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        known = "no features" if self.features is None else f"{self.features.shape[1]:,} features"
        left = f"left out {self.loops:,} loops and {self.duplicates:,} repeated edges"
        return f"{self.source}: {self.nodes:,} nodes, {len(self.edges):,} edges, {known}; {left}"


def graph_of(
    points: NDArray[np.floating], names: Sequence[str], neighbours: int = 5, features: csr_array | None = None
) -> Graph:
    """Link documents by topics: an edge joins a document and each of its ``neighbours`` nearest ones.

    Similarity is the Hellinger affinity sum_i sqrt(a_i b_i). Memory is linear in N, time quadratic.

    Args:
        points: topic proportions with shape (N, T), rows that sum to 1.
        names: of the documents.
        neighbours: at least 1, fewer than N.
        features: of the documents, with shape (N, F).

    Raises:
        UserError: too few documents, or rows that are not proportions.

    Examples:
        Two documents about the first topic, two about the second:

        >>> import numpy as np
        >>> shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9]])
        >>> graph_of(shares, ["a", "b", "c", "d"], neighbours=1).edges.tolist()
        [[0, 1], [2, 3]]
    """
    from sklearn.neighbors import NearestNeighbors

    if not 1 <= neighbours < len(points):
        raise UserError(f"{neighbours} neighbours for {len(points)} documents; give from 1 to {len(points) - 1}")
    if (points < 0).any() or not np.allclose(points.sum(1), 1, atol=1e-3):
        raise UserError("topic proportions must be 0 or more and sum to 1 in every document")
    roots = np.sqrt(points, dtype=np.float64)  # |sqrt a - sqrt b|^2 = 2 - 2 affinity
    nearest = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(roots).kneighbors(return_distance=False)
    pairs = np.stack((np.repeat(np.arange(len(points)), neighbours), nearest.ravel()), axis=1)
    return Graph(names, simple_edges(pairs), "documents linked by topics", features)


@dataclass(frozen=True)
class GraphBatch:
    """A whole graph, and pairs of nodes to score.

    Attributes:
        features: sparse (N, F), or None for identity features.
        adjacency: sparse (N, N), for message passing; see ``normalised_adjacency``.
        pairs: with shape (M, 2).
        linked: 1 for an edge, 0 for a non-edge, with shape (M,).
        weight: of each pair, (M,); see ``pair_weights``.
        index: the nodes, (N,).
    """

    features: Tensor | None
    adjacency: Tensor
    pairs: Tensor
    linked: Tensor
    weight: Tensor
    index: Tensor

    @property
    def sizes(self) -> dict[str, Tensor]:
        """Pairs per node (as words and as tokens), and the node, each (N,)."""
        ends = torch.bincount(self.pairs.flatten(), minlength=len(self.index))
        return {"words": ends, "tokens": ends, "documents": self.index}

    def to(self, device: torch.device | str) -> GraphBatch:
        features = None if self.features is None else self.features.to(device)
        rest = (self.adjacency, self.pairs, self.linked, self.weight, self.index)
        return GraphBatch(features, *(part.to(device) for part in rest))


@dataclass(frozen=True, eq=False)
class GraphSplit:
    """The edges of one split. Messages pass over training edges only, whichever split is scored.

    Attributes:
        name: train, valid or test.
        graph: the whole graph.
        messages: edges of the training split.
        linked: pairs (M, 2) to score as edges; in training also every node with itself (Kipf & Welling 2016 set
            the diagonal of A to 1).
        apart: pairs to score as non-edges. None: every batch samples them with torch's global generator from all pairs
            but ``messages``; to exclude the held-out edges would leak them.
        features: as in ``GraphBatch``.
        adjacency: as in ``GraphBatch``.
    """

    name: str
    graph: Graph
    messages: Ints
    linked: Ints
    apart: Ints | None
    features: Tensor | None
    adjacency: Tensor

    def rows(self, unit: Unit) -> Rows:
        """Return the nodes, all in one batch. Raises UserError for another unit."""
        if unit != "node":
            raise UserError(f"{self.graph.source}: a graph has no {unit}s; choose a model of graphs, such as graph-vae")
        nodes = np.arange(self.graph.nodes)
        return Rows(unit, lambda size, seed: [nodes], self.gather, self.names, not_corrupted)

    @property
    def description(self) -> str:
        return str(self.graph) if self.name == "train" else ""

    def gather(self, nodes: Ints) -> GraphBatch:
        """Return the whole graph with the pairs of this split."""
        apart = self._drawn() if self.apart is None else self.apart
        pairs = torch.from_numpy(np.concatenate((self.linked, apart)))
        linked = (torch.arange(len(pairs)) < len(self.linked)).float()
        weight = pair_weights(pairs, linked, self.graph.nodes)
        return GraphBatch(self.features, self.adjacency, pairs, linked, weight, torch.from_numpy(nodes))

    def names(self, nodes: Ints) -> list[str]:
        return [self.graph.names[i] for i in nodes]

    def _drawn(self) -> Ints:
        chosen = torch.randint(_vacant(self.messages, self.graph.nodes), (NON_EDGES * len(self.messages),))
        return non_edges(self.messages, chosen.numpy())


def split_edges(graph: Graph, seed: int = 0, valid: float = 0.05, test: float = 0.10) -> dict[str, GraphSplit]:
    """Split edges into training edges and held-out ones, with as many non-edges (Kipf & Welling 2016).

    Args:
        graph: the graph.
        seed: decides which edges and non-edges are held out.
        valid: share of the edges for validation, rounded down.
        test: share of the edges for the test.

    Raises:
        UserError: too few edges, or too few pairs without one.
    """
    count, free = len(graph.edges), _vacant(graph.edges, graph.nodes)
    held = [int(count * share) for share in (valid, test)]
    if min(*held, count - sum(held)) < 1:
        raise UserError(f"{graph.source}: {count} edges are too few to hold out {valid:.0%} and {test:.0%} of them")
    if free < sum(held):
        raise UserError(f"{graph.source}: {free} pairs of nodes have no edge, but evaluation needs {sum(held)}")
    rng = np.random.default_rng(seed)
    parts = np.split(graph.edges[rng.permutation(count)], np.cumsum(held))
    apart = np.split(non_edges(graph.edges, rng.choice(free, sum(held), replace=False)), held[:1])
    messages = simple_edges(parts[2])
    features = None if graph.features is None else _sparse(graph.features)
    adjacency = normalised_adjacency(messages, graph.nodes)
    train = np.concatenate((messages, _diagonal(graph.nodes)))
    splits = {"train": (train, None), "valid": (parts[0], apart[0]), "test": (parts[1], apart[1])}
    return {name: GraphSplit(name, graph, messages, *pairs, features, adjacency) for name, pairs in splits.items()}


def normalised_adjacency(edges: Ints, nodes: int) -> Tensor:
    """Return D^-1/2 (A + I) D^-1/2 as a sparse (N, N), D the degrees of A + I (Kipf & Welling 2017, 1609.02907)."""
    i, j = np.concatenate((edges, edges[:, ::-1], _diagonal(nodes))).T
    scale = 1 / np.sqrt(np.bincount(i))
    return _sparse(csr_array((scale[i] * scale[j], (i, j)), shape=(nodes, nodes)))


def pair_weights(pairs: Tensor, linked: Tensor, nodes: int) -> Tensor:
    """Return weights (M,) that sum to N^2 / 2 over the edges, and over the non-edges.

    A pair counts twice as much as a node with itself, because it has two entries in the adjacency matrix.
    """
    entries = 1.0 + (pairs[:, 0] != pairs[:, 1])
    edges = (entries * linked).sum()
    return nodes**2 / 2 * entries / torch.where(linked > 0, edges, entries.sum() - edges)


def non_edges(edges: Ints, chosen: Ints) -> Ints:
    """Return pairs (M, 2) without an edge by their numbers (M,) among all such pairs, in memory O(M + E).

    Pairs i < j have ranks j (j - 1) / 2 + i. Non-edge number k has rank k + m if m edges have lower ranks: those before
    which there are at most k non-edges.
    """
    ranks = np.sort(_rank(edges))
    return _pair(chosen + np.searchsorted(ranks - np.arange(len(ranks)), chosen, side="right"))


def _vacant(edges: Ints, nodes: int) -> int:
    """Return the number of pairs of nodes without an edge."""
    return nodes * (nodes - 1) // 2 - len(edges)


def _rank(pairs: Ints) -> Ints:
    i, j = pairs.T
    return j * (j - 1) // 2 + i


def _pair(ranks: Ints) -> Ints:
    j = ((1 + np.sqrt(1 + 8 * ranks)) / 2).astype(np.int64)
    j -= j * (j - 1) // 2 > ranks  # the root may have been rounded up
    return np.stack((ranks - j * (j - 1) // 2, j), axis=1)


def simple_edges(pairs: Ints) -> Ints:
    """Return pairs (P, 2) as edges i < j, sorted by rank, without loops and repeats."""
    ordered = np.sort(pairs, axis=1)
    return _pair(np.unique(_rank(ordered[ordered[:, 0] < ordered[:, 1]])))


def _diagonal(nodes: int) -> Ints:
    return np.arange(nodes).repeat(2).reshape(-1, 2)


def _sparse(matrix: csr_array) -> Tensor:
    found = matrix.tocoo()
    values, place = torch.from_numpy(found.data.astype(np.float32)), torch.from_numpy(np.stack(found.coords))
    return torch.sparse_coo_tensor(place, values, found.shape, check_invariants=False).coalesce()

"""Graphs as data: what files are read as, neighbours by topics, and a split that tells training nothing of the rest."""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, csr_matrix

from tgvae.data import graphs
from tgvae.data.corruption import Corruption
from tgvae.data.dataset import Ints
from tgvae.data.graph_io import open_graph, write_edges
from tgvae.data.graphs import (
    Graph,
    GraphSplit,
    graph_of,
    non_edges,
    normalised_adjacency,
    pair_weights,
    split_edges,
)
from tgvae.errors import UserError

Pairs = set[tuple[int, int]]


def random_graph(nodes: int, edges: int, seed: int = 0, features: int | None = None) -> Graph:
    rng = np.random.default_rng(seed)
    every = np.array(list(combinations(range(nodes), 2)))
    known = None if features is None else csr_array(rng.binomial(1, 0.3, (nodes, features)).astype(np.float32))
    names = [f"n{i}" for i in range(nodes)]
    return Graph(names, every[np.sort(rng.choice(len(every), edges, replace=False))], "random", known)


def as_set(pairs: Ints | torch.Tensor) -> Pairs:
    return {(int(i), int(j)) for i, j in pairs}


def dense_adjacency(edges: Ints, nodes: int) -> np.ndarray:
    """D^-1/2 (A + I) D^-1/2 by its definition."""
    a = np.eye(nodes)
    for i, j in edges:
        a[i, j] = a[j, i] = 1
    root = np.diag(a.sum(1) ** -0.5)
    return root @ a @ root


@pytest.mark.parametrize(
    "text",
    [
        "a\tb\nb\tc\nc\td\n",
        "# a comment\na,b\n\n  \n  # more, of it\nb, c\nd,c",
        "\ufeffa b\r\nb   c\r\n c d \r\n",
    ],
)
def test_a_list_of_edges_is_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "edges.txt"
    path.write_text(text, encoding="utf-8")
    graph = open_graph(str(path))
    named = {frozenset((graph.names[i], graph.names[j])) for i, j in graph.edges}
    assert named == {frozenset("ab"), frozenset("bc"), frozenset("cd")}
    assert sorted(graph.names) == ["a", "b", "c", "d"]
    assert (graph.nodes, graph.features, graph.labels, graph.source) == (4, None, None, str(path))


def test_names_are_any_text(tmp_path: Path) -> None:
    """Blanks and commas in names are safe behind a TAB; nodes are numbered as they come."""
    path = tmp_path / "edges.tsv"
    path.write_text("Zoë Müller, Jr.\t北京\n北京\tone # two\n", encoding="utf-8")
    graph = open_graph(str(path))
    assert graph.names == ["Zoë Müller, Jr.", "北京", "one # two"]
    assert as_set(graph.edges) == {(0, 1), (1, 2)}


def test_loops_and_repeats_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "edges.csv"
    path.write_text("a,b\nb,a\na,b\nc,c\nb,c\na,a\n", encoding="utf-8")
    graph = open_graph(str(path))
    assert as_set(graph.edges) == {(0, 1), (1, 2)}
    assert (graph.loops, graph.duplicates, graph.names) == (2, 2, ["a", "b", "c"])
    assert "3 nodes, 2 edges, no features; left out 2 loops and 2 repeated edges" in str(graph)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"alone", r"edges.txt, line 3: 'alone' is not two names"),
        (b"a\tb\t0.5", "line 3: .* is not two names"),
        (b"a b c", "line 3: .* is not two names"),
        (b"a,", "line 3: .* separated by a TAB, comma or space"),
        (b"\xff\xfe a", "line 3: not UTF-8; save"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "edges.txt"
    path.write_bytes(b"# two names\na b\n" + line + b"\nc d\n")
    with pytest.raises(UserError, match=message):
        open_graph(str(path))


def test_no_graph_is_told(tmp_path: Path) -> None:
    for missing in (tmp_path / "nothing.txt", tmp_path, tmp_path / "cora"):
        with pytest.raises(UserError, match=r"no graph; give a file with a list of edges, or FOLDER/cora"):
            open_graph(str(missing))
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n")
    assert (open_graph(str(empty)).nodes, open_graph(str(empty)).edges.shape) == (0, (0, 2))
    with pytest.raises(UserError, match="0 edges are too few"):
        split_edges(open_graph(str(empty)))


@pytest.fixture
def citations(tmp_path: Path) -> tuple[str, np.ndarray]:
    """603 nodes in Planetoid's form; of the last three the middle one is missing, and the others come backwards."""
    rng = np.random.default_rng(0)
    x = rng.binomial(1, 0.5, (602, 4)).astype(np.float32)
    x[:, 0] = 1
    y = np.eye(3)[rng.integers(3, size=602)]
    parts = {"x": x[:9], "allx": x[:600], "tx": x[600:], "y": y[:9], "ally": y[:600], "ty": y[600:]}
    parts = {name: csr_matrix(part) if "x" in name else part for name, part in parts.items()}
    links = {i: [] for i in range(603)} | {0: [1, 1, 0, 602], 1: [0], 2: [600], 600: [2], 602: [0]}
    for name, part in {**parts, "graph": links}.items():
        (tmp_path / f"ind.citeseer.{name}").write_bytes(pickle.dumps(part))
    (tmp_path / "ind.citeseer.test.index").write_text("602\n600\n")
    return str(tmp_path / "citeseer"), np.concatenate((x[:600], x[[601]], np.zeros((1, 4)), x[[600]]))


def test_planetoid_is_read(citations: tuple[str, np.ndarray]) -> None:
    source, features = citations
    graph = open_graph(source)
    assert graph.nodes == 603
    assert as_set(graph.edges) == {(0, 1), (0, 602), (2, 600)}
    assert graph.features is not None
    assert graph.features.dtype == np.float32
    assert np.array_equal(graph.features.toarray(), features)
    assert graph.labels is not None
    assert graph.labels[601] == -1
    assert (np.delete(graph.labels, 601) >= 0).all()
    assert (graph.loops, graph.duplicates) == (0, 0)


def test_planetoid_needs_all_its_files_and_a_library(
    citations: tuple[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(citations[0]).parent
    (folder / "ind.citeseer.graph").write_bytes(b"no pickle")
    with pytest.raises(UserError, match=r"cannot be read .*; download all files ind\.citeseer"):
        open_graph(citations[0])
    (folder / "ind.citeseer.graph").unlink()
    with pytest.raises(UserError, match=r"cannot be read .*; download all files ind\.citeseer"):
        open_graph(citations[0])
    monkeypatch.setitem(sys.modules, "torch_geometric.io", None)
    with pytest.raises(UserError, match=r"pip install 'tgvae\[graphs\]'"):
        open_graph(citations[0])


@pytest.mark.parametrize("neighbours", [1, 3, 11])
def test_documents_are_linked_to_the_nearest_by_brute_force(neighbours: int) -> None:
    points = np.random.default_rng(0).dirichlet(np.full(5, 0.3), 12)
    affinity = np.sqrt(points[:, None] * points).sum(-1)
    np.fill_diagonal(affinity, -1)
    nearest = np.argsort(-affinity, axis=1)[:, :neighbours]
    expected = {(min(i, int(j)), max(i, int(j))) for i in range(12) for j in nearest[i]}
    features = csr_array(points.astype(np.float32))
    graph = graph_of(points, [f"d{i}" for i in range(12)], neighbours, features)
    assert as_set(graph.edges) == expected
    assert len(graph.edges) == len(expected)
    assert (graph.names[3], graph.features) == ("d3", features)


def test_documents_that_cannot_be_linked_are_refused() -> None:
    points = np.full((4, 2), 0.5)
    for neighbours in (0, 4):
        with pytest.raises(UserError, match=f"{neighbours} neighbours for 4 documents; give from 1 to 3"):
            graph_of(points, list("abcd"), neighbours)
    for wrong in (points * 2, points - [[0.6, -0.6]]):
        with pytest.raises(UserError, match="sum to 1"):
            graph_of(wrong, list("abcd"), 1)


@pytest.mark.parametrize(("nodes", "edges"), [(2, 0), (9, 0), (9, 1), (9, 20), (9, 35), (30, 200)])
def test_pairs_without_an_edge_are_counted_through(nodes: int, edges: int) -> None:
    """All numbers give all pairs that are no edges, each once, whatever the order of the edges."""
    graph = random_graph(nodes, edges)
    every = np.arange(nodes * (nodes - 1) // 2 - edges)
    found = non_edges(np.random.default_rng(1).permutation(graph.edges), every)
    assert len(as_set(found)) == len(found) == len(every)
    assert as_set(found) == set(combinations(range(nodes), 2)) - as_set(graph.edges)


def test_numbers_of_pairs_are_exact_in_large_graphs() -> None:
    """First and last pair of a row of ten million nodes: a root in floating point is rounded there."""
    j = np.array([2, 3, 94_906_266, 10_000_000, 9_999_999])
    first = j * (j - 1) // 2
    none = np.empty((0, 2), np.int64)
    assert np.array_equal(non_edges(none, first), np.stack((0 * j, j), axis=1))
    assert np.array_equal(non_edges(none, first + j - 1), np.stack((j - 1, j), axis=1))


def test_adjacency_is_the_dense_formula() -> None:
    graph = random_graph(12, 15, seed=3)
    lonely = np.setdiff1d(np.arange(12), graph.edges)
    assert len(lonely), "a node without an edge is a case of its own"
    found = normalised_adjacency(graph.edges, 12).to_dense().numpy()
    assert np.allclose(found, dense_adjacency(graph.edges, 12), atol=1e-7)
    assert (found[lonely, lonely] == 1).all()


def test_weights_by_hand() -> None:
    """Four nodes: an edge and two nodes with themselves are 2 + 1 + 1 entries of A; two non-edges are 4."""
    pairs = torch.tensor([[0, 1], [2, 2], [3, 3], [0, 2], [1, 3]])
    linked = torch.tensor([1.0, 1, 1, 0, 0])
    assert pair_weights(pairs, linked, 4).tolist() == [4, 2, 2, 4, 4]


def checked(split: GraphSplit) -> tuple[Pairs, Pairs]:
    assert split.apart is not None
    return as_set(split.linked), as_set(split.apart)


def test_a_split_cuts_edges_and_chooses_non_edges() -> None:
    graph = random_graph(40, 200)
    splits = split_edges(graph, seed=1, valid=0.1, test=0.2)
    train = as_set(splits["train"].messages)
    (valid, valid_apart), (test, test_apart) = checked(splits["valid"]), checked(splits["test"])
    assert (len(train), len(valid), len(test)) == (140, 20, 40)
    assert train | valid | test == as_set(graph.edges)
    assert (len(valid_apart), len(test_apart)) == (20, 40)
    assert not (valid_apart | test_apart) & as_set(graph.edges)
    assert not valid_apart & test_apart
    assert all(i < j for i, j in valid_apart | test_apart)
    assert as_set(splits["train"].linked) == train | {(i, i) for i in range(40)}


def test_shares_of_the_paper() -> None:
    splits = split_edges(random_graph(60, 399))
    assert [len(splits[name].messages) for name in splits] == [341] * 3
    assert (len(splits["valid"].linked), len(splits["test"].linked)) == (19, 39)


def test_the_seed_decides_the_split() -> None:
    graph = random_graph(40, 200)
    once, again, other = (split_edges(graph, seed)["test"] for seed in (3, 3, 4))
    assert checked(once) == checked(again)
    assert checked(once)[0] != checked(other)[0]
    assert checked(once)[1] != checked(other)[1]


def test_messages_pass_over_training_edges_alone() -> None:
    graph = random_graph(40, 200, features=5)
    splits = split_edges(graph, valid=0.2, test=0.3)
    expected = dense_adjacency(splits["train"].messages, 40)
    assert graph.features is not None
    for split in splits.values():
        batch = split.gather(np.arange(40))
        found = batch.adjacency.to_dense().numpy()
        assert np.allclose(found, expected, atol=1e-7)
        assert all(found[i, j] == found[j, i] == 0 for name in ("valid", "test") for i, j in splits[name].linked)
        assert batch.features is not None
        assert np.array_equal(batch.features.to_dense().numpy(), graph.features.toarray())


def test_training_does_not_spare_held_out_edges() -> None:
    """As non-edges a batch draws all pairs but training edges, held-out edges as often as others."""
    graph = random_graph(9, 20)
    splits = split_edges(graph, valid=0.1, test=0.1)
    free = set(combinations(range(9), 2)) - as_set(splits["train"].messages)
    torch.manual_seed(0)
    count = dict.fromkeys(free, 0)
    for _ in range(200):
        batch = splits["train"].gather(np.arange(9))
        drawn = batch.pairs[batch.linked == 0]
        assert len(drawn) == graphs.NON_EDGES * 16
        for pair in drawn:
            count[int(pair[0]), int(pair[1])] += 1
    each = 200 * graphs.NON_EDGES * 16 / len(free)
    assert all(abs(n - each) < 5 * each**0.5 for n in count.values())


def test_batches_are_whole_graphs() -> None:
    graph = random_graph(30, 100, features=4)
    splits = split_edges(graph)
    for name, split in splits.items():
        rows = split.rows("node")
        for seed in (None, 5):
            assert [part.tolist() for part in rows.batches(1, seed)] == [list(range(30))]
        batch = rows.gather(rows.batches(1, None)[0]).to("cpu")
        for kind in (0, 1):
            assert batch.weight[batch.linked == kind].sum().item() == pytest.approx(30**2 / 2)
        ends = [sum(int(i == n) + int(j == n) for i, j in batch.pairs) for n in range(30)]
        assert batch.sizes["words"].tolist() == batch.sizes["tokens"].tolist() == ends
        assert batch.sizes["documents"].tolist() == list(range(30))
        if name != "train":
            assert torch.equal(batch.pairs, rows.gather(np.arange(30)).pairs), "held-out pairs are fixed"
    assert splits["test"].rows("node").names(np.array([2, 0])) == ["n2", "n0"]


def test_draws_of_training_are_torchs() -> None:
    train = split_edges(random_graph(30, 100))["train"]
    seen = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        seen.append(train.gather(np.arange(30)))
    assert torch.equal(seen[0].pairs, seen[1].pairs)
    assert not torch.equal(seen[0].pairs, seen[2].pairs)
    assert seen[0].features is None
    assert seen[0].to("cpu").features is None


def test_what_a_graph_has_not_is_told() -> None:
    split = split_edges(random_graph(30, 100))["train"]
    with pytest.raises(UserError, match="random: a graph has no sentences; choose a model of graphs"):
        split.rows("sentence")
    batch = split.gather(np.arange(30))
    with pytest.raises(UserError, match="mask"):
        split.rows("node").corrupt(batch, Corruption("mask", 0.1))


def test_graphs_too_small_to_split_are_refused() -> None:
    with pytest.raises(UserError, match=r"random: 19 edges are too few to hold out 5% and 10%"):
        split_edges(random_graph(10, 19))
    assert len(split_edges(random_graph(10, 20))["valid"].linked) == 1
    with pytest.raises(UserError, match="too few"):
        split_edges(random_graph(10, 20), valid=0.5, test=0.5)
    nearly = random_graph(10, 44)
    with pytest.raises(UserError, match="random: 1 pairs of nodes have no edge, but evaluation needs 6"):
        split_edges(nearly)
    assert split_edges(replace(nearly, edges=nearly.edges[:39]))["test"].apart is not None


def test_a_written_list_of_edges_reads_back(tmp_path: Path) -> None:
    graph = Graph(["a b", "c, d", "alone", "e"], np.array([[0, 1], [1, 3]]), "by hand")
    write_edges(graph, tmp_path / "links.tsv")
    again = open_graph(str(tmp_path / "links.tsv"))
    named = {frozenset(again.names[i] for i in edge) for edge in again.edges}
    assert named == {frozenset({"a b", "c, d"}), frozenset({"c, d", "e"})}
    assert sorted(again.names) == sorted(graph.names)
    with pytest.raises(UserError, match="exists already"):
        write_edges(graph, tmp_path / "links.tsv")
    for name in ("#a", " a", "a\tb", "a\nb"):
        with pytest.raises(UserError, match="cannot be written to an edge list"):
            write_edges(Graph([name, "b"], np.array([[0, 1]]), "by hand"), tmp_path / "bad.tsv")
    assert [path.name for path in tmp_path.iterdir()] == ["links.tsv"]

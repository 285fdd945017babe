"""Graph files: edge lists, read and written, and the citation networks of Planetoid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
from scipy.sparse import csr_array

from tgvae.data.graphs import Graph, simple_edges
from tgvae.data.safe_pickle import require_arrays
from tgvae.errors import UserError, path_suggestion
from tgvae.files import write_text

PICKLED = ("x", "tx", "allx", "y", "ty", "ally", "graph")


def open_graph(source: str) -> Graph:
    """Read a graph from an edge list, or from ``FOLDER/NAME`` if FOLDER has Planetoid's ind.NAME.* files.

    An edge list has two names per line, separated by a TAB, else by a comma, else by spaces; lines that start with #
    are comments. A name linked to itself is a node without that edge. Planetoid's files are pickles, which could run
    code; only arrays, dicts and lists are accepted.

    Raises:
        UserError: there is no such graph, a line does not have two names, or torch-geometric is not installed.
    """
    path = Path(source)
    if path.is_file():
        return _edge_list(path)
    if (path.parent / f"ind.{path.name}.x").is_file():
        return _planetoid(path)
    hint = path_suggestion(path) or "; give a file with a list of edges, or FOLDER/cora where FOLDER has ind.cora.x"
    raise UserError(f"{source}: no graph{hint}")


def write_edges(graph: Graph, path: Path) -> None:
    """Write a graph as an edge list; a node without edges is linked to itself, as ``open_graph`` expects.

    Raises:
        UserError: the file exists, or a name cannot be written on a line.
    """
    require_new(path)
    if bad := [name for name in graph.names if name.startswith("#") or name != name.strip() or {*"\t\r\n"} & {*name}]:
        raise UserError(f"the document id {bad[0]!r} cannot be written to an edge list; prepare with other ids")
    alone = np.setdiff1d(np.arange(graph.nodes), graph.edges)
    pairs = np.concatenate((graph.edges, np.stack((alone, alone), axis=1)))
    lines = (f"{graph.names[i]}\t{graph.names[j]}\n" for i, j in pairs)
    write_text(path, "".join(lines))


def require_new(path: Path) -> None:
    """Raise UserError if a file exists, or its folder does not."""
    if path.exists():
        raise UserError(f"{path}: exists already; choose another file")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}; create it first")


def _edge_list(path: Path) -> Graph:
    numbers: dict[str, int] = {}
    named = [[numbers.setdefault(name, len(numbers)) for name in pair] for pair in _name_pairs(path)]
    pairs = np.array(named, np.int64).reshape(-1, 2)
    edges, loops = simple_edges(pairs), int((pairs[:, 0] == pairs[:, 1]).sum())
    return Graph(list(numbers), edges, str(path), loops=loops, duplicates=len(pairs) - loops - len(edges))


def _name_pairs(path: Path) -> Iterator[list[str]]:
    for number, raw in enumerate(path.read_bytes().splitlines(), 1):
        try:
            line = raw.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            raise UserError(f"{path}, line {number}: not UTF-8; save the list of edges as UTF-8") from None
        if not line or line.startswith("#"):
            continue
        separator = next((mark for mark in "\t," if mark in line), None)
        pair = [name.strip() for name in line.split(separator)]
        if len(pair) != 2 or not all(pair):
            raise UserError(f"{path}, line {number}: {line!r} is not two names separated by a TAB, comma or space")
        yield pair


def _planetoid(path: Path) -> Graph:
    """Read a citation network (Yang et al. 2016, arXiv 1603.08861).

    In Citeseer some test nodes are missing: they become nodes without features, label or edge.
    """
    try:
        from torch_geometric.io import read_planetoid_data
    except ImportError as error:
        raise UserError(f"{path}: reading Planetoid's files needs pip install 'tgvae[graphs]' ({error})") from error
    try:
        for part in PICKLED:
            require_arrays(path.parent / f"ind.{path.name.lower()}.{part}")
        data = read_planetoid_data(str(path.parent), path.name)
    except (OSError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, UnpicklingError) as error:
        raise UserError(f"{path}: cannot be read ({error}); download all files ind.{path.name}.* again") from error
    test = data.test_mask.numpy()
    gaps = ~test & (np.arange(len(test)) > test.argmax())
    labels = np.where(gaps, -1, data.y.numpy())
    names = [str(i) for i in range(len(labels))]
    return Graph(names, simple_edges(data.edge_index.numpy().T), str(path), csr_array(data.x.numpy()), labels)

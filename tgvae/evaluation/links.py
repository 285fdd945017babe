"""How well a model tells held-out edges of a graph from pairs of nodes without one.

Shape legend: N nodes, M pairs of nodes, F features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.metrics import average_precision_score, roc_auc_score

from tgvae.data.dataset import Ints
from tgvae.data.graphs import GraphSplit
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.metric import Floats, Metrics
from tgvae.evaluation.registry import measure
from tgvae.models.vgae import GraphVAE

RESAMPLES = 100
MEASURES = {"auc": roc_auc_score, "average_precision": average_precision_score}


def link_figures(model: GraphVAE, split: GraphSplit, seed: int = 0) -> Metrics:
    """AUC and average precision of held-out edges against as many non-edges, scored at the posterior means.

    Standard errors are by bootstrap, edges and non-edges drawn apart, which takes the graph and the model as given.
    Beside them: chance, common neighbours (``adamic_adar``), and cosine of features where there are any.

    Args:
        model: the model.
        split: valid or test.
        seed: of the bootstrap.

    Raises:
        UserError: the training split, whose edges the model sees.
    """
    if split.apart is None:
        raise UserError(f"the {split.name} split is what the model has seen; measure links on valid or test")
    batch = split.gather(np.arange(split.graph.nodes)).to(model.device)
    pairs, linked = batch.pairs.cpu().numpy(), batch.linked.cpu().numpy()
    with evaluating(model, seed):
        scores = model.scores(batch, batch.pairs).cpu().numpy()
    beside = {"common_neighbours": adamic_adar(split.messages, split.graph.nodes, pairs)}
    if split.graph.features is not None:
        beside["cosine_of_features"] = cosine(split.graph.features, pairs)
    metrics: Metrics = {}
    for id, score in MEASURES.items():
        baselines = {"chance": 0.5} | {name: float(score(linked, other)) for name, other in beside.items()}
        error = bootstrap_error(score, linked, scores, seed)
        value = float(score(linked, scores))
        metrics |= measure(id, value, len(pairs), seed, error, baselines, resamples=RESAMPLES)
    return metrics


def bootstrap_error(measure: Callable[..., float], linked: Floats, scores: Floats, seed: int) -> float:
    """Standard deviation of a measure when edges, and non-edges, are drawn anew with replacement."""
    rng = np.random.default_rng(seed)
    kinds = [np.flatnonzero(linked == kind) for kind in (0, 1)]
    drawn = (np.concatenate([rng.choice(kind, len(kind)) for kind in kinds]) for _ in range(RESAMPLES))
    return float(np.std([measure(linked[rows], scores[rows]) for rows in drawn], ddof=1))


def adamic_adar(edges: Ints, nodes: int, pairs: Ints) -> Floats:
    """sum over common neighbours u of i and j of 1 / log degree(u), with shape (M,) (Adamic & Adar 2003).

    Examples:
        Nodes 0 and 2 have the neighbour 1 in common, of degree 2:

        >>> import numpy as np
        >>> edges, pairs = np.array([[0, 1], [1, 2]]), np.array([[0, 2]])
        >>> round(adamic_adar(edges, nodes=3, pairs=pairs).item(), 4)  # 1 / log 2
        1.4427
    """
    i, j = np.concatenate((edges, edges[:, ::-1])).T
    adjacency = csr_array((np.ones(len(i)), (i, j)), shape=(nodes, nodes))
    degree = np.bincount(i, minlength=nodes)
    shared = 1 / np.log(np.maximum(degree, 2))  # a common neighbour of two nodes has two edges or more
    weighted = adjacency * shared[None, :]
    return _row_products(csr_array(weighted), adjacency, pairs)


def cosine(features: csr_array, pairs: Ints) -> Floats:
    """Cosine of the features of both nodes, with shape (M,); 0 for a node without features.

    Examples:
        >>> import numpy as np
        >>> from scipy.sparse import csr_array
        >>> cosine(csr_array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), np.array([[0, 1], [0, 2]])).tolist()
        [1.0, 0.0]
    """
    norm = np.sqrt(features.power(2).sum(1))
    unit = features / np.where(norm > 0, norm, 1)[:, None]
    return _row_products(csr_array(unit), csr_array(unit), pairs)


def _row_products(a: csr_array, b: csr_array, pairs: Ints) -> NDArray[np.float64]:
    """a_i . b_j of pairs (M, 2)."""
    return np.asarray(a[pairs[:, 0]].multiply(b[pairs[:, 1]]).sum(1), np.float64)

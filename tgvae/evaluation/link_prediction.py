"""Link prediction: how well a model separates held-out edges of a graph from pairs of nodes without an edge.

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
from tgvae.evaluation.latent import Posteriors, gaussian_metrics
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.metric import Floats, Metrics
from tgvae.evaluation.registry import EvalInputs, Evaluation, evaluator, measure
from tgvae.models.base import Capability
from tgvae.models.vgae import GraphVAE
from tgvae.progress import step

RESAMPLES = 100
SCORES = {"auc": roc_auc_score, "average_precision": average_precision_score}


@evaluator("links", Capability.GRAPH)
@step("measuring link prediction")
def evaluate_links(inputs: EvalInputs, evaluation: Evaluation) -> Metrics:
    """AUC and average precision of held-out edges. The bound is not reported.

    Its pairs are weighted and its non-edges sampled, so it shows the progress of training but not how probable the
    graph is.
    """
    return link_metrics(inputs.model, inputs.held_out, inputs.config.seed)


@evaluator("latent", Capability.GRAPH)
def evaluate_node_latent(inputs: EvalInputs, evaluation: Evaluation) -> Metrics:
    """How much the latent of nodes holds; nothing for a deterministic model."""
    if inputs.model.config.latent != "normal":
        return {}
    return gaussian_metrics(node_posteriors(inputs.model, inputs.held_out), "node", inputs.config.seed)


def node_posteriors(model: GraphVAE, split: GraphSplit) -> Posteriors:
    """Return q(z | X, A) of every node given the training edges, whatever the split: a diagonal Gaussian, K = 0."""
    with evaluating(model, seed=0):
        batch = split.gather(np.arange(split.graph.nodes)).to(model.device)
        q = model.trace(batch).latents["z"].q
        loc, scale = (moment.cpu().double() for moment in (q.mean, q.stddev))
    return Posteriors(loc, scale, loc.new_zeros(len(loc), 0, loc.shape[1]))


def link_metrics(model: GraphVAE, split: GraphSplit, seed: int = 0) -> Metrics:
    """Return AUC and average precision of held-out edges against as many non-edges, scored at the posterior means.

    Standard errors are bootstrapped over edges and, separately, over non-edges, for the given graph and model.
    Baselines: chance, common neighbours (``adamic_adar``), and the cosine of features if the graph has any.

    Args:
        model: the model.
        split: valid or test.
        seed: of the bootstrap.

    Raises:
        UserError: the training split, whose edges the model sees.
    """
    if split.apart is None:
        raise UserError(f"the model was trained on the {split.name} split; evaluate links on valid or test")
    batch = split.gather(np.arange(split.graph.nodes)).to(model.device)
    pairs, linked = batch.pairs.cpu().numpy(), batch.linked.cpu().numpy()
    with evaluating(model, seed):
        scores = model.scores(batch, batch.pairs).cpu().numpy()
    baselines = {"common_neighbours": adamic_adar(split.messages, split.graph.nodes, pairs)}
    if split.graph.features is not None:
        baselines["cosine_of_features"] = cosine(split.graph.features, pairs)
    metrics: Metrics = {}
    for id, score in SCORES.items():
        values = {"chance": 0.5} | {name: float(score(linked, other)) for name, other in baselines.items()}
        error = bootstrap_error(score, linked, scores, seed)
        value = float(score(linked, scores))
        metrics |= measure(id, value, len(pairs), seed, error, values, resamples=RESAMPLES)
    return metrics


def bootstrap_error(score: Callable[..., float], linked: Floats, scores: Floats, seed: int) -> float:
    """Return the standard deviation of a score over bootstrap samples, stratified by edges and non-edges."""
    rng = np.random.default_rng(seed)
    kinds = [np.flatnonzero(linked == kind) for kind in (0, 1)]
    samples = (np.concatenate([rng.choice(kind, len(kind)) for kind in kinds]) for _ in range(RESAMPLES))
    return float(np.std([score(linked[rows], scores[rows]) for rows in samples], ddof=1))


def adamic_adar(edges: Ints, nodes: int, pairs: Ints) -> Floats:
    """Return the sum over common neighbours u of i and j of 1 / log degree(u), (M,) (Adamic & Adar 2003).

    Examples:
        The common neighbour of nodes 0 and 2 is node 1, of degree 2:

        >>> import numpy as np
        >>> edges, pairs = np.array([[0, 1], [1, 2]]), np.array([[0, 2]])
        >>> round(adamic_adar(edges, nodes=3, pairs=pairs).item(), 4)  # 1 / log 2
        1.4427
    """
    i, j = np.concatenate((edges, edges[:, ::-1])).T
    adjacency = csr_array((np.ones(len(i)), (i, j)), shape=(nodes, nodes))
    degree = np.bincount(i, minlength=nodes)
    weight = 1 / np.log(np.maximum(degree, 2))  # a common neighbour has at least two edges
    weighted = adjacency * weight[None, :]
    return _row_products(csr_array(weighted), adjacency, pairs)


def cosine(features: csr_array, pairs: Ints) -> Floats:
    """Return the cosine of the features of both nodes, with shape (M,); 0 for a node without features.

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
    """Return a_i . b_j for pairs (i, j), (M, 2)."""
    return np.asarray(a[pairs[:, 0]].multiply(b[pairs[:, 1]]).sum(1), np.float64)

"""The graph autoencoder against another library's convolution, its paper's loss, and loops; links it foretells."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor

from tgvae.data.graphs import Graph, GraphBatch, GraphSplit, pair_weights, split_edges
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import bound_of
from tgvae.evaluation.link_prediction import adamic_adar, bootstrap_error, cosine, link_metrics
from tgvae.models.base import load
from tgvae.models.vgae import DATA, GraphConfig, GraphVAE
from tgvae.nn.graph import GraphConvolution, Links
from tgvae.trace import objective

CONFIGS = [GraphConfig(8, 4), GraphConfig(8, 4, latent="point"), GraphConfig(8, 4, dropout=0.3)]


def communities(nodes: int = 60, seed: int = 0, features: int | None = None) -> Graph:
    """Two groups: nine of ten pairs within one are linked, one of fifty across."""
    rng = np.random.default_rng(seed)
    every = np.array(list(combinations(range(nodes), 2)))
    within = (every < nodes // 2).sum(1) != 1
    edges = every[rng.random(len(every)) < np.where(within, 0.9, 0.02)]
    known = None if features is None else csr_array(rng.binomial(1, 0.3, (nodes, features)).astype(np.float32))
    return Graph([f"n{i}" for i in range(nodes)], edges, "communities", known)


def training_batch(graph: Graph) -> GraphBatch:
    torch.manual_seed(0)
    return split_edges(graph)["train"].gather(np.arange(graph.nodes))


def fresh(graph: Graph, config: GraphConfig = CONFIGS[0]) -> GraphVAE:
    torch.manual_seed(1)
    return GraphVAE.from_data(config, graph)


def enumerated(split: GraphSplit) -> tuple[GraphBatch, Tensor]:
    """All pairs i <= j, no draws; and the dense A with ones on its diagonal."""
    nodes = split.graph.nodes
    dense = torch.eye(nodes)
    for i, j in split.messages:
        dense[i, j] = dense[j, i] = 1
    pairs = torch.combinations(torch.arange(nodes), with_replacement=True)
    linked = dense[pairs[:, 0], pairs[:, 1]]
    weight = pair_weights(pairs, linked, nodes)
    return replace(split.gather(np.arange(nodes)), pairs=pairs, linked=linked, weight=weight), dense


@pytest.mark.parametrize("features", [None, 5])
def test_convolution_is_that_of_pytorch_geometric(features: int | None) -> None:
    from torch_geometric.nn import GCNConv

    graph = communities(20, features=features)
    batch = training_batch(graph)
    ours = GraphConvolution(graph.nodes if features is None else features, 7)
    theirs = GCNConv(len(ours.weight), 7, bias=False)
    theirs.lin.weight.data = ours.weight.data.T
    edges = torch.from_numpy(split_edges(graph)["train"].messages).T
    x = torch.eye(20) if batch.features is None else batch.features.to_dense()
    expected = theirs(x, torch.cat((edges, edges.flip(0)), dim=1))
    torch.testing.assert_close(ours(batch.adjacency, batch.features), expected)
    torch.testing.assert_close(ours(batch.adjacency, x), expected, msg="dense features are read too")


def test_a_nodes_share_of_the_links_by_loops() -> None:
    z = torch.randn(3, 4, 2, dtype=torch.double)
    pairs, linked = torch.tensor([[0, 1], [1, 2], [0, 2], [2, 2]]), torch.tensor([1.0, 0, 0, 1], dtype=torch.double)
    weight = torch.tensor([2.0, 1, 3, 5], dtype=torch.double)
    links = Links(z, pairs, weight)
    expected = torch.zeros(3, 4, dtype=torch.double)
    for s in range(3):
        for (i, j), edge, w in zip(pairs.tolist(), linked.tolist(), weight.tolist(), strict=True):
            p = torch.sigmoid(z[s, i] @ z[s, j])
            expected[s, [i]] += w / 2 * (p if edge else 1 - p).log()
            expected[s, [j]] += w / 2 * (p if edge else 1 - p).log()
    assert links.batch_shape == (3, 4)
    torch.testing.assert_close(links.log_prob(linked), expected)
    assert (expected[:, 3] == 0).all(), "a node without pairs has no share"


def test_links_stay_finite_where_they_are_sure() -> None:
    links = Links(torch.full((1, 2, 1), 100.0), torch.tensor([[0, 1]]), torch.ones(1))
    assert links.log_prob(torch.zeros(1)).sum().item() == -10_000


@pytest.mark.parametrize("features", [None, 5])
def test_objective_is_n_times_the_loss_of_kipf_and_welling(features: int | None) -> None:
    """Their code's dense formula on all N^2 entries: norm * BCE with pos_weight, and the KL over N."""
    graph = communities(16, features=features)
    model, (batch, dense) = fresh(graph), enumerated(split_edges(graph)["train"])
    nodes, ones = graph.nodes, dense.sum()
    trace = model.trace(batch)
    loss = objective(trace.terms(), {})
    z, q = trace.latents["z"].z[0], trace.latents["z"].q
    positive, norm = (nodes**2 - ones) / ones, nodes**2 / (2 * (nodes**2 - ones))
    bce = norm * F.binary_cross_entropy_with_logits(z @ z.T, dense, pos_weight=positive)
    kl = 0.5 / nodes * (q.mean**2 + q.variance - 1 - q.variance.log()).sum(1).mean()
    torch.testing.assert_close(loss, nodes * (bce + kl))
    parameters = list(model.parameters())
    ours = torch.autograd.grad(loss, parameters, retain_graph=True)
    torch.testing.assert_close(ours, torch.autograd.grad(nodes * (bce + kl), parameters))


def test_drawn_non_edges_are_unbiased() -> None:
    graph = communities(16)
    model, split = fresh(graph, CONFIGS[1]), split_edges(graph)["train"]
    whole = model.trace(enumerated(split)[0]).terms()["nll/links"].mean().item()
    torch.manual_seed(0)
    drawn = [model.trace(split.gather(np.arange(16))).terms()["nll/links"].mean().item() for _ in range(400)]
    assert abs(np.mean(drawn) - whole) < 4 * np.std(drawn) / 20
    assert np.std(drawn) > 0


def test_nodes_in_another_order_are_the_same_nodes() -> None:
    graph = communities(20, features=5)
    split = split_edges(graph)["test"]
    batch = split.gather(np.arange(20))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    place = order.argsort()  # node order[n] is the new node n
    assert batch.features is not None
    moved = replace(
        batch,
        features=batch.features.to_dense()[order].to_sparse(),
        adjacency=batch.adjacency.to_dense()[order][:, order].to_sparse(),
        pairs=place[batch.pairs].flip(0, 1),
        linked=batch.linked.flip(0),
        weight=batch.weight.flip(0),
    )
    model = fresh(graph, CONFIGS[1])
    torch.testing.assert_close(model.embed(moved), model.embed(batch)[order])
    ours, theirs = model.trace(moved).terms(), model.trace(batch).terms()
    torch.testing.assert_close(ours["nll/links"], theirs["nll/links"][order])
    torch.testing.assert_close(model.scores(moved, moved.pairs), model.scores(batch, batch.pairs).flip(0))
    variational = fresh(graph)
    kls = variational.trace(moved).terms()["kl/z"], variational.trace(batch).terms()["kl/z"][order]
    torch.testing.assert_close(*kls)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("features", [None, 5])
def test_trace_has_a_row_a_node_and_gradients_everywhere(config: GraphConfig, features: int | None) -> None:
    graph = communities(20, features=features)
    model, batch = fresh(graph, config), training_batch(graph)
    trace = model.trace(batch, samples=3)
    terms = trace.terms("node")
    assert set(terms) == ({"nll/links"} if config.latent == "point" else {"nll/links", "kl/z"})
    assert all(value.shape == (20,) for value in terms.values())
    assert trace.log_weights("node").shape == (3, 20)
    objective(terms, {}).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name


def test_a_point_is_decoded_as_it_is_without_noise() -> None:
    graph = communities(20)
    model, batch = fresh(graph, CONFIGS[1]), training_batch(graph)
    z = model.embed(batch)
    links = model.trace(batch, samples=2).observed["links"].dist
    i, j = batch.pairs.T
    torch.testing.assert_close(links.log_odds, (z[i] * z[j]).sum(-1).expand(2, -1))
    torch.testing.assert_close(model.scores(batch, batch.pairs), links.log_odds[0])
    noisy = model.trace(batch, latent_noise=1.0).observed["links"].dist
    assert not torch.equal(noisy.log_odds, links.log_odds[:1])


def test_dropout_is_for_training() -> None:
    graph = communities(20)
    model, batch = fresh(graph, CONFIGS[2]), training_batch(graph)
    assert not torch.equal(model.embed(batch), model.embed(batch))
    model.eval()
    assert torch.equal(model.embed(batch), model.embed(batch))


def test_half_precision_is_finite() -> None:
    graph = communities(20, features=5)
    model, batch = fresh(graph), training_batch(graph)
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(model(batch), {})
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("config", CONFIGS[:2])
@pytest.mark.parametrize("features", [None, 5])
def test_a_saved_model_embeds_alike(tmp_path: Path, config: GraphConfig, features: int | None) -> None:
    graph = communities(20, features=features)
    model, batch = fresh(graph, config), training_batch(graph)
    model.save(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, GraphVAE)
    assert (again.config, again.features) == (config, model.features)
    assert torch.equal(again.embed(batch), model.embed(batch))
    (tmp_path / DATA).write_text("{}")
    with pytest.raises(UserError, match=r"graph\.json: the setting 'features' is missing"):
        load(tmp_path)


def test_another_graph_is_refused() -> None:
    model = fresh(communities(20, features=5))
    for other in (communities(20, features=4), communities(20)):
        with pytest.raises(UserError, match="this model reads 5 features, not"):
            model.embed(training_batch(other))
    assert model.embed(training_batch(communities(24, features=5))).shape == (24, 4), "features carry over"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_size": 0}, "latent_size is 0; it must be at least 1"),
        ({"hidden_size": -1}, "hidden_size is -1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        GraphConfig(**settings)


def learnt(graph: Graph, config: GraphConfig, steps: int = 60) -> tuple[GraphVAE, dict[str, GraphSplit]]:
    splits, model = split_edges(graph), fresh(graph, config)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        objective(model(splits["train"].gather(np.arange(graph.nodes))), {}).backward()
        optimizer.step()
    return model.eval(), splits


@pytest.mark.parametrize("config", CONFIGS[:2])
def test_two_communities_are_learnt(config: GraphConfig) -> None:
    """Held-out links are foretold, from links alone, and at fair odds: N / 2 (log 2 + log 2) is what a coin costs."""
    graph = communities()
    model, splits = learnt(graph, config)
    batch, coin = splits["test"].gather(np.arange(60)), 60 * math.log(2)
    assert roc_auc_score(batch.linked, model.scores(batch, batch.pairs)) > 0.9
    before, after = (bound_of(m, splits["test"], "node") for m in (fresh(graph, config), model))
    assert (before.rows, after.rows) == (60, 60)
    assert after.mean("nll/links") < 0.8 * coin
    assert before.mean("nll/links") > 0.9 * coin


def test_figures_are_scikit_learns() -> None:
    model, splits = learnt(communities(features=6), CONFIGS[0], steps=5)
    batch = splits["test"].gather(np.arange(60))
    z = model.embed(batch).numpy()
    linked, scores = batch.linked.numpy(), [float(z[i] @ z[j]) for i, j in batch.pairs]
    figures = link_metrics(model, splits["test"], seed=3)
    assert figures["auc"].value == pytest.approx(roc_auc_score(linked, scores))
    assert figures["average_precision"].value == pytest.approx(average_precision_score(linked, scores))
    for figure in figures.values():
        assert (figure.size, figure.seed) == (len(linked), 3)
        assert figure.baselines["chance"] == 0.5
        assert set(figure.baselines) == {"chance", "common_neighbours", "cosine_of_features"}
        assert figure.error is not None
        assert 0 < figure.error < 0.1
    without = link_metrics(fresh(communities()), split_edges(communities())["valid"])
    assert set(without["auc"].baselines) == {"chance", "common_neighbours"}


def test_training_links_are_no_test() -> None:
    graph = communities()
    with pytest.raises(UserError, match="trained on the train split; evaluate links on valid or test"):
        link_metrics(fresh(graph), split_edges(graph)["train"])


def test_bootstrap_error_of_an_auc_is_that_of_its_placements() -> None:
    """The closed form of DeLong et al. 1988: variances of the shares that every edge and non-edge is above or below."""
    rng = np.random.default_rng(0)
    linked = np.repeat([1.0, 0.0], 150)
    scores = rng.normal(size=300) + linked
    above = scores[:150, None] > scores[150:]
    closed = math.sqrt(above.mean(1).var(ddof=1) / 150 + above.mean(0).var(ddof=1) / 150)
    once, again = (bootstrap_error(roc_auc_score, linked, scores, 0) for _ in range(2))
    assert once == again == pytest.approx(closed, rel=0.2)
    assert bootstrap_error(roc_auc_score, linked, linked, 0) == 0


def test_common_neighbours_are_networkxs() -> None:
    split = split_edges(communities(20))["test"]
    other = nx.Graph(split.messages.tolist())
    other.add_nodes_from(range(20))
    pairs = np.concatenate((split.linked, np.array(split.apart)))
    expected = [value for _, _, value in nx.adamic_adar_index(other, pairs.tolist())]
    assert max(expected) > 0
    np.testing.assert_allclose(adamic_adar(split.messages, 20, pairs), expected)


def test_cosine_is_scikit_learns() -> None:
    features = csr_array(np.array([[1, 1, 0], [0, 2, 0], [0, 0, 0], [3, 0, 4]], np.float32))
    pairs = np.array(list(combinations(range(4), 2)))
    expected = cosine_similarity(features.toarray())[pairs[:, 0], pairs[:, 1]]
    np.testing.assert_allclose(cosine(features, pairs), expected, atol=1e-7)
    assert (cosine(features, pairs)[(pairs == 2).any(1)] == 0).all()

"""What a model of vectors or of a graph has learnt: embeddings, samples and reconstructions.

Shape legend: N vectors, nodes or sentences, Z latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tgvae.data.graphs import GraphSplit
from tgvae.data.vectors import VectorSplit
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.projections import Floats
from tgvae.evaluation.vector_figures import embedded, row_of
from tgvae.models.vae import VectorVAE
from tgvae.models.vgae import GraphVAE

SAMPLE_ROWS, SAMPLE_COLUMNS = 3, 20


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Posterior means of a split.

    Attributes:
        items: what is embedded, in the plural: sentences, images, vectors, nodes.
        means: with shape (N, Z).
        group: index into ``group_names`` of each item, with shape (N,).
        group_names: labels or topics; a single name if there are none.
        texts: text or name of each item.
    """

    items: str
    means: Floats
    group: NDArray[np.integer]
    group_names: Sequence[str]
    texts: Sequence[str]


def vector_embeddings(model: VectorVAE, split: VectorSplit) -> Embeddings:
    """Return the embeddings of the vectors of a split, grouped by label if they have labels."""
    items, names = f"{row_of(model)}s", split.names(np.arange(len(split.x)))
    group_names, group = [items], np.zeros(len(names), np.int64)
    if split.labels is not None:
        labels, group = np.unique(split.labels, return_inverse=True)
        group_names = labels.tolist()
    return Embeddings(items, embedded(model, split), group, group_names, names)


def node_embeddings(model: GraphVAE, split: GraphSplit) -> Embeddings:
    """Return the embeddings of the nodes of a graph, grouped by label if they have labels."""
    graph = split.graph
    nodes = np.arange(graph.nodes)
    with evaluating(model, seed=0):
        means = model.embed(split.gather(nodes).to(model.device)).cpu().double().numpy()
    group_names, group = ["nodes"], np.zeros_like(nodes)
    if graph.labels is not None:
        labels, group = np.unique(graph.labels, return_inverse=True)
        group_names = ["no label" if label < 0 else f"label {label}" for label in labels]
    return Embeddings("nodes", means, group, group_names, graph.names)


def sample_images(model: VectorVAE) -> Floats | None:
    """Return E[x | z] of samples z from the prior, with shape (rows, columns, height, width).

    None for a deterministic autoencoder, which has no prior, and for vectors that are not images.
    """
    if model.config.latent == "point" or not model.space.picture:
        return None
    return model.sample(SAMPLE_ROWS * SAMPLE_COLUMNS).cpu().view(SAMPLE_ROWS, -1, *model.space.picture).numpy()


def reconstruct_images(model: VectorVAE, split: VectorSplit) -> Floats | None:
    """Return the first images of a split and their reconstructions from E_q[z | x]; splits are in random order.

    Returns:
        With shape (2, columns, height, width); None for vectors that are not images.
    """
    if not model.space.picture:
        return None
    x = torch.from_numpy(split.x[:SAMPLE_COLUMNS])
    with evaluating(model, seed=0):
        reconstruction = model.likelihood(model.embed(x.to(model.device))).mean.cpu()
    return torch.stack((x, reconstruction)).unflatten(-1, model.space.picture).numpy()

"""What models of vectors and graphs have to show: their latent space, samples and reconstructions.

Shape legend: N vectors or nodes, Z latent.
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

ROWS, COLUMNS = 3, 20


@dataclass(frozen=True, eq=False)
class Points:
    """Vectors or nodes in latent space.

    Attributes:
        of: what a point is, in the plural.
        z: posterior means, with shape (N, Z).
        group: of each point, a place in ``groups``, with shape (N,).
        groups: labels.
        names: of the points.
    """

    of: str
    z: Floats
    group: NDArray[np.integer]
    groups: Sequence[str]
    names: Sequence[str]


def vector_points(model: VectorVAE, split: VectorSplit) -> Points:
    """The vectors of a split where the encoder puts them, by their labels."""
    of, names = f"{row_of(model)}s", split.names(np.arange(len(split.x)))
    groups, group = [of], np.zeros(len(names), np.int64)
    if split.labels is not None:
        known, group = np.unique(split.labels, return_inverse=True)
        groups = known.tolist()
    return Points(of, embedded(model, split), group, groups, names)


def node_points(model: GraphVAE, split: GraphSplit) -> Points:
    """The nodes of a graph where the encoder puts them, by their labels."""
    graph = split.graph
    nodes = np.arange(graph.nodes)
    with evaluating(model, seed=0):
        z = model.embed(split.gather(nodes).to(model.device)).cpu().double().numpy()
    groups, group = ["nodes"], np.zeros_like(nodes)
    if graph.labels is not None:
        known, group = np.unique(graph.labels, return_inverse=True)
        groups = ["no label" if label < 0 else f"label {label}" for label in known]
    return Points("nodes", z, group, groups, graph.names)


def samples(model: VectorVAE) -> Floats | None:
    """Pictures drawn from the prior, in rows and columns: (rows, columns, height, width).

    None where there is no prior, or vectors are no pictures.
    """
    if model.config.latent == "point" or not model.space.picture:
        return None
    return model.sample(ROWS * COLUMNS).cpu().view(ROWS, COLUMNS, *model.space.picture).numpy()


def reconstructions(model: VectorVAE, split: VectorSplit) -> Floats | None:
    """The first pictures of a split, which are in no order, and what the decoder makes of their E_q[z | x].

    Returns:
        With shape (2, columns, height, width); None where vectors are no pictures.
    """
    if not model.space.picture:
        return None
    x = torch.from_numpy(split.x[:COLUMNS])
    with evaluating(model, seed=0):
        again = model.likelihood(model.embed(x.to(model.device))).mean.cpu()
    return torch.stack((x, again)).unflatten(-1, model.space.picture).numpy()

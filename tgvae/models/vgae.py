"""Variational graph autoencoder (Kipf & Welling 2016, arXiv 1611.07308): latents of nodes from links and features.

    q(z_i | X, A) = N(mu_i, diag sigma_i^2),   H = ReLU(A' X W_0),  mu = A' H W_1,  log sigma = A' H W_2
    p(z_i) = N(0, I),   p(A_ij = 1 | z) = sigmoid(z_i . z_j)

with A' the normalised adjacency of the training edges. In the likelihood every node is linked to itself, and edges,
which are rare, are weighed up: where P of the N^2 entries of A are 1, Kipf & Welling minimise

    norm / N^2 sum_ij w_ij nll_ij + 1 / N^2 sum_i KL_i,   norm = N^2 / (2 (N^2 - P)),  w_ij = (N^2 - P) / P if A_ij = 1

so that a 1 counts norm w / N^2 = 1 / (2 P) and a 0 counts norm / N^2 = 1 / (2 (N^2 - P)): the loss is half the mean nll
of ones, half the mean nll of zeros, and the KL. Times N it is

    N / 2 (mean nll of ones + mean nll of zeros) + mean_i KL_i

which is the objective here, nll a node plus KL a node, when the edges of a batch weigh N^2 / 2 together and so do the
non-edges (``pair_weights``). A batch draws its non-edges, a few an edge, in the place of all: without bias, in O(E).
So the bound is one of a weighted pseudo-likelihood, not of log p(A).
Shape legend: S samples, N nodes, M pairs of nodes, F features, H hidden, Z latent.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from tgvae.config_io import read_config, require_range
from tgvae.data.graphs import Graph, GraphBatch
from tgvae.distributions import diagonal_normal, standard_normal
from tgvae.errors import UserError
from tgvae.files import write_text
from tgvae.models.base import Capability, Model, add_noise
from tgvae.models.serialization import REMEDY
from tgvae.nn.graph import GraphConvolution, Links, log_odds
from tgvae.nn.heads import scale_of
from tgvae.trace import Latent, Observed, Trace

DATA = "graph.json"


@dataclass(frozen=True)
class GraphConfig:
    """Sizes of the graph autoencoder.

    Attributes:
        hidden_size: H.
        latent_size: Z.
        latent: ``normal``, or ``point`` for the plain autoencoder z = mu, without a KL.
        dropout: of the hidden layer.

    Raises:
        UserError: a size below 1, or a dropout that is no share below 1.
    """

    hidden_size: int = 32
    latent_size: int = 16
    latent: Literal["normal", "point"] = "normal"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        require_range(self, 1, math.inf, "hidden_size", "latent_size")
        require_range(self, 0, 1, "dropout")


@dataclass(frozen=True)
class GraphSpace:
    """What a model must know of its graph: ``features`` F, at least 1."""

    features: int

    def __post_init__(self) -> None:
        require_range(self, 1, math.inf, "features")


class GraphVAE(Model):
    """Graph convolutions to z, inner products back to links. ``features`` is F; without features it is N.

    Examples:
        One of random weights, for a path of four nodes:

        >>> import numpy as np
        >>> from tgvae.data.graphs import Graph
        >>> path = Graph(["a", "b", "c", "d"], np.array([[0, 1], [1, 2], [2, 3]]), "a path")
        >>> GraphVAE.from_data(GraphConfig(latent_size=2), path).config.latent_size
        2
    """

    kind = "graph-vae"
    units = ("node",)
    supports_denoising = True
    data_type = "graph"
    config_class = GraphConfig

    @classmethod
    def capabilities_of(cls, config: GraphConfig) -> frozenset[Capability]:
        return frozenset({Capability.GRAPH})

    def __init__(self, config: GraphConfig, features: int) -> None:
        super().__init__(config)
        self.features = features
        self.hidden = GraphConvolution(features, config.hidden_size)
        self.loc = GraphConvolution(config.hidden_size, config.latent_size)
        if config.latent == "normal":
            self.log_scale = GraphConvolution(config.hidden_size, config.latent_size)

    @classmethod
    def from_data(cls, config: GraphConfig, data: Graph) -> Self:
        return cls(config, data.nodes if data.features is None else data.features.shape[1])

    def save_data(self, folder: Path) -> list[Path]:
        write_text(folder / DATA, json.dumps({"features": self.features}) + "\n")
        return [folder / DATA]

    @classmethod
    def read_data(cls, config: GraphConfig, folder: Path) -> Self:
        return cls(config, read_config(GraphSpace, folder / DATA, REMEDY).features)

    def read(self, batch: GraphBatch) -> Tensor:
        """Hidden states of the nodes with shape (N, H). Raises UserError for a graph with other features."""
        found = len(batch.index) if batch.features is None else batch.features.shape[1]
        if found != self.features:
            raise UserError(f"this model reads {self.features} features, not {found}; give the graph it was trained on")
        return F.dropout(self.hidden(batch.adjacency, batch.features).relu(), self.config.dropout, self.training)

    def trace(self, batch: GraphBatch, samples: int = 1, temperature: float = 1.0, latent_noise: float = 0.0) -> Trace:
        h = self.read(batch)
        loc, latents = self.loc(batch.adjacency, h), {}
        z = loc.expand(samples, *loc.shape)
        if self.config.latent == "normal":
            q = diagonal_normal(loc, scale_of(self.log_scale(batch.adjacency, h)))
            z = q.rsample((samples,))
            latents["z"] = Latent(q, self.prior(), z, "node")
        links = Links(add_noise(z, latent_noise), batch.pairs, batch.weight)
        return Trace(latents, {"links": Observed(links, batch.linked, "node")})

    def prior(self) -> torch.distributions.Independent:
        return standard_normal(self.config.latent_size, self.device)

    @torch.no_grad()
    def embed(self, batch: GraphBatch) -> Tensor:
        """Posterior means of the nodes, or their codes, with shape (N, Z)."""
        return self.loc(batch.adjacency, self.read(batch))

    def scores(self, batch: GraphBatch, pairs: Tensor) -> Tensor:
        """Log-odds of a link between the two nodes of pairs (M, 2) at the means, with shape (M,)."""
        return log_odds(self.embed(batch), pairs)

"""The figures of models of graphs: held-out links, and how much the latents of nodes hold."""

from __future__ import annotations

import numpy as np

from tgvae.data.graphs import GraphSplit
from tgvae.evaluation.latent import Posteriors
from tgvae.evaluation.latent_figures import gaussian_figures
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.links import link_figures
from tgvae.evaluation.metric import Report
from tgvae.models.vgae import GraphVAE
from tgvae.progress import step


@step("measuring")
def graph_figures(model: GraphVAE, held_out: GraphSplit, seed: int) -> Report:
    """The section ``links``, and ``latent`` where z has a distribution.

    The bound is no figure here: its pairs are weighed and its non-edges drawn, so that it tells how training goes
    and nothing of how probable the graph is.
    """
    report: Report = {"links": link_figures(model, held_out, seed)}
    if model.config.latent == "normal":
        report["latent"] = gaussian_figures(node_posteriors(model, held_out), "node", seed)
    return report


def node_posteriors(model: GraphVAE, split: GraphSplit) -> Posteriors:
    """q(z | X, A) of every node, from the training edges whatever the split: diagonal, that is K = 0 reflections."""
    with evaluating(model, seed=0):
        batch = split.gather(np.arange(split.graph.nodes)).to(model.device)
        q = model.trace(batch).latents["z"].q
        loc, scale = (moment.cpu().double() for moment in (q.mean, q.stddev))
    return Posteriors(loc, scale, loc.new_zeros(len(loc), 0, loc.shape[1]))

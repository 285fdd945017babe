"""Plots of docs/theory.md that are not part of a report.

Shape legend: K components, N vectors, Z latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torch import Tensor

from tgvae.data.vectors import VectorSplit
from tgvae.errors import UserError
from tgvae.evaluation.plots.plot_style import (
    COLORS,
    DASHES,
    apply_style,
    escape_markup,
    figure_with_axes,
    styled_line,
)
from tgvae.evaluation.projections import Floats, evenly_spaced
from tgvae.evaluation.report_data import read_history
from tgvae.evaluation.topics import WithTopics, top_words
from tgvae.evaluation.vector_metrics import embedded
from tgvae.models.gmm import Mixture
from tgvae.models.vae import VectorVAE

ELLIPSE_POINTS, MAX_POINTS = 64, 400


def validations(run: Path, *terms: str) -> dict[int, float]:
    """Return the sum of ``terms`` in nats per row at every validation of a run of one phase, by epoch from 1.

    Raises:
        UserError: the run has no such validations.
    """
    rows = [row for row in read_history(run) if row["kind"] == "valid" and row.keys() >= set(terms)]
    if not rows:
        raise UserError(f"{run}: metrics.jsonl has no validation with {', '.join(terms)}; give a run trained with them")
    return {epoch: sum(row[term] for term in terms) for epoch, row in enumerate(rows, start=1)}


def em_steps(x: Tensor, start: Mixture, end: Mixture, bounds: Sequence[float]) -> go.Figure:
    """Plot points with the mixture before and after EM, and the bound and log p(x) by half-step.

    The curves begin after the first M step, because the bound of the start is far below.

    Args:
        x: with shape (N, 2).
        start: mixture before EM.
        end: mixture after EM.
        bounds: as ``em`` returns them, in nats per row.
    """
    figure = make_subplots(1, 2, horizontal_spacing=0.14)
    some = x[evenly_spaced(len(x), MAX_POINTS)]
    dots = {"color": COLORS[-1], "size": 4}
    figure.add_trace(
        go.Scatter(x=some[:, 0], y=some[:, 1], mode="markers", marker=dots, showlegend=False), row=1, col=1
    )
    for look, (name, mixture) in enumerate({"components at the end": end, "at the start": start}.items()):
        figure.add_trace(_ellipse_line(mixture, name, look), row=1, col=1)
    steps = list(range(1, len(bounds)))
    evidence = [bounds[step + step % 2] for step in steps]
    for look, (name, values) in enumerate({"ELBO": list(bounds[1:]), "log p(x)": evidence}.items(), start=2):
        hover = [f"{name} after half-step {step}: {value:.3f}" for step, value in zip(steps, values, strict=True)]
        figure.add_trace(styled_line(steps, values, name, look, hover), row=1, col=2)
    figure.update_yaxes(title="nats per vector", row=1, col=2)
    figure.update_xaxes(title="half-step (odd: M, even: E)", row=1, col=2)
    return apply_style(figure, height=420)


def _ellipse_line(mixture: Mixture, name: str, look: int) -> go.Scatter:
    """Return the ellipses of a mixture as one line with gaps."""
    x, y = np.pad(ellipses(mixture), ((0, 0), (0, 1), (0, 0)), constant_values=np.nan).reshape(-1, 2).T
    line = {"color": COLORS[look], "dash": DASHES[look]}
    return go.Scatter(x=x, y=y, mode="lines", line=line, name=name, hoverinfo="skip")


def ellipses(mixture: Mixture, deviations: float = 2.0) -> Floats:
    """Return points ``deviations`` standard deviations from each component's mean, with shape (K, points, 2)."""
    angle = torch.linspace(0, 2 * torch.pi, ELLIPSE_POINTS).double()
    circle = torch.stack((angle.cos(), angle.sin()), dim=-1)
    root = torch.linalg.cholesky(mixture.covariance)
    return (mixture.loc.unsqueeze(1) + deviations * circle @ root.mT).numpy()


def code_map(model: VectorVAE, split: VectorSplit, deviations: float = 2.0) -> go.Figure:
    """Plot the posterior means of a split, each as its label, and a circle at ``deviations`` of N(0, I).

    Raises:
        UserError: the latent does not have size 2, or the split has no labels.
    """
    z = embedded(model, split)
    if z.shape[1] != 2 or split.labels is None:
        raise UserError("a map of codes needs a latent of size 2 and vectors with labels")
    groups = []
    for look, label in enumerate(np.unique(split.labels)):
        at = z[split.labels == label]
        font = {"color": COLORS[look % len(COLORS)], "size": 13}
        names = [escape_markup(str(label))] * len(at)
        groups.append(go.Scatter(x=at[:, 0], y=at[:, 1], mode="text", text=names, textfont=font, name=names[0]))
    figure = figure_with_axes(groups, "z<sub>1</sub>", "z<sub>2</sub>").update_layout(showlegend=False)
    figure.add_shape(type="circle", x0=-deviations, y0=-deviations, x1=deviations, y1=deviations, line_dash="dash")
    return figure.update_yaxes(scaleanchor="x")


def topic_names(model: WithTopics, words: int = 3) -> list[str]:
    """Return the number and the most probable words of every topic."""
    best = top_words(model.topic.log_beta.detach().cpu().numpy(), words)
    return [f"{i} {', '.join(model.vocabulary.words[w] for w in row)}" for i, row in enumerate(best)]

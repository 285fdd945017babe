"""Pictures of docs/theory.md: what a rung has that an evaluation of a run does not show.

Shape legend: K components, N vectors, Z latent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torch import Tensor

from tgvae.applications.common import as_images
from tgvae.applications.manifold import manifold as decoded_plane
from tgvae.data.vectors import VectorSplit
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import Bound
from tgvae.evaluation.plots.latent_plots import ImageGrid, image_grids
from tgvae.evaluation.plots.plot_style import COLORS, DASHES, apply_style, escape_markup, figure_with_axes, styled_line
from tgvae.evaluation.projections import Floats, evenly_spaced
from tgvae.evaluation.topics import WithTopics, top_words
from tgvae.evaluation.vector_figures import embedded
from tgvae.models.gmm import Mixture
from tgvae.models.vae import VectorVAE

CORNERS = 64
MOST_POINTS = 400


def validations(run: Path, *terms: str) -> dict[int, float]:
    """The sum of these terms at every validation of a run, in nats a row, by epoch from 1 (of a run of one phase).

    Raises:
        UserError: the run has no such validations.
    """
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = [row for row in map(json.loads, lines) if row["kind"] == "valid" and row.keys() >= set(terms)]
    if not rows:
        raise UserError(f"{path}: no validation has {', '.join(terms)}; give a run that was trained with these terms")
    return {epoch: sum(row[term] for term in terms) for epoch, row in enumerate(rows, start=1)}


def curves(
    lines: Mapping[str, Mapping[int, float]], x: str, y: str, marks: Mapping[str, float] | None = None
) -> go.Figure:
    """A line a name, with the titles of both axes; ``marks`` are values to be read beside, as level lines."""
    drawn = []
    for look, (name, points) in enumerate(lines.items()):
        hover = [f"{escape_markup(name)}<br>{place}: {value:.2f}" for place, value in points.items()]
        drawn.append(styled_line(list(points), list(points.values()), escape_markup(name), look, hover))
    figure = figure_with_axes(drawn, x, y)
    for look, (name, value) in enumerate((marks or {}).items(), start=len(lines)):
        line = {"color": COLORS[look % len(COLORS)], "dash": DASHES[look % len(DASHES)], "width": 2}
        figure.add_hline(value, line=line, annotation_text=escape_markup(name), annotation_position="top left")
    return figure


def em_steps(x: Tensor, start: Mixture, end: Mixture, bounds: Sequence[float]) -> go.Figure:
    """Points in a plane with the mixture before and after EM; and the bound beneath log p(x), half-step by half-step.

    The bounds begin with the first M step: the start's own lies far below.

    Args:
        x: with shape (N, 2), some of which are drawn.
        start: mixture in the plane.
        end: the same after EM.
        bounds: as ``em`` returns them, in nats a row, of at least one pair of steps.
    """
    figure = make_subplots(1, 2, horizontal_spacing=0.14)
    some = x[evenly_spaced(len(x), MOST_POINTS)]
    dots = {"color": COLORS[-1], "size": 4}
    figure.add_trace(
        go.Scatter(x=some[:, 0], y=some[:, 1], mode="markers", marker=dots, showlegend=False), row=1, col=1
    )
    for look, (name, mixture) in enumerate({"components at the end": end, "at the start": start}.items()):
        figure.add_trace(_rims(mixture, name, look), row=1, col=1)
    steps = list(range(1, len(bounds)))
    evidence = [bounds[step + step % 2] for step in steps]
    for look, (name, values) in enumerate({"ELBO": list(bounds[1:]), "log p(x)": evidence}.items(), start=2):
        hover = [f"{name} after half-step {step}: {value:.3f}" for step, value in zip(steps, values, strict=True)]
        figure.add_trace(styled_line(steps, values, name, look, hover), row=1, col=2)
    figure.update_yaxes(title="nats a vector", row=1, col=2)
    figure.update_xaxes(title="half-step (odd: M, even: E)", row=1, col=2)
    return apply_style(figure, height=420)


def _rims(mixture: Mixture, name: str, look: int) -> go.Scatter:
    """The ellipses of a mixture as one line with gaps."""
    x, y = np.pad(ellipses(mixture), ((0, 0), (0, 1), (0, 0)), constant_values=np.nan).reshape(-1, 2).T
    line = {"color": COLORS[look], "dash": DASHES[look]}
    return go.Scatter(x=x, y=y, mode="lines", line=line, name=name, hoverinfo="skip")


def ellipses(mixture: Mixture, deviations: float = 2.0) -> Floats:
    """For every component in a plane the points so many standard deviations from its mean: (K, corners, 2)."""
    angle = torch.linspace(0, 2 * torch.pi, CORNERS).double()
    circle = torch.stack((angle.cos(), angle.sin()), dim=-1)
    root = torch.linalg.cholesky(mixture.covariance)
    return (mixture.loc.unsqueeze(1) + deviations * circle @ root.mT).numpy()


def code_map(model: VectorVAE, split: VectorSplit, deviations: float = 2.0) -> go.Figure:
    """Where the encoder puts the vectors of a split, each drawn as its label, and a circle around the most of N(0, I).

    Raises:
        UserError: the latent is not of size 2, or the split has no labels.
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


def manifold(model: VectorVAE, rows: int = 12, columns: int = 20) -> go.Figure:
    """E[x | z] over a grid of a latent plane, at even quantiles of N(0, 1) in both directions.

    Raises:
        UserError: the latent is not of size 2, or the vectors are no pictures.
    """
    if model.code_size != 2 or not model.space.picture:
        raise UserError("the manifold is drawn for a latent of size 2 and vectors that are pictures")
    return image_grids([ImageGrid("", as_images(decoded_plane(model, rows, columns), model.space))])


def rate_distortion(bounds: Mapping[str, Bound]) -> go.Figure:
    """KL against reconstruction of models by name, and the line of equal -ELBO through the best (Alemi et al. 2018)."""
    rates, distortions = (
        [getattr(b, part).mean().item() for b in bounds.values()] for part in ("kl", "reconstruction")
    )
    names, best = [escape_markup(name) for name in bounds], min(b.negative_elbo for b in bounds.values())
    hover = [f"{n}<br>KL {r:.2f}<br>reconstruction {d:.2f}" for n, r, d in zip(names, rates, distortions, strict=True)]
    line = styled_line(
        rates, distortions, "models", 0, hover, mode="lines+markers+text", text=names, textposition="top right"
    )
    figure = figure_with_axes([line], "KL in nats (rate)", "reconstruction in nats (distortion)")
    ends = [0.0, 1.15 * max(rates)]  # with room for the last name
    look = {"color": COLORS[-1], "dash": "dash"}
    equal = go.Scatter(x=ends, y=[best - end for end in ends], mode="lines", line=look, hoverinfo="skip")
    return figure.add_trace(equal.update(name=f"-ELBO = {best:.1f} nats")).update_xaxes(range=ends)


def topic_names(model: WithTopics, words: int = 3) -> list[str]:
    """Every topic by its number and its most probable words."""
    best = top_words(model.topic.log_beta.detach().cpu().numpy(), words)
    return [f"{i} {', '.join(model.vocabulary.words[w] for w in row)}" for i, row in enumerate(best)]

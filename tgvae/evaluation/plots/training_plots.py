"""Plots of training: the terms of the objective, and the trade-off of rate and distortion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tgvae.evaluation.plots.plot_style import (
    COLORS,
    DASHES,
    GRAY_DOTTED,
    apply_style,
    escape_markup,
    figure_with_axes,
    styled_line,
)
from tgvae.evaluation.projections import evenly_spaced

MAX_EPOCH_LABELS = 15
History = Sequence[Mapping[str, Any]]


def training_terms(history: History) -> go.Figure | None:
    """Plot every term of the objective by step for training and validation; None if ``history`` has no terms.

    Args:
        history: rows of a run's metrics.jsonl.
    """
    names = list(dict.fromkeys(name for row in history for name in row if "/" in name))
    if not names:
        return None
    titles = [escape_markup(name) for name in names]
    figure = make_subplots(len(names), 1, shared_xaxes=True, subplot_titles=titles, vertical_spacing=0.25 / len(names))
    for style, kind in enumerate(("train", "valid")):
        for place, name in enumerate(names, start=1):
            # A resumed run may log a step twice: the last value counts.
            rows = {row["step"]: row[name] for row in history if row["kind"] == kind and name in row}
            hover = [f"{kind} {titles[place - 1]}<br>step {step}: {value:.3f}" for step, value in rows.items()]
            steps, values = list(rows), list(rows.values())
            line = styled_line(steps, values, kind, style, hover, legendgroup=kind, showlegend=place == 1)
            figure.add_trace(line, row=place, col=1)
    apply_style(figure, height=60 + 150 * len(names)).update_layout(legend_y=1.04)
    return figure.update_xaxes(title="step", row=len(names), col=1)


def training_rate_distortion(history: History) -> go.Figure | None:
    """Plot rate and distortion of the validation epochs of the last phase.

    Returns None for a model without KL terms, and for fewer than two validations.
    """
    rows = [row for row in history if row["kind"] == "valid"]
    last = {name for name in (rows[-1] if rows else {}) if "/" in name}
    rows = [row for row in rows if {name for name in row if "/" in name} == last]
    if len(rows) < 2 or not any(name.startswith("kl/") for name in last):
        return None
    rate, distortion = (
        [sum(v for k, v in row.items() if k.startswith(kind)) for row in rows] for kind in ("kl/", "nll/")
    )
    labelled = set(evenly_spaced(len(rows), MAX_EPOCH_LABELS).tolist())
    labels = [str(epoch) if epoch - 1 in labelled else "" for epoch in range(1, len(rows) + 1)]
    return rate_distortion(rate, distortion, [f"epoch {i}" for i in range(1, len(rows) + 1)], labels)


def rate_distortion(
    rate: Sequence[float], distortion: Sequence[float], names: Sequence[str], labels: Sequence[str], lines: int = 0
) -> go.Figure:
    """Plot the distortion E_q[-log p(x | z)] against the rate KL(q || p), both in nats, one point per model.

    Points of equal ELBO lie on lines of slope -1 (Alemi et al. 2018, arXiv 1711.00464).

    Args:
        rate: x of each point.
        distortion: y of each point.
        names: hover texts.
        labels: short texts next to the points.
        lines: number of lines of equal ELBO, from the best point's to the worst point's.
    """
    hover = [
        f"{escape_markup(name)}<br>rate {r:.2f}<br>distortion {d:.2f}<br>-ELBO {r + d:.2f}"
        for name, r, d in zip(names, rate, distortion, strict=True)
    ]
    # The curve falls, so both corners are free; labels alternate because neighbouring points can be close.
    sides = [("top right", "bottom left")[i % 2] for i in range(len(labels))]
    texts = [escape_markup(label) for label in labels]
    shown = {"mode": "lines+markers+text", "text": texts, "textposition": sides, "showlegend": lines > 0}
    traces = [styled_line(rate, distortion, "models", 0, hover, **shown)]
    totals, right = np.add(rate, distortion), 1.15 * max(rate)  # with room for the last label
    levels = np.linspace(totals.min(), totals.max(), lines)
    for i, total in enumerate(levels):
        name = "equal ELBO" if lines > 1 else f"-ELBO = {total:.1f} nats"
        level = {"mode": "lines", "legendgroup": "equal", "showlegend": i == 0}
        hover = [f"-ELBO {total:.2f} nats"] * 2
        traces.insert(i, styled_line([0, right], [total, total - right], name, GRAY_DOTTED, hover, **level))
    figure = figure_with_axes(traces, "rate: KL in nats", "distortion: E[-log p(x|z)] in nats", height=500)
    if not lines:
        return figure
    spare = 0.08 * (max(distortion) - min(distortion)) or 1.0
    figure.update_xaxes(range=[0, right])
    return figure.update_yaxes(range=[min(distortion) - spare, max(distortion) + spare])


def curves(
    lines: Mapping[str, Mapping[int, float]], x: str, y: str, baselines: Mapping[str, float] | None = None
) -> go.Figure:
    """Plot one line per name, and each of the ``baselines`` as a horizontal line."""
    traces = []
    for style, (name, values) in enumerate(lines.items()):
        hover = [f"{escape_markup(name)}<br>{place}: {value:.2f}" for place, value in values.items()]
        traces.append(styled_line(list(values), list(values.values()), escape_markup(name), style, hover))
    figure = figure_with_axes(traces, x, y)
    for style, (name, value) in enumerate((baselines or {}).items(), start=len(lines)):
        line = {"color": COLORS[style % len(COLORS)], "dash": DASHES[style % len(DASHES)], "width": 2}
        figure.add_hline(value, line=line, annotation_text=escape_markup(name), annotation_position="top left")
    return figure

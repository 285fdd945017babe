"""The common look of all plots: colours, markers, axes, heatmaps and the escaping of text.

Plotly renders a subset of HTML in labels and hover texts, so all text from corpora and models is escaped. The colours
are those of Okabe and Ito that are visible on light and on dark backgrounds. Every line and every group also has its
own marker or dash, so that no plot depends on colour alone, and every point has a hover text.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from tgvae.evaluation.projections import Floats

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#888888")
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "star")
DASHES = ("solid", "dash", "dot", "dashdot")
GRAY_DOTTED = 6  # a style index for reference lines
GRID = "rgba(128, 128, 128, 0.3)"


def figure_with_axes(traces: Sequence[Any], x: str = "", y: str = "", height: int = 420) -> go.Figure:
    """Return a styled figure of ``traces`` with axis titles ``x`` and ``y``."""
    figure = go.Figure(traces)
    figure.update_xaxes(title=x).update_yaxes(title=y)
    return apply_style(figure, height)


def apply_style(figure: go.Figure, height: int) -> go.Figure:
    """Set transparent background, thin grid, legend above the plot and a dark hover label."""
    figure.update_layout(
        template="none",
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        margin={"l": 10, "r": 20, "t": 20, "b": 10},
        hovermode="closest",
        dragmode=False,  # on touch screens dragging must scroll the page
        hoverlabel={"bgcolor": "#222", "font": {"color": "#fff"}, "align": "left"},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    axis = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "ticks": "", "automargin": True}
    return figure.update_xaxes(**axis).update_yaxes(**axis)


def styled_line(
    x: Sequence[Any], y: Sequence[Any] | Floats, name: str, style: int, hover: list[str], **options: Any
) -> go.Scatter:
    """Return a line with the colour, dash and marker of index ``style``; ``options`` are passed to Plotly."""
    line = {"dash": DASHES[style % len(DASHES)], "color": COLORS[style % len(COLORS)]}
    shown = {"mode": "lines+markers", "textposition": "top center", "hovertext": hover, "hoverinfo": "text"} | options
    return go.Scatter(x=x, y=y, name=name, line=line, marker=marker(style), cliponaxis=False, **shown)


def marker(style: int, size: int = 7) -> dict[str, Any]:
    """Return colour and symbol of index ``style``: 56 different pairs."""
    return {"color": COLORS[style % len(COLORS)], "symbol": SYMBOLS[style % len(SYMBOLS)], "size": size}


def points(xy: Floats, hover: list[str], **options: Any) -> go.Scatter:
    """Return a scatter trace of ``xy`` with shape (N, 2)."""
    return go.Scatter(x=xy[:, 0], y=xy[:, 1], hovertext=hover, hoverinfo="text", cliponaxis=False, **options)


def grouped_points(
    xy: Floats, group: NDArray[np.integer], texts: Sequence[str], group_names: Sequence[str]
) -> list[go.Scatter]:
    """Return one scatter trace per group.

    Args:
        xy: positions with shape (N, 2).
        group: index into ``group_names`` of each point, with shape (N,).
        texts: hover text of each point.
        group_names: legend entries.
    """
    traces = []
    for index in np.unique(group).tolist():
        name = escape_markup(group_names[index])
        rows = np.flatnonzero(group == index)
        hover = [f"<b>{name}</b><br>{wrapped(texts[row])}" for row in rows.tolist()]
        traces.append(points(xy[rows], hover, mode="markers", name=name, marker=marker(index, 6)))
    return traces


def heatmap(values: Floats, columns: Sequence[str], rows: Sequence[str]) -> go.Figure:
    """Return a heatmap of proportions with shape (rows, columns), first row on top."""
    bar = {"orientation": "h", "y": 1, "yanchor": "bottom", "thickness": 10, "tickformat": ".0%"}
    hover = "%{y}<br>%{x}: %{z:.1%}<extra></extra>"
    names = [escape_markup(name) for name in rows]
    cells = go.Heatmap(
        x=columns, y=names, z=values, zmin=0, colorscale="Cividis", hovertemplate=hover, colorbar=bar, name=""
    )
    figure = figure_with_axes([cells], height=160 + 18 * len(names))
    return figure.update_yaxes(autorange="reversed", dtick=1, showgrid=False)


def escape_markup(text: str) -> str:
    """Return text that Plotly shows literally."""
    return html.escape(text, quote=False)  # Plotly does not decode &quot;


def wrapped(text: str, width: int = 44) -> str:
    """Return escaped text in lines of at most ``width`` characters: hover labels do not wrap by themselves."""
    return "<br>".join(escape_markup(line) for line in wrap(text, width))

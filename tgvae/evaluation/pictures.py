"""Pictures of an evaluation: small functions from arrays to Plotly figures.

Text from corpora and models is escaped: Plotly reads a little HTML in labels and hover texts. Colours are
those of Okabe and Ito that show on light and on dark ground; every line and group has a marker or dash of
its own too, and every point a hover text. Topics are rows of beta counted from 0, ``names`` their labels.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from tgvae.evaluation.prevalence import by_label, by_year
from tgvae.evaluation.projections import Floats, evenly, principal_plane, scaled_to_plane

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#888888")
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "star")
DASHES = ("solid", "dash", "dot", "dashdot")
GRID = "rgba(128, 128, 128, 0.3)"
MOST_DOCUMENTS, MOST_POINTS, MOST_LINES, MOST_NUMBERS = 300, 2000, 8, 15

History = Sequence[Mapping[str, Any]]


def topic_map(distances: Floats, shares: Sequence[float], names: Sequence[str], words: Sequence[str]) -> go.Figure:
    """Topics in a plane by their distances (T, T), sized by share, numbered, with their words on hovering."""
    points, largest = scaled_to_plane(distances), max(max(shares), 1e-12)
    hover = [
        f"<b>{plain(name)}</b><br>share {share:.1%}<br>{folded(text)}"
        for name, share, text in zip(names, shares, words, strict=True)
    ]
    look = {"size": [10 + 40 * (s / largest) ** 0.5 for s in shares], "color": COLOURS[0], "opacity": 0.45}
    numbers = [str(topic) for topic in range(len(names))]
    figure = framed([_points(points, hover, mode="markers+text", text=numbers, marker=look)], height=480)
    return figure.update_xaxes(visible=False).update_yaxes(visible=False, scaleanchor="x")


def documents_by_topic(theta: Floats, names: Sequence[str]) -> go.Figure:
    """Topic proportions (documents, T) as a heatmap, documents sorted by main topic, at most 300 of them."""
    main = theta.argmax(1)
    order = np.lexsort((-theta.max(1), main))[evenly(len(theta), MOST_DOCUMENTS)]
    columns = [f"document {i}" for i in order]
    figure = heatmap(theta[order].T, columns, names)
    return figure.update_xaxes(showticklabels=False, title="documents, by main topic")


def topics_over_time(theta: Floats, dates: Sequence[str | None], names: Sequence[str]) -> go.Figure | None:
    """Mean proportion by year of the 8 topics that vary most; None with fewer than two years.

    A date is a year or starts with one (ISO 8601); documents with another, or none, are left out.
    """
    found = by_year(theta, dates)
    if found is None:
        return None
    known, means = [int(year) for year in found.names], found.means
    lines = []
    for look, topic in enumerate(np.argsort(-means.std(0), kind="stable")[:MOST_LINES]):
        values = means[:, topic]
        hover = [f"<b>{plain(names[topic])}</b><br>{y}: {v:.1%}" for y, v in zip(known, values, strict=True)]
        lines.append(marked_line(known, values, plain(names[topic]), look, hover))
    figure = framed(lines, "year", "mean proportion").update_yaxes(tickformat=".0%", rangemode="tozero")
    return figure.update_xaxes(tickformat="d", dtick=1 if known[-1] - known[0] < 10 else None)


def topics_by_label(theta: Floats, labels: Sequence[str | None], names: Sequence[str]) -> go.Figure | None:
    """Mean proportions of the documents of each label, at most 30 labels; None with fewer than two."""
    found = by_label(theta, labels)
    if found is None:
        return None
    return heatmap(found.means.T, [plain(label) for label in found.names], names).update_xaxes(type="category")


def latent_map(means: Floats, topics: NDArray[np.integer], texts: Sequence[str], names: Sequence[str]) -> go.Figure:
    """Sentences by the first two principal components of their latent (N, Z), a group a topic (-1: none)."""
    points, share = principal_plane(means)
    sample = evenly(len(points), MOST_POINTS)
    groups = grouped(points[sample], topics[sample], [texts[row] for row in sample], names)
    axes = [f"{place} component ({part:.0%})" for place, part in zip(("1st", "2nd"), share, strict=True)]
    return framed(groups, axes[0], axes[1], height=640).update_layout(legend_maxheight=0.35)


def training_terms(history: History) -> go.Figure | None:
    """Every term of the objective over steps, training and validation; None where the journal has none."""
    names = list(dict.fromkeys(name for row in history for name in row if "/" in name))
    if not names:
        return None
    titles = [plain(name) for name in names]
    figure = make_subplots(len(names), 1, shared_xaxes=True, subplot_titles=titles, vertical_spacing=0.25 / len(names))
    for look, kind in enumerate(("train", "valid")):
        for place, name in enumerate(names, start=1):
            rows = {row["step"]: row[name] for row in history if row["kind"] == kind and name in row}
            hover = [f"{kind} {titles[place - 1]}<br>step {step}: {value:.3f}" for step, value in rows.items()]
            line = marked_line(
                list(rows), list(rows.values()), kind, look, hover, legendgroup=kind, showlegend=place == 1
            )
            figure.add_trace(line, row=place, col=1)
    dressed(figure, height=60 + 150 * len(names)).update_layout(legend_y=1.04)
    return figure.update_xaxes(title="step", row=len(names), col=1)


def rate_distortion(history: History) -> go.Figure | None:
    """Validation KL against validation reconstruction, a point an epoch of the last phase.

    None for a model without KL, and where fewer than two epochs were validated.
    """
    rows = [row for row in history if row["kind"] == "valid"]
    last = {name for name in (rows[-1] if rows else {}) if "/" in name}
    rows = [row for row in rows if {name for name in row if "/" in name} == last]
    if len(rows) < 2 or not any(name.startswith("kl/") for name in last):
        return None
    rate, distortion = (
        [sum(v for k, v in row.items() if k.startswith(kind)) for row in rows] for kind in ("kl/", "nll/")
    )
    numbers = [str(epoch) for epoch in range(1, len(rows) + 1)]
    shown = set(evenly(len(rows), MOST_NUMBERS).tolist())
    text = [number if place in shown else "" for place, number in enumerate(numbers)]
    hover = [
        f"epoch {n}<br>KL {r:.2f}<br>reconstruction {d:.2f}" for n, r, d in zip(numbers, rate, distortion, strict=True)
    ]
    line = marked_line(rate, distortion, "epochs", 0, hover, mode="lines+markers+text", text=text)
    return framed([line], "KL in nats (rate)", "reconstruction in nats (distortion)")


def length_histogram(real: Sequence[int], generated: Sequence[int]) -> go.Figure:
    """Shares of sentences by their number of words, real beside generated."""
    bars = []
    for look, (name, lengths) in enumerate({"real": real, "generated": generated}.items()):
        counts = np.bincount(np.asarray(lengths, dtype=np.int64))
        shares = counts / max(counts.sum(), 1)
        hover = [f"{name}, {words} words: {share:.1%}" for words, share in enumerate(shares)]
        marker = {"color": COLOURS[look], "pattern_shape": ("", "/")[look]}
        bars.append(go.Bar(y=shares, name=name, marker=marker, hovertext=hover, hoverinfo="text"))
    return framed(bars, "words of a sentence", "share of sentences").update_yaxes(tickformat=".0%")


def bleu_curves(curves: Mapping[str, Mapping[int, float]]) -> go.Figure:
    """BLEU over the order of n-grams, a line a kind."""
    lines = []
    for look, (name, curve) in enumerate(curves.items()):
        hover = [f"{plain(name)}-{order}: {value:.3f}" for order, value in curve.items()]
        lines.append(marked_line(list(curve), list(curve.values()), plain(name), look, hover))
    return framed(lines, "longest n-gram (words)", "BLEU").update_xaxes(dtick=1).update_yaxes(rangemode="tozero")


def steering_curve(points: Sequence[tuple[float, float, float, float]]) -> go.Figure:
    """Fidelity against fluency, a point a strength, from (strength, fidelity, fluency, distinct bigrams)."""
    hover = [f"strength {s:g}<br>fidelity {f:.1%}<br>perplexity {p:.0f}<br>distinct {d:.1%}" for s, f, p, d in points]
    strength, fidelity, fluency = [[point[i] for point in points] for i in range(3)]
    text = [f"{s:g}" for s in strength]
    line = marked_line(fluency, fidelity, "strengths", 0, hover, mode="lines+markers+text", text=text)
    return framed([line], "perplexity (low is fluent)", "fidelity").update_yaxes(tickformat=".0%")


def plain(text: str) -> str:
    """Text that Plotly shows as it is: nothing in it is markup."""
    return html.escape(text, quote=False)  # Plotly does not know &quot;


def folded(text: str, width: int = 44) -> str:
    """The same, in lines of at most ``width`` characters: hover texts do not wrap by themselves."""
    return "<br>".join(plain(line) for line in wrap(text, width))


def _marker(look: int, size: int = 7) -> dict[str, Any]:
    """Colour and symbol of the group ``look``: 56 pairs; grey for -1."""
    return {"color": COLOURS[look % len(COLOURS)], "symbol": SYMBOLS[look % len(SYMBOLS)], "size": size}


def marked_line(
    x: Sequence[Any], y: Sequence[Any] | Floats, name: str, look: int, hover: list[str], **more: Any
) -> go.Scatter:
    """A line with the colour, dash and marker of the group ``look``; ``more`` goes to Plotly as it is."""
    dash = {"dash": DASHES[look % len(DASHES)], "color": COLOURS[look % len(COLOURS)]}
    shown = {"mode": "lines+markers", "textposition": "top center", "hovertext": hover, "hoverinfo": "text"} | more
    return go.Scatter(x=x, y=y, name=name, line=dash, marker=_marker(look), cliponaxis=False, **shown)


def grouped(
    points: Floats, belongs: NDArray[np.integer], texts: Sequence[str], names: Sequence[str]
) -> list[go.Scatter]:
    """Points of a plane (N, 2), a group and a marker a topic (-1: none), with their texts on hovering."""
    groups = []
    for topic in np.unique(belongs):
        name = plain(names[topic]) if topic >= 0 else "no topic"
        rows = np.flatnonzero(belongs == topic)
        hover = [f"<b>{name}</b><br>{folded(texts[row])}" for row in rows.tolist()]
        groups.append(_points(points[rows], hover, mode="markers", name=name, marker=_marker(int(topic), 6)))
    return groups


def _points(points: Floats, hover: list[str], **more: Any) -> go.Scatter:
    return go.Scatter(x=points[:, 0], y=points[:, 1], hovertext=hover, hoverinfo="text", cliponaxis=False, **more)


def heatmap(shares: Floats, columns: Sequence[str], names: Sequence[str]) -> go.Figure:
    """Proportions with shape (T, columns), a row a topic, the first on top."""
    bar = {"orientation": "h", "y": 1, "yanchor": "bottom", "thickness": 10, "tickformat": ".0%"}
    hover = "%{y}<br>%{x}: %{z:.1%}<extra></extra>"
    rows = [plain(name) for name in names]
    cells = go.Heatmap(
        x=columns, y=rows, z=shares, zmin=0, colorscale="Cividis", hovertemplate=hover, colorbar=bar, name=""
    )
    return framed([cells], height=160 + 18 * len(rows)).update_yaxes(autorange="reversed", dtick=1, showgrid=False)


def framed(traces: Sequence[Any], x: str = "", y: str = "", height: int = 420) -> go.Figure:
    """Traces on axes with these titles."""
    figure = go.Figure(traces)
    figure.update_xaxes(title=x).update_yaxes(title=y)
    return dressed(figure, height)


def dressed(figure: go.Figure, height: int) -> go.Figure:
    """The look all share: see-through ground, thin grid, legend on top, a dark hover label in light and dark."""
    figure.update_layout(
        template="none",
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        margin={"l": 10, "r": 20, "t": 20, "b": 10},
        hovermode="closest",
        dragmode=False,  # a finger on a picture scrolls the page
        hoverlabel={"bgcolor": "#222", "font": {"color": "#fff"}, "align": "left"},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    look = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "ticks": "", "automargin": True}
    return figure.update_xaxes(**look).update_yaxes(**look)

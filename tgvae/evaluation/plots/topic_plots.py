"""Plots of topics and of the topic proportions of documents.

T topics are rows of beta counted from 0; ``names`` are their labels. theta has shape (documents, T).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tgvae.evaluation.plots.plot_style import (
    COLORS,
    apply_style,
    escape_markup,
    figure_with_axes,
    grouped_points,
    heatmap,
    points,
    styled_line,
    wrapped,
)
from tgvae.evaluation.projections import (
    MAX_JS_DISTANCE,
    Floats,
    classical_scaling,
    evenly_spaced,
    separate_circles,
    similarity_order,
    tsne_plane,
)
from tgvae.evaluation.report_data import TopicRow
from tgvae.evaluation.topics import prevalence_by_label, prevalence_by_year

MAX_BAR_CHARTS, BAR_COLUMNS, BAR_CHART_HEIGHT = 30, 3, 230
MAX_DOCUMENTS, MAX_LINES = 1000, 8
MAP_WIDTH, MAP_HEIGHT, MAP_MARGIN = 900, 460, 20  # pixels
MIN_RADIUS, MAX_RADIUS, CIRCLE_SHARE = 9, 34, 0.2  # pixels; circles cover at most this share of the topic map


def topic_bars(topics: Sequence[TopicRow]) -> go.Figure:
    """Plot p(word | topic) of the top words as bars, for the 30 topics of largest share; each has its own scale."""
    shown = sorted(topics, key=lambda topic: -topic.share)[:MAX_BAR_CHARTS]
    rows = -(-len(shown) // BAR_COLUMNS)
    figure = make_subplots(
        rows,
        BAR_COLUMNS,
        subplot_titles=[f"topic {topic.number}, {topic.share:.1%}" for topic in shown],
        vertical_spacing=0.2 / rows,
        horizontal_spacing=0.2,
    )
    for i, topic in enumerate(shown):
        labels, values = [escape_markup(word) for word in topic.words], topic.probabilities
        hover = [f"{word}: {value:.4f}" for word, value in zip(labels, values, strict=True)]
        # The categories are ranks, because two words may have the same text.
        ranks, texts = [*range(len(labels))], [f"{value:.3f}" for value in values]
        bars = go.Bar(x=values, y=ranks, orientation="h", text=texts, hovertext=hover, hoverinfo="text")
        bars.update(marker_color=COLORS[0], textposition="outside", cliponaxis=False)
        row, column = divmod(i, BAR_COLUMNS)
        figure.add_trace(bars, row=row + 1, col=column + 1)
        ticks = {"tickvals": ranks, "ticktext": labels, "autorange": "reversed", "showgrid": False}
        figure.update_yaxes(ticks, row=row + 1, col=column + 1)
        figure.update_xaxes(range=[0, 1.3 * max(values, default=1)], row=row + 1, col=column + 1)
    apply_style(figure, height=40 + BAR_CHART_HEIGHT * rows).update_layout(showlegend=False, margin_t=40)
    return figure.update_xaxes(visible=False)


def topic_map(distances: Floats, topics: Sequence[TopicRow]) -> go.Figure:
    """Plot topics as numbered circles by their ``distances`` (T, T), with areas that grow with their shares.

    Circles that would overlap are moved apart, so positions are in pixels of a map of 900 by 460.
    """
    topics = sorted(topics, key=lambda topic: topic.number)
    radii = _circle_radii([topic.share for topic in topics])
    plane = classical_scaling(distances)
    plane = plane - (plane.max(0) + plane.min(0)) / 2
    room = np.array([MAP_WIDTH, MAP_HEIGHT]) / 2 - radii.max()
    extent = np.abs(plane).max(0)
    plane = separate_circles(plane * (room / np.maximum(extent, 1e-12)).min() if extent.any() else plane, radii)
    hover = [
        f"<b>{escape_markup(topic.name)}</b><br>share {topic.share:.1%}<br>{wrapped(', '.join(topic.words))}"
        for topic in topics
    ]
    circles = {"size": 2 * radii, "color": COLORS[0], "opacity": 0.45}
    numbers = [str(topic.number) for topic in topics]
    low = (plane - radii[:, None]).min(0) - MAP_MARGIN
    high = (plane + radii[:, None]).max(0) + MAP_MARGIN
    # One unit is one pixel if the figure is as tall as the map: circles then touch at most.
    figure = figure_with_axes([points(plane, hover, mode="markers+text", text=numbers, marker=circles)])
    figure.update_layout(height=round(max(high[1] - low[1], 200)), margin={"l": 0, "r": 0, "t": 0, "b": 0})
    figure.update_xaxes(visible=False, range=[low[0], high[0]])
    return figure.update_yaxes(visible=False, range=[low[1], high[1]], scaleanchor="x")


def _circle_radii(shares: Sequence[float]) -> Floats:
    """Return the radius of each topic's circle in pixels; the areas are proportional to the shares above a minimum."""
    relative = np.sqrt(np.asarray(shares, dtype=np.float64) / max(max(shares), 1e-12))
    area = CIRCLE_SHARE * MAP_WIDTH * MAP_HEIGHT
    largest = min(MAX_RADIUS, (area / (np.pi * np.square(relative).sum())) ** 0.5)
    return np.maximum(largest * relative, MIN_RADIUS)


def topic_similarity(distances: Floats, names: Sequence[str]) -> go.Figure:
    """Plot 1 - distance / sqrt(ln 2) of all pairs of topics, from 0 (no common word) to 1, similar topics adjacent."""
    order = similarity_order(distances)
    similarity = 1 - distances[np.ix_(order, order)] / MAX_JS_DISTANCE
    np.fill_diagonal(similarity, np.nan)  # the 1 of a topic with itself would use up the colour scale
    figure = heatmap(similarity, [escape_markup(names[i]) for i in order], [names[i] for i in order])
    figure.update_traces(hovertemplate="%{y}<br>%{x}<br>%{z:.2f}<extra></extra>", colorbar_tickformat=".2f")
    return figure.update_xaxes(showticklabels=False, showgrid=False)


def document_map(theta: Floats, texts: Sequence[str], names: Sequence[str]) -> go.Figure:
    """Plot at most 1,000 documents in a t-SNE plane of theta, grouped by main topic."""
    sample = evenly_spaced(len(theta), MAX_DOCUMENTS)
    # Euclidean distances of square roots are Hellinger distances of the proportions.
    plane, main = tsne_plane(np.sqrt(theta[sample])), theta[sample].argmax(1)
    traces = grouped_points(plane, main, [texts[row] for row in sample], names)
    centers = {topic: np.median(plane[main == topic], axis=0) for topic in np.unique(main).tolist()}
    x, y = np.array([*centers.values()]).T
    numbers = go.Scatter(x=x, y=y, text=[*map(str, centers)], mode="text", textfont={"size": 16, "weight": "bold"})
    traces.append(numbers.update(hoverinfo="skip", showlegend=False, cliponaxis=False))
    figure = figure_with_axes(traces, height=760).update_layout(legend_maxheight=0.35)
    return figure.update_xaxes(visible=False).update_yaxes(visible=False, scaleanchor="x")


def topics_over_time(theta: Floats, dates: Sequence[str | None], names: Sequence[str]) -> go.Figure | None:
    """Plot the mean proportion per year of the 8 topics that vary most; None for fewer than two years.

    Dates are years or start with a year (ISO 8601). Documents with any other date, or with None, are left out.
    """
    prevalence = prevalence_by_year(theta, dates)
    if prevalence is None:
        return None
    years, means = [int(year) for year in prevalence.names], prevalence.means
    lines = []
    for style, topic in enumerate(np.argsort(-means.std(0), kind="stable")[:MAX_LINES]):
        name, values = escape_markup(names[topic]), means[:, topic]
        hover = [f"<b>{name}</b><br>{year}: {value:.1%}" for year, value in zip(years, values, strict=True)]
        lines.append(styled_line(years, values, name, style, hover))
    figure = figure_with_axes(lines, "year", "mean proportion").update_yaxes(tickformat=".0%", rangemode="tozero")
    return figure.update_xaxes(tickformat="d", dtick=1 if years[-1] - years[0] < 10 else None)


def topics_by_label(theta: Floats, labels: Sequence[str | None], names: Sequence[str]) -> go.Figure | None:
    """Plot the mean proportions of the documents of each label, at most 30 labels; None for fewer than two."""
    prevalence = prevalence_by_label(theta, labels)
    if prevalence is None:
        return None
    columns = [escape_markup(label) for label in prevalence.names]
    return heatmap(prevalence.means.T, columns, names).update_xaxes(type="category")

"""Pictures of topics: their words, how alike they are, and the documents that have them.

Topics are rows of beta counted from 0, ``names`` their labels, T their number; see ``pictures.py`` for the look.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tgvae.evaluation.pictures import COLOURS, dressed, framed, grouped, heatmap, plain
from tgvae.evaluation.projections import FARTHEST, Floats, alike_together, evenly, neighbours_in_plane

MOST_BARS, WIDE, MOST_MAPPED = 30, 3, 1000
TALL = 230
"""Height of the bars of a topic in screen pixels."""


def topic_bars(
    names: Sequence[str], words: Sequence[Sequence[str]], probabilities: Sequence[Sequence[float]]
) -> go.Figure:
    """The words of topics, most probable first, with p(word | topic) as bars: the first 30 topics, 3 beside each other.

    Bars are as long as the probability is against that of the topic's first word.
    """
    shown = range(min(len(names), MOST_BARS))
    rows = -(-len(shown) // WIDE)
    titles = [plain(names[i]) for i in shown]
    figure = make_subplots(rows, WIDE, subplot_titles=titles, vertical_spacing=0.2 / rows, horizontal_spacing=0.2)
    for i in shown:
        labels, values = [plain(word) for word in words[i]], probabilities[i]
        hover = [f"{word}: {value:.4f}" for word, value in zip(labels, values, strict=True)]
        # Categories are ranks: a word may stand twice where the text of two is the same.
        bars = go.Bar(
            x=values, y=[*range(len(labels))], orientation="h", text=[f"{v:.3f}" for v in values], hovertext=hover
        )
        bars.update(hoverinfo="text", marker_color=COLOURS[0], textposition="outside", cliponaxis=False)
        row, column = divmod(i, WIDE)
        figure.add_trace(bars, row=row + 1, col=column + 1)
        ticks = {"tickvals": [*range(len(labels))], "ticktext": labels, "autorange": "reversed", "showgrid": False}
        figure.update_yaxes(ticks, row=row + 1, col=column + 1)
        figure.update_xaxes(range=[0, 1.3 * max(values, default=1)], row=row + 1, col=column + 1)
    dressed(figure, height=40 + TALL * rows).update_layout(showlegend=False, margin_t=40)
    return figure.update_xaxes(visible=False)


def topic_similarity(distances: Floats, names: Sequence[str]) -> go.Figure:
    """1 - distance / sqrt(ln 2) of topics (T, T), from 0, no word in common, to 1; like ones beside each other."""
    order = alike_together(distances)
    alike = 1 - distances[np.ix_(order, order)] / FARTHEST
    np.fill_diagonal(alike, np.nan)  # of a topic with itself: 1, which would take the colours of all others
    titles = [plain(names[i]) for i in order]
    figure = heatmap(alike, titles, [names[i] for i in order])
    figure.update_traces(hovertemplate="%{y}<br>%{x}<br>%{z:.2f}<extra></extra>", colorbar_tickformat=".2f")
    return figure.update_xaxes(showticklabels=False, showgrid=False)


def document_map(theta: Floats, texts: Sequence[str], names: Sequence[str]) -> go.Figure:
    """Documents (documents, T) in a plane, near those of like topics, a group a main topic; at most 1,000 of them."""
    sample = evenly(len(theta), MOST_MAPPED)
    points, main = neighbours_in_plane(np.sqrt(theta[sample])), theta[sample].argmax(1)
    groups = grouped(points, main, [texts[row] for row in sample], names)
    centres = {topic: np.median(points[main == topic], axis=0) for topic in np.unique(main).tolist()}
    x, y = np.array([*centres.values()]).T
    font = {"size": 16, "weight": "bold"}
    numbers = go.Scatter(x=x, y=y, text=[*map(str, centres)], mode="text", textfont=font)
    groups.append(numbers.update(hoverinfo="skip", showlegend=False, cliponaxis=False))
    figure = framed(groups, height=760).update_layout(legend_maxheight=0.35)
    return figure.update_xaxes(visible=False).update_yaxes(visible=False, scaleanchor="x")

"""Plots of generated sentences compared with real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from tgvae.evaluation.plots.plot_style import COLORS, escape_markup, figure_with_axes, styled_line


def length_histogram(real: Sequence[int], generated: Sequence[int]) -> go.Figure:
    """Plot the share of real and of generated sentences by their number of words."""
    bars = []
    for style, (name, lengths) in enumerate({"real": real, "generated": generated}.items()):
        counts = np.bincount(np.asarray(lengths, dtype=np.int64))
        shares = counts / max(counts.sum(), 1)
        hover = [f"{name}, {words} words: {share:.1%}" for words, share in enumerate(shares)]
        look = {"color": COLORS[style], "pattern_shape": ("", "/")[style]}
        bars.append(go.Bar(y=shares, name=name, marker=look, hovertext=hover, hoverinfo="text"))
    return figure_with_axes(bars, "words per sentence", "share of sentences").update_yaxes(tickformat=".0%")


def bleu_curves(curves: Mapping[str, Mapping[int, float]]) -> go.Figure:
    """Plot BLEU by the order of the n-grams, one line per name in ``curves``."""
    lines = []
    for style, (name, curve) in enumerate(curves.items()):
        hover = [f"{escape_markup(name)}-{order}: {value:.3f}" for order, value in curve.items()]
        lines.append(styled_line(list(curve), list(curve.values()), escape_markup(name), style, hover))
    figure = figure_with_axes(lines, "largest n-gram order", "BLEU")
    return figure.update_xaxes(dtick=1).update_yaxes(rangemode="tozero")


def guidance_curve(points: Sequence[tuple[float, float, float, float]]) -> go.Figure:
    """Plot fidelity against perplexity, from (strength, fidelity, perplexity, distinct bigrams) per strength."""
    hover = [f"strength {s:g}<br>fidelity {f:.1%}<br>perplexity {p:.0f}<br>distinct {d:.1%}" for s, f, p, d in points]
    strength, fidelity, perplexity = [[point[i] for point in points] for i in range(3)]
    text = [f"{s:g}" for s in strength]
    line = styled_line(perplexity, fidelity, "strengths", 0, hover, mode="lines+markers+text", text=text)
    return figure_with_axes([line], "perplexity", "fidelity").update_yaxes(tickformat=".0%")

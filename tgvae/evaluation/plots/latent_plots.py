"""Plots of latent spaces, and of images: grids of tiles in shades of gray, one grid below the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from tgvae.evaluation.plots.plot_style import apply_style, escape_markup, figure_with_axes, grouped_points
from tgvae.evaluation.projections import Floats, evenly_spaced, principal_plane

MAX_POINTS = 2000
WHITE_TO_BLACK = ((0, "#ffffff"), (1, "#000000"))
GRAY = 128
MAX_WIDTH, MIN_WIDTH, MAX_HEIGHT = 1050, 580, 900  # pixels on the screen
TITLE_HEIGHT = 26  # pixels on the narrowest screen


@dataclass(frozen=True, eq=False)
class ImageGrid:
    """Images with shape (rows, columns, height, width) under one title; unknown pixels are NaN and shown in gray."""

    title: str
    images: Floats


def latent_map(
    means: Floats, group: NDArray[np.integer], texts: Sequence[str], group_names: Sequence[str]
) -> go.Figure:
    """Plot at most 2,000 posterior means (N, Z) by their first two principal components.

    Args:
        means: with shape (N, Z).
        group: index into ``group_names`` of each point, with shape (N,).
        texts: hover text of each point.
        group_names: legend entries.
    """
    plane, share = principal_plane(means)
    sample = evenly_spaced(len(plane), MAX_POINTS)
    traces = grouped_points(plane[sample], group[sample], [texts[row] for row in sample], group_names)
    x, y = (f"principal component {i} ({part:.0%} of variance)" for i, part in enumerate(share, start=1))
    return figure_with_axes(traces, x, y, height=640).update_layout(legend_maxheight=0.35)


def image_grids(grids: Sequence[ImageGrid], low: float = 0.0, high: float = 1.0) -> go.Figure:
    """Plot grids of images below each other; ``low`` is white, ``high`` is black, values beyond are clipped."""
    tiled = [tile_images(grid.images, low, high) for grid in grids]
    width = max(pixels.shape[1] for pixels in tiled)
    figure, top, titles = go.Figure(), 0.0, []
    for grid, pixels in zip(grids, tiled, strict=True):
        if grid.title:
            top += TITLE_HEIGHT * width / MIN_WIDTH
            place = {"x": 0, "y": top, "xanchor": "left", "yanchor": "bottom", "align": "left"}
            titles.append({"text": escape_markup(grid.title), "showarrow": False} | place)
        shades = {"zmin": 0, "zmax": 255, "colorscale": WHITE_TO_BLACK, "showscale": False}
        figure.add_trace(go.Heatmap(z=pixels, x0=0.5, dx=1, y0=top + 0.5, dy=1, hoverinfo="skip", **shades))
        top += pixels.shape[0]
    apply_style(figure, height=round(min(MAX_WIDTH * top / width, MAX_HEIGHT)))
    figure.update_layout(annotations=titles, margin={"l": 0, "r": 0, "t": 0, "b": 0})
    figure.update_xaxes(visible=False, range=[0, width], constrain="domain", constraintoward="left")
    return figure.update_yaxes(visible=False, range=[top, 0], scaleanchor="x", constrain="domain")


def tile_images(images: Floats, low: float = 0.0, high: float = 1.0) -> NDArray[np.uint8]:
    """Return images (rows, columns, height, width) as one image from 0 to 255, separated by gray lines."""
    rows, columns, height, width = images.shape
    shades = np.where(np.isnan(images), GRAY, (255 * (images - low) / (high - low)).clip(0, 255).round())
    framed = np.pad(shades, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=GRAY)
    tiled = framed.transpose(0, 2, 1, 3).reshape(rows * (height + 1), columns * (width + 1))
    return np.pad(tiled, ((1, 0), (1, 0)), constant_values=GRAY).astype(np.uint8)

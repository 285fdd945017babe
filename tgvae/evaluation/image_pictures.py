"""Pictures made of images: blocks of tiles in greys, one below the other, each with its title in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from tgvae.evaluation.pictures import dressed, plain
from tgvae.evaluation.projections import Floats

INK = ((0, "#ffffff"), (1, "#000000"))
GREY = 128
WIDTH, NARROW, TALLEST = 1050, 580, 900
"""In screen pixels: of the picture on a wide page and on the narrowest one, and its height at most."""
TITLE = 26


@dataclass(frozen=True, eq=False)
class Block:
    """Images under one title.

    Attributes:
        title: what they are.
        images: with shape (rows, columns, height, width); NaN, for what is not known, is grey.
    """

    title: str
    images: Floats


def tiles(blocks: Sequence[Block], low: float = 0.0, high: float = 1.0) -> go.Figure:
    """Blocks of images below each other; ``low`` is white and ``high`` black, whatever is beyond is cut."""
    sheets = [sheet(block.images, low, high) for block in blocks]
    width = max(drawn.shape[1] for drawn in sheets)
    gap = TITLE * width / NARROW
    figure, top, notes = go.Figure(), 0.0, []
    for block, drawn in zip(blocks, sheets, strict=True):
        if block.title:
            top += gap
            notes.append(_title(block.title, top))
        figure.add_trace(_image(drawn, top))
        top += drawn.shape[0]
    dressed(figure, height=round(min(WIDTH * top / width, TALLEST)))
    figure.update_layout(annotations=notes, margin={"l": 0, "r": 0, "t": 0, "b": 0})
    figure.update_xaxes(visible=False, range=[0, width], constrain="domain", constraintoward="left")
    return figure.update_yaxes(visible=False, range=[top, 0], scaleanchor="x", constrain="domain")


def sheet(images: Floats, low: float = 0.0, high: float = 1.0) -> NDArray[np.uint8]:
    """Images (rows, columns, height, width) as one, in shades from 0 to 255, with grey lines around each."""
    rows, columns, height, width = images.shape
    shades = np.where(np.isnan(images), GREY, (255 * (images - low) / (high - low)).clip(0, 255).round())
    framed = np.pad(shades, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=GREY)
    tiled = framed.transpose(0, 2, 1, 3).reshape(rows * (height + 1), columns * (width + 1))
    return np.pad(tiled, ((1, 0), (1, 0)), constant_values=GREY).astype(np.uint8)


def _image(shades: NDArray[np.uint8], top: float) -> go.Heatmap:
    """Pixels one unit wide, the first at ``top``; they say nothing on hovering."""
    shown = {"zmin": 0, "zmax": 255, "colorscale": INK, "showscale": False, "hoverinfo": "skip"}
    return go.Heatmap(z=shades, x0=0.5, dx=1, y0=top + 0.5, dy=1, **shown)


def _title(text: str, bottom: float) -> dict[str, object]:
    place = {"x": 0, "y": bottom, "xanchor": "left", "yanchor": "bottom", "align": "left"}
    return {"text": plain(text), "showarrow": False} | place

"""Few labels and many images without: does a VAE of the images help a classifier?

Shape legend: N vectors, D values of each, Z latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from tgvae.applications.common import Shown, require
from tgvae.data.vectors import Vectors
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.metric import Metric, Metrics, Parts, Report
from tgvae.evaluation.plots.plot_style import figure_with_axes, styled_line
from tgvae.evaluation.vector_figures import embedded
from tgvae.models.vae import VectorVAE

Floats = NDArray[np.float32]
PER_CLASS = (1, 2, 5, 10)
DRAWS, COPIES, MAX_STEPS = 10, 10, 2000
PIXELS, COPIED, NOISY, LATENTS = "pixels", "pixels and VAE copies", "pixels and noisy copies", "latents of the VAE"
CAPTION = (
    "Accuracy on the test split of a logistic regression that is given few labels of each class; bars are standard "
    "errors over ten draws of which training images are labelled. The VAE has seen all training images, and no label. "
    "It may help in two ways: by copies of the labelled images, x' ~ p(x | z) with z ~ q(z | x), or by its latents in "
    "place of the pixels. Noisy copies change as many pixels as the VAE's copies do, at random ones."
)


def show(
    model: VectorVAE, data: Vectors, seed: int = 0, per_class: Sequence[int] = PER_CLASS, draws: int = DRAWS
) -> Shown:
    """Accuracy with few labels, from pixels alone and with the help of the VAE.

    Raises:
        UserError: the data has no labels, or a class has too few.
    """
    require("augmentation", model.config, data)
    report: Report = {}
    for count in per_class:
        found = [accuracies(model, data, count, seed + draw) for draw in range(draws)]
        report[f"labels per class: {count}"] = figures_of(found, seed)
    return Shown("A classifier with few labels", curves(per_class, report), CAPTION, report)


def curves(per_class: Sequence[int], report: Report) -> go.Figure:
    """Accuracy over labels per class with standard errors, a line a way, from a section of figures for each number."""
    lines = []
    for look, name in enumerate((PIXELS, COPIED, NOISY, LATENTS)):
        found = [section[name] for section in report.values()]
        hover = [f"{name}<br>labels per class: {n}<br>{f.value:.1%}" for n, f in zip(per_class, found, strict=True)]
        bars = {"type": "data", "array": [figure.error or 0 for figure in found]}
        lines.append(styled_line(per_class, [figure.value for figure in found], name, look, hover, error_y=bars))
    picture = figure_with_axes(lines, "labels per class", "accuracy", height=480).update_yaxes(tickformat=".0%")
    return picture.update_xaxes(type="log", tickvals=list(per_class))


def figures_of(found: Sequence[dict[str, float]], seed: int) -> Metrics:
    """Means over draws of the labelled images, with their standard errors."""
    how = f"logistic regression, mean of {len(found)} draws of the labelled images"
    return {
        name: Metric.of(Parts.mean([accuracy[name] for accuracy in found]), "accuracy on test", how, seed)
        for name in found[0]
    }


def accuracies(model: VectorVAE, data: Vectors, per_class: int, seed: int) -> dict[str, float]:
    """Test accuracy in every way, for one draw of ``per_class`` labelled training images of each class."""
    train, test = data.splits["train"], data.splits["test"]
    assert train.labels is not None
    kept = chosen(train.labels, per_class, seed)
    labels = train.labels[kept]
    few = replace(train, x=train.x[kept], labels=labels)
    repeated, more = np.tile(few.x, (COPIES, 1)), np.tile(labels, 1 + COPIES)
    copied = copies(model, repeated, seed)
    noisy = noise_like(copied, repeated, model.config.likelihood == "bernoulli", seed)
    ways = {
        PIXELS: (few.x, labels, test.x),
        COPIED: (np.concatenate((few.x, copied)), more, test.x),
        NOISY: (np.concatenate((few.x, noisy)), more, test.x),
        LATENTS: (embedded(model, few), labels, embedded(model, test)),
    }
    return {
        name: float(LogisticRegression(max_iter=MAX_STEPS).fit(x, y).score(asked, test.labels))
        for name, (x, y, asked) in ways.items()
    }


def chosen(labels: NDArray[np.str_], per_class: int, seed: int) -> NDArray[np.bool_]:
    """``per_class`` vectors of each class, drawn with equal chances, (N,); fewer are some of those for more.

    Raises:
        UserError: a class has not so many.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    found = np.zeros(len(labels), bool)
    for name in np.unique(labels):
        rows = order[labels[order] == name]
        if len(rows) < per_class:
            raise UserError(f"class {name} has {len(rows)} training images, not {per_class} to label; give more images")
        found[rows[:per_class]] = True
    return found


def copies(model: VectorVAE, x: Floats, seed: int) -> Floats:
    """x' ~ p(x | z), z ~ q(z | x), for every row of x (N, D)."""
    with evaluating(model, seed):
        q = model.posterior(torch.from_numpy(x).to(model.device))
        assert q is not None
        return model.likelihood(q.sample()).sample().cpu().numpy()


def noise_like(copied: Floats, x: Floats, binary: bool, seed: int) -> Floats:
    """x (N, D) with as much noise as copies of it have: so many values of 0 and 1 flipped, or of such a variance."""
    rng = np.random.default_rng(seed)
    if binary:
        return np.where(rng.random(x.shape) < np.mean(copied != x), 1 - x, x)
    return (x + rng.normal(0, np.sqrt(np.mean((copied - x) ** 2)), x.shape)).astype(np.float32)

"""Finding what training never had: one class is left out, and the bound on -log p(x) is the score of strangeness.

Shape legend: N test vectors.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score, roc_curve

from tgvae.applications.common import IW_SAMPLES, Shown, as_seen, left_out, require
from tgvae.data.vectors import Vectors, VectorSplit, open_vectors
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import bound_of, importance_weighted_nll
from tgvae.evaluation.links import RESAMPLES, bootstrap_error
from tgvae.evaluation.metric import Metric, Metrics
from tgvae.evaluation.plots.plot_style import figure_with_axes, styled_line
from tgvae.models.vae import VectorVAE

Floats = NDArray[np.float64]
CHANCE_LOOK = 6  # grey and dotted
CAPTION = (
    "Each curve is a score of strangeness. Going up a curve, more images are called strange: how many of the class "
    "that training never had are found, against how many of all other test images are called strange wrongly. The "
    "upper left corner is perfect, the dotted diagonal is chance. A likelihood is no sure sign of strangeness: simple "
    "images may be probable under a model that has never seen their like."
)


def show(model: VectorVAE, data: Vectors, seed: int = 0) -> Shown:
    """ROC curves of the left-out class against the rest of the test split, by bounds and by scores without a VAE.

    Raises:
        UserError: no class was left out, or the test split has nothing else.
    """
    require("anomalies", model.config, data)
    label, test = left_out(data), strange_and_others(model, data)
    strange = np.asarray(test.labels == label)
    if strange.all():
        raise UserError(
            f"anomalies needs other classes than {label} in the test split of {data.source}: give more data"
        )
    scores = strangeness(model, data, test, seed)
    report = {f"telling class {label}": auc_figures(strange, scores, seed)}
    return Shown(f"Class {label}, never seen in training", roc_curves(strange, scores), CAPTION, report)


def auc_figures(strange: NDArray[np.bool_], scores: dict[str, Floats], seed: int) -> Metrics:
    """The chance that a strange vector has a higher score than another one, by score, beside that of a blind score."""
    how = f"{np.count_nonzero(strange)} of the class; bootstrap error, {RESAMPLES} draws"
    found = {}
    for name, score in scores.items():
        error = bootstrap_error(roc_auc_score, strange.astype(float), score, seed)
        area = float(roc_auc_score(strange, score))
        found[name] = Metric(area, "area under the ROC curve", how, len(score), seed, error, baselines={"chance": 0.5})
    return found


def strange_and_others(model: VectorVAE, data: Vectors) -> VectorSplit:
    """The vectors of other classes in the test split, and all of the class left out: training had none of these."""
    name, _, label = data.source.partition(":not=")
    whole, test = as_seen(model, open_vectors(name)), data.splits["test"]
    parts = [(split, split.labels == label) for split in whole.splits.values()]
    parts.append((test, test.labels != label))
    x, labels = (np.concatenate([getattr(split, of)[rows] for split, rows in parts]) for of in ("x", "labels"))
    return replace(test, x=x, labels=labels)


def strangeness(model: VectorVAE, data: Vectors, test: VectorSplit, seed: int) -> dict[str, Floats]:
    """Scores of test vectors by name, each with shape (N,), higher for stranger ones."""
    train = data.splits["train"].x
    pca = PCA(min(model.config.latent_size, *train.shape), random_state=seed).fit(train)
    rebuilt = pca.inverse_transform(pca.transform(test.x))
    weighted = importance_weighted_nll(model, test, IW_SAMPLES, seed, unit="vector").bound
    return {
        f"VAE, IW {IW_SAMPLES}": weighted.total().numpy(),
        "VAE, -ELBO": bound_of(model, test, "vector", seed).total().numpy(),
        "PCA, squared error": np.square(test.x - rebuilt).sum(1).astype(np.float64),
        "isolation forest": -IsolationForest(random_state=seed).fit(train).score_samples(test.x),
    }


def roc_curves(strange: NDArray[np.bool_], scores: dict[str, Floats]) -> go.Figure:
    """A curve a score, from (0, 0) to (1, 1)."""
    lines = [styled_line([0, 1], [0, 1], "chance", CHANCE_LOOK, ["chance"] * 2, mode="lines")]
    for look, (name, score) in enumerate(scores.items()):
        wrong, found, _ = roc_curve(strange, score)
        hover = [f"{name}<br>found {f:.1%}<br>wrongly {w:.1%}" for f, w in zip(found, wrong, strict=True)]
        lines.append(styled_line(wrong, found, name, look, hover, mode="lines"))
    figure = figure_with_axes(lines, "others called strange", "found of the class", height=560)
    return figure.update_xaxes(tickformat=".0%").update_yaxes(tickformat=".0%")

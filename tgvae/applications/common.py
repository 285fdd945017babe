"""What a use of a model shows, what it needs of model and data, and the figures that several uses share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from tgvae.data.vectors import Space, Vectors, VectorSplit
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import bound_of, importance_weighted_nll
from tgvae.evaluation.metric import Metric, Metrics, Report
from tgvae.evaluation.projections import Floats
from tgvae.evaluation.vector_figures import row_of
from tgvae.models.vae import VectorConfig, VectorVAE

DISTRIBUTION = ("normal", "categorical")
LATENTS: dict[str, tuple[str, ...]] = {
    "samples": DISTRIBUTION,
    "manifold": ("normal",),
    "completion": DISTRIBUTION,
    "interpolation": (*DISTRIBUTION, "point"),
    "clusters": (*DISTRIBUTION, "point"),
    "anomalies": DISTRIBUTION,
    "augmentation": DISTRIBUTION,
    "rate-distortion": DISTRIBUTION,
}
"""The kinds of latent that a use can do with."""
LABELLED = ("clusters", "anomalies", "augmentation")
RATE, DISTORTION = "rate: KL", "distortion: -E log p(x|z)"
IW_SAMPLES = 100


@dataclass(frozen=True, eq=False)
class Shown:
    """One picture, how to read it, and its figures by section."""

    title: str
    picture: go.Figure
    caption: str
    report: Report


def require(use: str, config: VectorConfig, data: Vectors) -> None:
    """Raises UserError where a use makes no sense for a model or its data."""
    if config.latent not in LATENTS[use]:
        wanted = " or ".join(LATENTS[use])
        raise UserError(f"{use} needs a {wanted} latent, not a {config.latent} one; take a recipe such as digits-vae")
    if use == "manifold" and config.latent_size != 2:
        raise UserError(
            f"manifold needs a latent size of 2, not {config.latent_size}: train with --model.latent-size 2"
        )
    if use in LABELLED and data.splits["train"].labels is None:
        raise UserError(f"{use} needs labels, and {data.source} has none; save them as the array labels of the .npz")
    if use in ("clusters", "augmentation") and left_out(data):
        raise UserError(f"{use} wants every class; train on the data without :not={left_out(data)}")
    if use == "anomalies" and left_out(data) is None:
        raise UserError(f"anomalies needs a model that has not seen one class: train it on {data.source}:not=LABEL")


def left_out(data: Vectors) -> str | None:
    """The class that the training split lacks, as ``SOURCE:not=LABEL`` says it."""
    return data.source.partition(":not=")[2] or None


def as_seen(model: VectorVAE, data: Vectors) -> Vectors:
    """The data as the model learns from it: values of 0 and 1 for a Bernoulli likelihood."""
    return replace(data, splits={name: model.examples(split) for name, split in data.splits.items()})


def as_images(x: Tensor | Floats, space: Space) -> Floats:
    """Vectors (..., D) as images (..., height, width)."""
    return np.asarray(x).reshape(*x.shape[:-1], *space.grid)


def shades(data: Vectors) -> tuple[float, float]:
    """Least and largest value in training: white and black."""
    x = data.splits["train"].x
    return (float(x.min()), float(x.max())) if x.min() < x.max() else (0.0, 1.0)


def bound_figures(model: VectorVAE, test: VectorSplit, seed: int, samples: int = 0) -> Metrics:
    """Rate, distortion and -ELBO of a split, and the importance-weighted bound where ``samples`` are asked for."""
    bound, unit = bound_of(model, test, "vector", seed), f"nats per {row_of(model)}"
    found = {
        RATE: Metric.of(bound.parts("row", "kl/"), unit, "closed form"),
        DISTORTION: Metric.of(bound.parts("row", "nll/"), unit, "one draw", seed),
        "-ELBO": Metric.of(bound.parts("row"), unit, "one draw", seed),
    }
    if samples:
        weighted = importance_weighted_nll(model, test, samples, seed, unit="vector").bound
        found[f"nll, IW {samples}"] = Metric.of(weighted.parts("row"), unit, f"{samples} draws", seed)
    return found

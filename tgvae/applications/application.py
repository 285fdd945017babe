"""What an application of trained VAEs returns and requires, and helpers that several applications share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from tgvae.data.vectors import Space, Vectors, VectorSplit
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import bound_of, importance_weighted_nll
from tgvae.evaluation.metric import Metric, Metrics, Report
from tgvae.evaluation.projections import Floats
from tgvae.evaluation.vector_metrics import row_of
from tgvae.models.vae import VectorConfig, VectorVAE
from tgvae.recipes import Recipe

WITH_PRIOR = ("normal", "categorical")
IW_SAMPLES = 100


@dataclass(frozen=True, eq=False)
class Result:
    """A figure with title and caption, and metrics by section."""

    title: str
    figure: go.Figure
    caption: str
    report: Report


@dataclass(frozen=True)
class Application:
    """A use of one or several VAEs.

    Attributes:
        function: computes the result from models, data and a seed.
        latents: kinds of latent that it supports.
        latent_size: the only size that it supports, if any.
        classes: labels that it needs: none, those of all classes, or with one class held out of training.
        recipes: changes a recipe into those of all models to train, by suffix of their run folders.
    """

    function: Callable[[Sequence[VectorVAE], Vectors, int], Result]
    latents: tuple[str, ...] = WITH_PRIOR
    latent_size: int | None = None
    classes: Literal["", "all", "one held out"] = ""
    recipes: Callable[[Recipe], dict[str, Recipe]] = lambda recipe: {"": recipe}

    def require(self, name: str, config: VectorConfig, data: Vectors) -> None:
        """Raise UserError if the application is not possible for a model or its data."""
        if config.latent not in self.latents:
            latents = " or ".join(self.latents)
            raise UserError(
                f"{name} needs a {latents} latent, not a {config.latent} one; use a recipe such as digits-vae"
            )
        if self.latent_size not in (None, config.latent_size):
            size = self.latent_size
            raise UserError(
                f"{name} needs a latent size of {size}, not {config.latent_size}: train with --model.latent-size {size}"
            )
        if self.classes and data.splits["train"].labels is None:
            raise UserError(
                f"{name} needs labels, and {data.source} has none; save them as the array labels of the .npz"
            )
        if self.classes == "all" and held_out_class(data):
            raise UserError(f"{name} needs every class; train on the data without :not={held_out_class(data)}")
        if self.classes == "one held out" and held_out_class(data) is None:
            raise UserError(
                f"{name} needs a model whose training had no examples of one class: train it on {data.source}:not=LABEL"
            )


def held_out_class(data: Vectors) -> str | None:
    """Return the class without training examples, which the source ``NAME:not=LABEL`` declares."""
    return data.source.partition(":not=")[2] or None


def model_inputs(model: VectorVAE, data: Vectors) -> Vectors:
    """Return the data as the model reads it: binary values for a Bernoulli likelihood."""
    return replace(data, splits={name: model.examples(split) for name, split in data.splits.items()})


def as_images(x: Tensor | Floats, space: Space) -> Floats:
    """Return vectors (..., D) as images (..., height, width)."""
    return np.asarray(x).reshape(*x.shape[:-1], *space.grid)


def value_range(data: Vectors) -> tuple[float, float]:
    """Return the smallest and the largest training value, which plots show in white and in black."""
    x = data.splits["train"].x
    return (float(x.min()), float(x.max())) if x.min() < x.max() else (0.0, 1.0)


def bound_metrics(model: VectorVAE, test: VectorSplit, seed: int, samples: int = 0) -> Metrics:
    """Return rate, distortion and -ELBO, and with ``samples`` the importance-weighted bound."""
    bound, unit = bound_of(model, test, "vector", seed), f"nats per {row_of(model)}"
    metrics = {
        "rate": Metric.of(bound.parts("row", "kl/"), unit, "closed form"),
        "distortion": Metric.of(bound.parts("row", "nll/"), unit, "one draw", seed),
        "neg_elbo": Metric.of(bound.parts("row"), unit, "one draw", seed),
    }
    if samples:
        weighted = importance_weighted_nll(model, test, samples, seed, unit="vector").bound
        metrics["nll_iw"] = Metric.of(weighted.parts("row"), unit, f"{samples} draws", seed)
    names = {"rate": "rate: KL", "distortion": "distortion: -E log p(x|z)", "neg_elbo": "-ELBO"}
    return {id_: replace(m, name=names.get(id_, f"nll, IW {samples}")) for id_, m in metrics.items()}

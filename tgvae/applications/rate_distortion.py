"""How much a latent tells against how well it rebuilds: one VAE for each weight beta of the KL.

    -log p(x) <= rate + distortion,   rate = KL(q(z|x) || p(z)),   distortion = -E_q log p(x|z)

(Alemi et al. 2018, arXiv 1711.00464; beta as in Higgins et al. 2017.) Points of equal ELBO lie on lines of slope -1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from tgvae.applications.common import DISTORTION, RATE, Shown, bound_figures, require
from tgvae.data.vectors import Vectors
from tgvae.evaluation.latent import ACTIVE_VARIANCE, active_units
from tgvae.evaluation.metric import Metric, Metrics
from tgvae.evaluation.plots.plot_style import figure_with_axes, styled_line
from tgvae.evaluation.vector_figures import gaussians, row_of
from tgvae.models.vae import VectorVAE

BETAS = (0.1, 0.22, 0.46, 1.0, 2.2, 4.6, 10.0)
"""Evenly spread in their logarithms."""
LINES, EQUAL_LOOK = 5, 6  # grey and dotted
CAPTION = (
    "Every mark is a VAE trained with another weight beta of the KL, its number beside it, measured on the test "
    "split: to the right the latent tells more nats of an image, downwards fewer are missing to rebuild it. Along a "
    "dotted line the ELBO is the same, and lines farther down and left are better: the VAE with beta 1 was trained "
    "for that. A large beta switches units of the latent off. The images have no known factors, so there is no score "
    "of disentanglement; the total correlation says how far the units are from independent over all images, were they "
    "Gaussian together."
)


def show(models: Sequence[VectorVAE], data: Vectors, seed: int = 0) -> Shown:
    """Rate and distortion of a model for every one of ``BETAS``.

    Raises:
        UserError: a deterministic autoencoder, which has no rate.
    """
    report = {}
    for beta, model in zip(BETAS, models, strict=True):
        require("rate-distortion", model.config, data)
        test = data.splits["test"]
        report[f"beta {beta:g}"] = bound_figures(model, test, seed) | unit_figures(model, data)
    rate, distortion = ([figures[name].value for figures in report.values()] for name in (RATE, DISTORTION))
    return Shown("Rate and distortion", curve(BETAS, rate, distortion), CAPTION, report)


def unit_figures(model: VectorVAE, data: Vectors) -> Metrics:
    """Active units and total correlation on the test split; none where the latent is not normal."""
    if model.config.latent != "normal":
        return {}
    found = gaussians(model, data.splits["test"])
    size, row = len(found), row_of(model)
    how = f"variance of posterior means > {ACTIVE_VARIANCE}"
    together = f"aggregate posterior of {row}s, taken as Gaussian"
    return {
        "active units": Metric(active_units(found.loc), f"of {model.config.latent_size}", how, size),
        "total correlation of the aggregate": Metric(total_correlation(found.loc, found.scale), "nats", together, size),
    }


def total_correlation(loc: Tensor, scale: Tensor) -> float:
    """Of 1/N sum_n N(loc_n, diag scale_n^2), loc and scale (N, Z), were it one Gaussian with its covariance C, in nats.

    1/2 (sum_j log C_jj - log det C),   C = cov(loc) + diag mean(scale^2)
    """
    centred = loc - loc.mean(0)
    covariance = centred.T @ centred / len(loc) + scale.square().mean(0).diag()
    return max(0.0, 0.5 * (covariance.diagonal().log().sum() - torch.logdet(covariance)).item())


def curve(betas: Sequence[float], rate: Sequence[float], distortion: Sequence[float]) -> go.Figure:
    """A point a model with its beta beside it, and dotted lines of equal ELBO between the best and the worst."""
    totals = np.add(rate, distortion)
    right = 1.1 * max(rate)
    lines: list[go.Scatter] = []
    for total in np.linspace(totals.min(), totals.max(), LINES):
        hover = [f"-ELBO {total:.2f} nats"] * 2
        shown = {"mode": "lines", "legendgroup": "equal", "showlegend": not lines}
        lines.append(styled_line([0, right], [total, total - right], "equal ELBO", EQUAL_LOOK, hover, **shown))
    hover = [
        f"beta {beta:g}<br>rate {r:.2f}<br>distortion {d:.2f}<br>-ELBO {r + d:.2f}"
        for beta, r, d in zip(betas, rate, distortion, strict=True)
    ]
    sides = [f"{('top', 'bottom')[i % 2]} right" for i in range(len(betas))]  # large ones lie on each other
    shown = {"mode": "lines+markers+text", "text": [f"{beta:g}" for beta in betas], "textposition": sides}
    lines.append(styled_line(rate, distortion, "VAEs by beta", 0, hover, **shown))
    spare = 0.08 * (max(distortion) - min(distortion)) or 1.0
    figure = figure_with_axes(lines, "rate: KL in nats", "distortion: -E log p(x|z) in nats", height=560)
    figure.update_xaxes(range=[0, right])
    return figure.update_yaxes(range=[min(distortion) - spare, max(distortion) + spare])

"""The trade-off of rate and distortion: one VAE per weight beta of the KL.

    -log p(x) <= rate + distortion,   rate = KL(q(z|x) || p(z)),   distortion = -E_q log p(x|z)

(Alemi et al. 2018, arXiv 1711.00464; beta as in Higgins et al. 2017.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tgvae.applications.application import Result, bound_metrics
from tgvae.data.vectors import Vectors
from tgvae.evaluation.latent import ACTIVE_VARIANCE, active_units
from tgvae.evaluation.metric import Metric, Metrics
from tgvae.evaluation.plots.training_plots import rate_distortion as plot_rate_distortion
from tgvae.evaluation.vector_metrics import gaussians, row_of
from tgvae.models.vae import VectorVAE

BETAS = (0.1, 0.22, 0.46, 1.0, 2.2, 4.6, 10.0)
"""Evenly spaced in their logarithms."""
EQUAL_ELBO_LINES = 5
CAPTION = (
    "Each point is a VAE trained with the weight beta of the KL next to it, measured on the test split: rate (x) is "
    "the information in the latent, distortion (y) the reconstruction error. The ELBO is constant along a dotted "
    "line; lower left is better, and beta = 1 optimises it. The total correlation measures the dependence of the "
    "latent units under a Gaussian approximation."
)


def rate_distortion(models: Sequence[VectorVAE], data: Vectors, seed: int = 0) -> Result:
    """Plot rate and distortion of one model for each of ``BETAS``."""
    test, report = data.splits["test"], {}
    for beta, model in zip(BETAS, models, strict=True):
        report[f"beta {beta:g}"] = bound_metrics(model, test, seed) | unit_metrics(model, data)
    rate, distortion = ([metrics[id_].value for metrics in report.values()] for id_ in ("rate", "distortion"))
    labels = [f"{beta:g}" for beta in BETAS]
    figure = plot_rate_distortion(rate, distortion, list(report), labels, EQUAL_ELBO_LINES)
    return Result("Rate and distortion", figure, CAPTION, report)


def unit_metrics(model: VectorVAE, data: Vectors) -> Metrics:
    """Return active units and total correlation on the test split; nothing for a latent that is not normal."""
    if model.config.latent != "normal":
        return {}
    found = gaussians(model, data.splits["test"])
    size, active = len(found), active_units(found.loc)
    correlation = total_correlation(found.loc, found.scale)
    how = f"variance of posterior means > {ACTIVE_VARIANCE}"
    approximation = f"aggregate posterior of {row_of(model)}s, Gaussian approximation"
    return {
        "active_units": Metric(active, f"of {model.config.latent_size}", how, size, name="active units"),
        "total_correlation": Metric(correlation, "nats", approximation, size, name="total correlation"),
    }


def total_correlation(loc: Tensor, scale: Tensor) -> float:
    """Return the total correlation in nats of 1/N sum_n N(loc_n, diag scale_n^2), approximated by one Gaussian.

    1/2 (sum_j log C_jj - log det C),   C = cov(loc) + diag mean(scale^2)

    Args:
        loc: with shape (N, Z).
        scale: with shape (N, Z).
    """
    centered = loc - loc.mean(0)
    covariance = centered.T @ centered / len(loc) + scale.square().mean(0).diag()
    return max(0.0, 0.5 * (covariance.diagonal().log().sum() - torch.logdet(covariance)).item())

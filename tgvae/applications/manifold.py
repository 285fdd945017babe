"""The plane of a latent of two dimensions, decoded (Kingma & Welling 2014, arXiv 1312.6114, fig. 4)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from tgvae.applications.common import IW_SAMPLES, Shown, as_images, bound_figures, require, shades
from tgvae.data.vectors import Vectors
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.plots.latent_plots import ImageGrid, image_grids
from tgvae.models.vae import VectorVAE

SIDE = 20
CAPTION = (
    "Every image is decoded from a place in the plane of the latent: the first dimension grows to the right, the "
    "second upwards. Places are quantiles of the prior, so that each image stands for the same share of it. "
    "Neighbours are alike, and one class passes into the next through shapes between them."
)


def show(model: VectorVAE, data: Vectors, seed: int = 0) -> Shown:
    """The decoded plane, and the bounds of the model on the test split.

    Raises:
        UserError: the latent is not normal, or has not two dimensions.
    """
    require("manifold", model.config, data)
    images = as_images(manifold(model, SIDE, SIDE), model.space)
    title = f"E[x | z] at {SIDE} x {SIDE} quantiles of the prior"
    report = {"bound": bound_figures(model, data.splits["test"], seed, IW_SAMPLES)}
    return Shown("The latent plane, decoded", image_grids([ImageGrid(title, images)], *shades(data)), CAPTION, report)


def quantiles(count: int) -> NDArray[np.float64]:
    """z with P(Z < z) = (i + 1/2) / count, Z ~ N(0, 1), for i below ``count``, rising."""
    return np.asarray(ndtri((np.arange(count) + 0.5) / count))


def manifold(model: VectorVAE, rows: int, columns: int) -> Tensor:
    """E[x | z] at a grid of quantiles of the prior, z_1 rightwards and z_2 upwards: (rows, columns, D)."""
    down, across = (torch.from_numpy(quantiles(count)).float() for count in (rows, columns))
    second, first = torch.meshgrid(down.flip(0), across, indexing="ij")
    with evaluating(model, seed=0):
        return model.likelihood(torch.stack((first, second), -1).to(model.device)).mean.cpu()

"""From one image to another: along the straight line in latent space, beside the cross-fade of pixels.

Shape legend: P pairs, K steps, D values of a vector.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from tgvae.applications.common import Shown, as_images, require, shades
from tgvae.data.dataset import Ints
from tgvae.data.vectors import Vectors
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.metric import Metric, Parts
from tgvae.evaluation.plots.latent_plots import ImageGrid, image_grids
from tgvae.evaluation.vector_figures import row_of
from tgvae.models.text_generation import interpolate
from tgvae.models.vae import VectorVAE

PAIRS, STEPS = 6, 11
CAPTION = (
    "From one test image to another in eleven steps. In the upper row of each pair their latents are mixed and "
    "decoded, so that both ends are reconstructions; in the lower row their pixels are mixed. Pairs are drawn, not "
    "chosen. The figure tells how far from the nearest training image it is half way in latent space, beside the same "
    "for the cross-fade of pixels, and for test images: real ones are about so far from one another."
)


def show(model: VectorVAE, data: Vectors, seed: int = 0) -> Shown:
    """Some pairs of test images of different classes (of any, where there are none), and a figure over all pairs.

    Raises:
        UserError: no two test images are of different classes.
    """
    require("interpolation", model.config, data)
    test, half = data.splits["test"], STEPS // 2
    ends = pairs(test.labels, len(test.x), seed)
    first, last = (torch.from_numpy(test.x[rows]) for rows in ends)
    latent, pixels = line(model, first, last, STEPS), straight(first, last, STEPS)
    apart = {
        name: strangeness(x if x is test.x else seen_as(model, x, seed), data)
        for name, x in {"latent": latent[half].numpy(), "cross-fade": pixels[half].numpy(), "test": test.x}.items()
    }
    binary, row = model.config.likelihood == "bernoulli", row_of(model)
    figure = Metric.of(
        Parts.mean(apart["latent"]),
        "share of values that differ" if binary else "mean squared difference of a value",
        f"nearest of the training {row}s; half way {'drawn from' if binary else 'at'} the mean",
        seed,
        cross_fade=apart["cross-fade"].mean(),
        **{f"test {row}s": apart["test"].mean()},
    )
    images = as_images(torch.stack((latent, pixels))[:, :, :PAIRS].transpose(0, 2), model.space)
    blocks = [
        ImageGrid(title, rows) for title, rows in zip(_titles(test.labels, ends), images.swapaxes(1, 2), strict=False)
    ]
    report = {"half way": {"distance to the nearest training image": figure}}
    return Shown("From one image to another", image_grids(blocks, *shades(data)), CAPTION, report)


def pairs(labels: NDArray[np.str_] | None, count: int, seed: int) -> tuple[Ints, Ints]:
    """First and last vectors of random pairs, every one of ``count`` vectors in at most one pair.

    Raises:
        UserError: there is no pair of different classes.
    """
    order = np.random.default_rng(seed).permutation(count)
    first, last = order[: count // 2], order[count // 2 : count // 2 * 2]
    if labels is not None:
        different = labels[first] != labels[last]
        first, last = first[different], last[different]
    if not len(first):
        raise UserError("interpolation needs two test vectors of different classes; give more vectors")
    return first, last


def line(model: VectorVAE, first: Tensor, last: Tensor, steps: int) -> Tensor:
    """E[x | z] for z on the straight line between E[z | first] and E[z | last] (P, D), with shape (K, P, D)."""
    with evaluating(model, seed=0):
        a, b = (model.embed(x.to(model.device)) for x in (first, last))
        return model.likelihood(straight(a, b, steps)).mean.cpu()


def straight(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Straight lines from a to b (P, ...), both ends included, with shape (K, P, ...)."""
    return interpolate(a.flatten(), b.flatten(), steps).unflatten(-1, a.shape)


def seen_as(model: VectorVAE, mean: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Means as data looks: values of 0 and 1 drawn where the likelihood is Bernoulli."""
    if model.config.likelihood == "normal":
        return mean
    return (np.random.default_rng(seed).random(mean.shape) < mean).astype(np.float32)


def strangeness(x: NDArray[np.float32], data: Vectors) -> NDArray[np.float64]:
    """Mean squared difference of each row of x (N, D) to the training vector nearest to it, with shape (N,)."""
    nearest = NearestNeighbors(n_neighbors=1).fit(data.splits["train"].x)
    return np.square(nearest.kneighbors(x)[0][:, 0]) / x.shape[1]


def _titles(labels: NDArray[np.str_] | None, ends: tuple[Ints, Ints]) -> list[str]:
    """A title for every pair."""
    if labels is None:
        return [f"Pair {number}: latents above, pixels below" for number in range(1, len(ends[0]) + 1)]
    return [f"{a} to {b}: latents above, pixels below" for a, b in zip(*(labels[rows] for rows in ends), strict=True)]

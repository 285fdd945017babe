"""Images decoded from chosen latents: samples from the prior, the latent plane, and interpolations.

Shape legend: P pairs, K steps, D values per vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from tgvae.applications.application import IW_SAMPLES, Result, as_images, bound_metrics, value_range
from tgvae.data.dataset import Ints
from tgvae.data.vectors import Vectors
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.metric import Metric, Parts
from tgvae.evaluation.plots.latent_plots import ImageGrid, image_grids
from tgvae.evaluation.vector_metrics import row_of
from tgvae.models.vae import VectorVAE

LATENT_SIZES = (2, 5, 10, 20)
SAMPLE_ROWS, SAMPLE_COLUMNS = 3, 20
GRID_SIZE = 20
SHOWN_PAIRS, STEPS = 6, 11
SAMPLES_CAPTION = (
    "Each image is the decoder mean E[x | z] of a sample z from the prior. The titles give bounds on -log p(x) of "
    "test images in nats; lower is better, and the importance-weighted bound is tighter."
)
MANIFOLD_CAPTION = (
    "Each image is decoded from a point of the latent plane: the first dimension increases to the right, the second "
    "upwards. The points are quantiles of the prior, so that all images represent equal probability."
)
INTERPOLATION_CAPTION = (
    "Upper row of each pair: interpolated latents, decoded. Lower row: interpolated pixels. The pairs are a random "
    "sample of test images. The metric is the distance of the halfway image to the nearest training image; values as "
    "small as that of real test images mean realistic images."
)


def samples(models: Sequence[VectorVAE], data: Vectors, seed: int = 0) -> Result:
    """Plot samples of models with different latent sizes, and compute their bounds on the test split."""
    grids, report = [], {}
    for model in models:
        metrics = bound_metrics(model, data.splits["test"], seed, IW_SAMPLES)
        section = f"latent size {model.config.latent_size}"
        bounds = f"-ELBO {metrics['neg_elbo'].value:.2f} nats, importance-weighted {metrics['nll_iw'].value:.2f}"
        images = as_images(model.sample(SAMPLE_ROWS * SAMPLE_COLUMNS, seed), model.space)
        images = images.reshape(SAMPLE_ROWS, SAMPLE_COLUMNS, *model.space.grid)
        grids.append(ImageGrid(f"{section.capitalize()}: {bounds}", images))
        report[section] = metrics
    return Result("Samples from the prior", image_grids(grids, *value_range(data)), SAMPLES_CAPTION, report)


def manifold(models: Sequence[VectorVAE], data: Vectors, seed: int = 0) -> Result:
    """Plot the decoded plane of a two-dimensional latent (Kingma & Welling 2014, arXiv 1312.6114, fig. 4)."""
    (model,) = models
    images = as_images(decode_plane(model, GRID_SIZE, GRID_SIZE), model.space)
    grid = ImageGrid(f"E[x | z] at {GRID_SIZE} x {GRID_SIZE} quantiles of the prior", images)
    report = {"bound": bound_metrics(model, data.splits["test"], seed, IW_SAMPLES)}
    return Result("Decoded latent plane", image_grids([grid], *value_range(data)), MANIFOLD_CAPTION, report)


def decode_plane(model: VectorVAE, rows: int, columns: int) -> Tensor:
    """Return E[x | z] at a grid of quantiles of N(0, I), z_1 to the right and z_2 upwards: (rows, columns, D)."""
    down, across = (torch.from_numpy(normal_quantiles(count)).float() for count in (rows, columns))
    second, first = torch.meshgrid(down.flip(0), across, indexing="ij")
    with evaluating(model, seed=0):
        return model.likelihood(torch.stack((first, second), -1).to(model.device)).mean.cpu()


def normal_quantiles(count: int) -> NDArray[np.float64]:
    """Return the ``count`` values z with P(Z < z) = (i + 1/2) / count for Z ~ N(0, 1)."""
    return np.asarray(ndtri((np.arange(count) + 0.5) / count))


def interpolation(models: Sequence[VectorVAE], data: Vectors, seed: int = 0) -> Result:
    """Plot interpolations between test images of different classes, in latent space and in pixels."""
    (model,) = models
    test, half = data.splits["test"], STEPS // 2
    ends = random_pairs(test.labels, len(test.x), seed)
    first, last = (torch.from_numpy(test.x[rows]) for rows in ends)
    latent, pixels = decode_line(model, first, last, STEPS), straight_line(first, last, STEPS)
    halfway = {
        name: distance_to_training(_as_data(model, line[half].numpy(), seed), data)
        for name, line in {"latent": latent, "pixels": pixels}.items()
    }
    binary, row = model.config.likelihood == "bernoulli", row_of(model)
    metric = Metric.of(
        Parts.mean(halfway["latent"]),
        "share of values that differ" if binary else "mean squared difference of a value",
        f"halfway {'sample' if binary else 'mean'} to the nearest training {row}",
        seed,
        pixel_interpolation=float(halfway["pixels"].mean()),
        test_images=float(distance_to_training(test.x, data).mean()),
    )
    images = as_images(torch.stack((latent, pixels))[:, :, :SHOWN_PAIRS].transpose(0, 2), model.space)
    titles = _pair_titles(test.labels, ends)[:SHOWN_PAIRS]
    grids = [ImageGrid(title, pair) for title, pair in zip(titles, images.swapaxes(1, 2), strict=True)]
    report = {"halfway": {"distance": replace(metric, name="distance to the nearest training image")}}
    return Result("Interpolation of images", image_grids(grids, *value_range(data)), INTERPOLATION_CAPTION, report)


def random_pairs(labels: NDArray[np.str_] | None, count: int, seed: int) -> tuple[Ints, Ints]:
    """Return first and last index of random pairs of different classes; each of ``count`` vectors is used at most once.

    Raises:
        UserError: all vectors have the same class.
    """
    order = np.random.default_rng(seed).permutation(count)
    first, last = order[: count // 2], order[count // 2 : count // 2 * 2]
    if labels is not None:
        different = labels[first] != labels[last]
        first, last = first[different], last[different]
    if not len(first):
        raise UserError("interpolation needs two test vectors of different classes; give more vectors")
    return first, last


def decode_line(model: VectorVAE, first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Return E[x | z] on the straight lines from E[z | first] to E[z | last] (P, D), with shape (K, P, D)."""
    with evaluating(model, seed=0):
        a, b = (model.embed(x.to(model.device)) for x in (first, last))
        return model.likelihood(straight_line(a, b, steps)).mean.cpu()


def straight_line(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Return ``steps`` points from a to b (P, ...), both ends included, with shape (K, P, ...)."""
    weights = torch.linspace(0, 1, steps, device=a.device)
    return torch.lerp(a, b, weights.view(-1, *[1] * a.dim()))


def distance_to_training(x: NDArray[np.float32], data: Vectors) -> NDArray[np.float64]:
    """Return the mean squared difference of each row of x (N, D) to its nearest training vector, with shape (N,)."""
    nearest = NearestNeighbors(n_neighbors=1).fit(data.splits["train"].x)
    return np.square(nearest.kneighbors(x)[0][:, 0]) / x.shape[1]


def _as_data(model: VectorVAE, mean: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Return means in the form of the data: binary samples for a Bernoulli likelihood."""
    if model.config.likelihood == "normal":
        return mean
    return (np.random.default_rng(seed).random(mean.shape) < mean).astype(np.float32)


def _pair_titles(labels: NDArray[np.str_] | None, ends: tuple[Ints, Ints]) -> list[str]:
    names = [f"Pair {i}" for i in range(1, len(ends[0]) + 1)]
    if labels is not None:
        names = [f"{a} to {b}" for a, b in zip(*(labels[rows] for rows in ends), strict=True)]
    return [f"{name}: latents above, pixels below" for name in names]

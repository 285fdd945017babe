"""Completion of the missing half of an image, compared with simple baselines.

Shape legend: N draws, B rows, D values per vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.distributions import Distribution

from tgvae.applications.application import Result, as_images, value_range
from tgvae.data.vectors import Space, Vectors
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.metric import Metric, Parts
from tgvae.evaluation.plots.latent_plots import ImageGrid, image_grids
from tgvae.evaluation.vector_metrics import independent_values
from tgvae.models.imputation import complete
from tgvae.models.vae import VectorVAE

DRAWS, STEPS, IMAGES = 32, 80, 200
SHOWN_IMAGES, SHOWN_DRAWS = 16, 4
NEIGHBOUR_COUNTS = (1, 3, 10, 30, 50, 100, 200)
CAPTION = (
    "Test images, not selected. Each of the four completions is sampled by its own Markov chain; where they differ, "
    "the known half does not determine the other half. The log-loss per missing pixel averages over all samples "
    "(lower is better). If few proposals are accepted, the chains have not converged and the samples are worse than "
    "the model."
)


def completion(models: Sequence[VectorVAE], data: Vectors, seed: int = 0) -> Result:
    """Plot completions of the lower half of test images, and compute metrics over the first 200 of them."""
    (model,) = models
    x, known = torch.from_numpy(data.splits["test"].x[:IMAGES]), upper_half(model.space)
    result = complete(model, x, known, DRAWS, STEPS, seed)
    with evaluating(model, seed):
        reconstruction, given_z = model.likelihood(model.embed(x)).mean, model.likelihood(result.z).base_dist
    rows = {
        "Original": x[None],
        "Known half": torch.where(known, x, torch.nan)[None],
        "Reconstruction of the whole image": reconstruction[None],
        "Four completions of the lower half": result.x[:SHOWN_DRAWS],
        f"Mean of {DRAWS} completions": torch.where(known, x, given_z.mean.mean(0))[None],
    }
    grids = [ImageGrid(title, as_images(images[:, :SHOWN_IMAGES], model.space)) for title, images in rows.items()]
    accepted = Metric(result.accepted, "share", f"{DRAWS} chains of {STEPS} steps", len(x), seed)
    metrics = {
        "log_loss": log_loss_metric(model, given_z, x, data, known, seed),
        "accepted": replace(accepted, name="proposals accepted"),
    }
    report = {"missing half": metrics}
    return Result("Completion of the lower half", image_grids(grids, *value_range(data)), CAPTION, report)


def upper_half(space: Space) -> Tensor:
    """Return a mask (D,) of the upper half of an image, or of the first half of a vector."""
    return torch.arange(space.size) < (space.size // 2 if not space.picture else space.grid[0] // 2 * space.grid[1])


def log_loss_metric(
    model: VectorVAE, given_z: Distribution, x: Tensor, data: Vectors, known: Tensor, seed: int
) -> Metric:
    """Return the log-loss of the unknown values of x (B, D); ``given_z`` is p(x | z) of the draws, (N, B, D)."""
    binary = model.config.likelihood == "bernoulli"
    train, valid = (torch.from_numpy(data.splits[split].x) for split in ("train", "valid"))

    def validation_loss(count: int) -> Tensor:
        return log_loss(nearest_neighbours(train, valid, known, count, binary), valid, known).mean()

    count = min(NEIGHBOUR_COUNTS, key=validation_loss)
    baselines = {
        "pixel_means": independent_values(train, binary).base_dist.expand((1, *x.shape)),
        "nearest_training_images": nearest_neighbours(train, x, known, count, binary),
    }
    losses = {name: log_loss(p, x, known).mean().item() for name, p in baselines.items()}
    how = f"mean of p(x|z) over {len(given_z.mean)} draws of z; {count} neighbours, by validation"
    metric = Metric.of(Parts.mean(log_loss(given_z, x, known)), "nats per missing value", how, seed, **losses)
    return replace(metric, name="log-loss")


def nearest_neighbours(train: Tensor, x: Tensor, known: Tensor, count: int, binary: bool) -> Distribution:
    """Return independent values (1, B, D) fitted to the ``count`` training vectors nearest to x in its known values."""
    nearest = NearestNeighbors(n_neighbors=min(count, len(train))).fit(train[:, known].numpy())
    found = train[torch.from_numpy(nearest.kneighbors(x[:, known].numpy())[1])]
    return independent_values(found.transpose(0, 1).double(), binary).base_dist.expand((1, *x.shape))


def log_loss(given: Distribution, x: Tensor, known: Tensor) -> Tensor:
    """Return -log 1/N sum_n p_n(x_d), the mean over the unknown values d of x (B, D), with shape (B,)."""
    log_p = given.log_prob(x).logsumexp(0) - math.log(len(given.mean))
    return -log_p[:, ~known].mean(1)

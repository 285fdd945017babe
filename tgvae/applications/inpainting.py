"""The missing half of an image, drawn given the other half; how well it is predicted, beside plain marks.

Shape legend: N draws, B rows, D values of a vector.
"""

from __future__ import annotations

import math

import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.distributions import Distribution

from tgvae.applications.common import Shown, as_images, require, shades
from tgvae.data.vectors import Space, Vectors
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.metric import Metric, Metrics, Parts
from tgvae.evaluation.plots.latent_plots import ImageGrid, image_grids
from tgvae.evaluation.vector_figures import independent_values
from tgvae.models.imputation import complete
from tgvae.models.vae import VectorVAE

DRAWS, STEPS, ROWS = 32, 80, 200
COLUMNS, DRAWN = 16, 4
NEIGHBOURS = (1, 3, 10, 30, 50, 100, 200)
CAPTION = (
    "Test images (the first ones of the split, which is in no order), what is kept of them, what the model makes of "
    "the whole image, and four draws of the lower half given the upper one, each from a chain of its own. Where draws "
    "differ, the upper half leaves it open. The log-loss is of single pixels, each averaged over all draws: beside it "
    "stand the means of pixels, and those of the training images whose upper halves are nearest. Where few proposals "
    "are accepted, chains are slow, and draws worse than the model."
)


def show(model: VectorVAE, data: Vectors, seed: int = 0) -> Shown:
    """Completions of the lower half of test images, and figures over the first 200 of them.

    Raises:
        UserError: a deterministic autoencoder, which has no distribution.
    """
    require("completion", model.config, data)
    x, known = torch.from_numpy(data.splits["test"].x[:ROWS]), upper_half(model.space)
    found = complete(model, x, known, DRAWS, STEPS, seed)
    with evaluating(model, seed):
        whole, given_z = model.likelihood(model.embed(x)).mean, model.likelihood(found.z).base_dist
    kept = torch.where(known, x, torch.nan)
    shown = {
        "Original": x[None],
        "What is kept": kept[None],
        "Reconstruction of the whole": whole[None],
        "Four completions of the lower half": found.x[:DRAWN],
        f"Mean of {DRAWS} completions": torch.where(known, x, given_z.mean.mean(0))[None],
    }
    blocks = [ImageGrid(title, as_images(rows[:, :COLUMNS], model.space)) for title, rows in shown.items()]
    accepted = Metric(found.accepted, "share", f"{DRAWS} chains of {STEPS} steps", len(x), seed)
    figures = prediction_figures(model, given_z, x, data, known, seed) | {"proposals accepted": accepted}
    return Shown(
        "The lower half, given the upper", image_grids(blocks, *shades(data)), CAPTION, {"missing half": figures}
    )


def upper_half(space: Space) -> Tensor:
    """True for the values of the upper half of a picture, or the first half of a vector, with shape (D,)."""
    return torch.arange(space.size) < (space.size // 2 if not space.picture else space.grid[0] // 2 * space.grid[1])


def prediction_figures(
    model: VectorVAE, given_z: Distribution, x: Tensor, data: Vectors, known: Tensor, seed: int
) -> Metrics:
    """Log-loss and error of what is not known of x (B, D); ``given_z`` is p(x | z) of the draws, (N, B, D) values."""
    binary = model.config.likelihood == "bernoulli"
    train, valid = (torch.from_numpy(data.splits[split].x) for split in ("train", "valid"))
    count = min(NEIGHBOURS, key=lambda k: log_loss(neighbours(train, valid, known, k, binary), valid, known).mean())
    of = {
        "model": given_z,
        "pixel means": independent_values(train, binary).base_dist.expand((1, *x.shape)),
        f"{count} nearest in training": neighbours(train, x, known, count, binary),
    }
    how = f"mean of p(x|z) over {len(given_z.mean)} draws of z; number of neighbours by validation"

    def figure(measured: dict[str, Tensor], unit: str) -> Metric:
        ours, *beside = measured
        marks = {name: measured[name].mean().item() for name in beside}
        return Metric.of(Parts.mean(measured[ours]), unit, how, seed, **marks)

    wrong, unit = ("wrong values", "share") if binary else ("squared error", "mean over missing values")
    return {
        "log-loss": figure({name: log_loss(dist, x, known) for name, dist in of.items()}, "nats per missing value"),
        wrong: figure({name: mistakes(dist, x, known, binary) for name, dist in of.items()}, unit),
    }


def neighbours(train: Tensor, x: Tensor, known: Tensor, count: int, binary: bool) -> Distribution:
    """What the ``count`` training vectors nearest to the known values of x (B, D) say of it: (1, B, D) values."""
    nearest = NearestNeighbors(n_neighbors=min(count, len(train))).fit(train[:, known].numpy())
    found = train[torch.from_numpy(nearest.kneighbors(x[:, known].numpy())[1])]
    return independent_values(found.transpose(0, 1).double(), binary).base_dist.expand((1, *x.shape))


def log_loss(given: Distribution, x: Tensor, known: Tensor) -> Tensor:
    """-log 1/N sum_n p_n(x_d), the mean over the values d of x (B, D) that are not known, with shape (B,)."""
    log_p = given.log_prob(x).logsumexp(0) - math.log(len(given.mean))
    return -log_p[:, ~known].mean(1)


def mistakes(given: Distribution, x: Tensor, known: Tensor, binary: bool) -> Tensor:
    """Share of the missing values that the mean over draws gets wrong, or its squared error, with shape (B,)."""
    mean = given.mean.mean(0)[:, ~known]
    missing = x[:, ~known]
    return ((mean > 0.5) != (missing > 0.5)).double().mean(1) if binary else (mean - missing).square().mean(1)

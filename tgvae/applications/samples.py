"""What a VAE imagines: samples from its prior, for several sizes of the latent."""

from __future__ import annotations

from collections.abc import Sequence

from tgvae.applications.common import IW_SAMPLES, Shown, as_images, bound_figures, require, shades
from tgvae.data.vectors import Vectors
from tgvae.evaluation.plots.latent_plots import ImageGrid, image_grids
from tgvae.models.vae import VectorVAE

SIZES = (2, 5, 10, 20)
ROWS, COLUMNS = 3, 20
CAPTION = (
    "Every image is what the decoder expects, E[x | z], of a latent z drawn from the prior. Beside each size of the "
    "latent stand its bounds on -log p of test images, in nats per image: lower is better, and the "
    "importance-weighted one (IW) is the tighter. A latent that is too small cannot tell all images apart; of one "
    "that is larger than needed only a part is used."
)


def show(models: Sequence[VectorVAE], data: Vectors, seed: int = 0) -> Shown:
    """Samples of every model in a block of their own, with its bounds on the test split.

    Raises:
        UserError: a deterministic autoencoder, which has no prior.
    """
    blocks, report = [], {}
    for model in models:
        require("samples", model.config, data)
        figures = bound_figures(model, data.splits["test"], seed, IW_SAMPLES)
        elbo, weighted = figures["-ELBO"].value, figures[f"nll, IW {IW_SAMPLES}"].value
        section = f"latent size {model.config.latent_size}"
        drawn = as_images(model.sample(ROWS * COLUMNS, seed), model.space)
        title = f"{section.capitalize()}: -ELBO {elbo:.2f} nats, importance-weighted {weighted:.2f}"
        blocks.append(ImageGrid(title, drawn.reshape(ROWS, COLUMNS, *model.space.grid)))
        report[section] = figures
    return Shown("Samples from the prior", image_grids(blocks, *shades(data)), CAPTION, report)

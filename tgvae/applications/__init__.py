"""Applications of trained VAEs of vectors, for `tgvae show`."""

from __future__ import annotations

from dataclasses import replace

from tgvae.applications.application import WITH_PRIOR, Application
from tgvae.applications.beta_sweep import BETAS, rate_distortion
from tgvae.applications.classes import anomalies, augmentation, clusters
from tgvae.applications.inpainting import completion
from tgvae.applications.sampling import LATENT_SIZES, interpolation, manifold, samples
from tgvae.models.vae import VectorConfig
from tgvae.recipes import Recipe, annealed, in_phases, weighted_latent


def _with_latent_sizes(recipe: Recipe, *sizes: int) -> dict[str, Recipe]:
    """Return the recipe with several latent sizes; the suffix is empty for the size that it has."""
    assert isinstance(recipe.model, VectorConfig)
    changed = (replace(recipe, model=replace(recipe.model, latent_size=size)) for size in sizes)
    return {"" if r == recipe else f"-latent-{size}": r for r, size in zip(changed, sizes, strict=True)}


def _with_betas(recipe: Recipe) -> dict[str, Recipe]:
    # Annealed: with a large weight of the KL from the start, training would ignore z.
    slow = in_phases(recipe, annealed)
    return {f"-beta-{beta:g}": weighted_latent(slow, beta) for beta in BETAS}


APPLICATIONS: dict[str, Application] = {
    "samples": Application(samples, recipes=lambda recipe: _with_latent_sizes(recipe, *LATENT_SIZES)),
    "manifold": Application(manifold, ("normal",), latent_size=2, recipes=lambda recipe: _with_latent_sizes(recipe, 2)),
    "completion": Application(completion),
    "interpolation": Application(interpolation, (*WITH_PRIOR, "point")),
    "clusters": Application(clusters, (*WITH_PRIOR, "point"), classes="all"),
    "anomalies": Application(anomalies, classes="one held out"),
    "augmentation": Application(augmentation, classes="all"),
    "rate-distortion": Application(rate_distortion, recipes=_with_betas),
}

"""`tgvae show`: what a VAE is used for, a command, a picture and figures for each use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import tyro

from tgvae.applications import (
    anomalies,
    augmentation,
    clusters,
    inpainting,
    interpolation,
    manifold,
    rate_distortion,
    samples,
)
from tgvae.applications.common import Shown, as_seen, left_out, require
from tgvae.cli import evaluate
from tgvae.cli.options import parse
from tgvae.cli.output import command, print_json, print_next_steps, table_console
from tgvae.data.vectors import Vectors, open_vectors
from tgvae.errors import UserError, meant
from tgvae.evaluation.html_report import definition_list, html_page, metric_tables, plots_html
from tgvae.evaluation.plots.catalog import Plot
from tgvae.evaluation.report_io import report_to_json
from tgvae.files import write_text
from tgvae.models.vae import VectorConfig, VectorVAE
from tgvae.progress import step
from tgvae.recipes import RECIPES, Recipe, annealed, in_phases, weighted_latent
from tgvae.runs import ensure_run, load_run, open_data, read_recipe

UseName = Literal[
    "samples",
    "manifold",
    "completion",
    "interpolation",
    "clusters",
    "anomalies",
    "augmentation",
    "rate-distortion",
]


@dataclass(frozen=True)
class Show:
    """Train what a use of a VAE needs, and show it: figures here, and a page with a picture in OUT/USE.html.

    Uses:
      samples          images from the prior, for latents of 2, 5, 10 and 20 dimensions
      manifold         the plane of a latent of two dimensions, decoded
      completion       the lower half of images, drawn given the upper one
      interpolation    from one image to another, in latent space and in pixels
      clusters         classes in latent space, never told to the model
      anomalies        a class that training never had, told by its bound
      augmentation     a classifier with few labels, and what the VAE adds
      rate-distortion  what the latent tells against what it rebuilds, for several beta

    Examples:
      tgvae show completion
      tgvae show samples --data mnist --out shown-mnist
      tgvae show clusters --run runs/digits-vae
    """

    use: tyro.conf.Positional[UseName]
    """What to show."""
    data: str | None = None
    """digits, mnist, or FILE.npz with an array x and perhaps labels; with --run, where its data is now."""
    out: Path = Path("shown")
    """Folder for the page and the runs; runs that are there are used again."""
    recipe: str = "digits-vae"
    """Recipe of vectors that all models are trained by."""
    epochs: int = 60
    """Of each model."""
    label: str = "8"
    """The class that `anomalies` leaves out of training."""
    seed: int = 0
    """Of training and of all draws."""
    run: Path | None = None
    """Show this run, where one model is enough, and train nothing."""
    json: bool = False
    """Print JSON."""


Models = Sequence[VectorVAE]


@dataclass(frozen=True)
class Use:
    """A function that shows models, and the models it wants: changes of a recipe, by name."""

    show: Callable[[Models, Vectors, int], Shown]
    changes: Callable[[Recipe], dict[str, Recipe]] = lambda recipe: {"": recipe}


def of_one(show: Callable[[VectorVAE, Vectors, int], Shown]) -> Callable[[Models, Vectors, int], Shown]:
    """For a use of one model."""
    return lambda models, data, seed: show(models[0], data, seed)


def with_latent_size(recipe: Recipe, *sizes: int) -> dict[str, Recipe]:
    """The recipe with latents of several sizes, under its own name for the size that it has."""
    assert isinstance(recipe.model, VectorConfig)
    changed = (replace(recipe, model=replace(recipe.model, latent_size=size)) for size in sizes)
    return {"" if r == recipe else f"-latent-{size}": r for r, size in zip(changed, sizes, strict=True)}


def with_betas(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe with several weights of the KL, annealed: with a large one from the start z would be given up."""
    slowly = in_phases(recipe, annealed)
    return {f"-beta-{beta:g}": weighted_latent(slowly, beta) for beta in rate_distortion.BETAS}


USES: dict[UseName, Use] = {
    "samples": Use(samples.show, lambda recipe: with_latent_size(recipe, *samples.SIZES)),
    "manifold": Use(of_one(manifold.show), lambda recipe: with_latent_size(recipe, 2)),
    "completion": Use(of_one(inpainting.show)),
    "interpolation": Use(of_one(interpolation.show)),
    "clusters": Use(of_one(clusters.show)),
    "anomalies": Use(of_one(anomalies.show)),
    "augmentation": Use(of_one(augmentation.show)),
    "rate-distortion": Use(rate_distortion.show, with_betas),
}


def main(arguments: Sequence[str]) -> None:
    options = parse(Show, "show", arguments)
    if options.run and (options.recipe, options.epochs, options.label) != (Show.recipe, Show.epochs, Show.label):
        raise UserError("--recipe, --epochs and --label are of training; leave them out, or --run")
    data, runs = fresh(options) if options.run is None else given(options.use, options.run, options.data)
    models = list(runs.values())
    with step(f"{options.use}, measured and drawn"):
        shown = USES[options.use].show(models, as_seen(models[0], data), options.seed)
    about = describe_use(options, data, list(runs))
    page = write(options.use, shown, about, options.out / f"{options.use}.html")
    if options.json:
        found = {"use": options.use, "page": str(page), **about, "sections": report_to_json(shown.report)}
        print_json(found)
        return
    evaluate.show({options.use: shown.report}, table_console())
    print_next_steps([page], ["open it in a browser", command("evaluate", next(iter(runs)))])


def fresh(options: Show) -> tuple[Vectors, dict[Path, VectorVAE]]:
    """Data, and the models that a use needs by run folder, trained unless they are there.

    Raises:
        UserError: a recipe, data or settings that the use can do nothing with, or folders that hold other runs.
    """
    recipe, use = recipe_of(options), USES[options.use]
    source = options.data or str(recipe.data)
    if options.use == "anomalies" and ":not=" not in source:
        source = f"{source}:not={options.label}"
    data = open_vectors(source)
    without = f"-without-{left_out(data)}" if left_out(data) else ""
    wanted = {options.out / "runs" / f"{options.recipe}{without}{name}": r for name, r in use.changes(recipe).items()}
    for changed in wanted.values():
        assert isinstance(changed.model, VectorConfig)
        require(options.use, changed.model, data)
    return data, {run: trained(changed, data.source, run) for run, changed in wanted.items()}


def given(use: UseName, run: Path, source: str | None) -> tuple[Vectors, dict[Path, VectorVAE]]:
    """Data and model of one run. Raises UserError for a use of several models, or a run on other data than vectors."""
    if use == "rate-distortion":
        raise UserError("rate-distortion compares models of several beta and trains them itself; leave out --run")
    data, model = open_data(run, source), load_run(run)
    if not (isinstance(data, Vectors) and isinstance(model, VectorVAE)):
        raise UserError(f"{run}: a {model.kind} has nothing to show here; give a run of a recipe such as digits-vae")
    return data, {run: model}


def recipe_of(options: Show) -> Recipe:
    """The recipe with the settings of the options. Raises UserError where it is none of vectors."""
    known = [name for name, recipe in RECIPES.items() if recipe().kind == VectorVAE.kind]
    if options.recipe not in known:
        hint = meant(options.recipe, known) or f"; choose from {', '.join(known)}"
        raise UserError(f"{options.recipe!r} is no recipe of vectors{hint}")
    if options.epochs < 1:
        raise UserError(f"epochs is {options.epochs}; it must be at least 1")
    recipe = in_phases(RECIPES[options.recipe](), lambda phase: replace(phase, epochs=options.epochs))
    return replace(recipe, train=replace(recipe.train, seed=options.seed))


def trained(recipe: Recipe, source: str, run: Path) -> VectorVAE:
    """The model of a run folder, trained as far as that is not done. Raises UserError where another run is there."""
    if not run.exists():
        print(f"training {run}", file=sys.stderr)
    model = ensure_run(recipe, source, run, quiet=True)
    assert isinstance(model, VectorVAE)
    return model


def describe_use(options: Show, data: Vectors, runs: Sequence[Path]) -> dict[str, str]:
    """What a page is of, so that it can be made again."""
    training = read_recipe(runs[0]).train
    epochs = ", ".join(str(phase.epochs) for phase in training.phases.values())
    return {
        "data": data.source,
        "vectors": ", ".join(f"{len(split.x)} {name}" for name, split in data.splits.items()),
        "runs": ", ".join(map(str, runs)),
        "training": f"at most {epochs} epochs, seed {training.seed}",
        "seed of draws": str(options.seed),
        "versions": ", ".join(f"{name} {version(name)}" for name in ("tgvae", "torch", "numpy", "scikit-learn")),
    }


def write(use: UseName, shown: Shown, about: Mapping[str, str], path: Path) -> Path:
    """The page of a use: the picture with its caption first, then the figures."""
    sections = {
        "Plot": plots_html([Plot(use, shown.title, shown.picture, shown.caption)]),
        "Metrics": metric_tables(shown.report),
        "About": definition_list(about),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, html_page(f"{use.capitalize()}, {about['data']}", sections))
    return path

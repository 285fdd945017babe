"""`tgvae show`: applications of a VAE of vectors, each with one plot and metrics."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal, cast

import tyro

from tgvae.applications import APPLICATIONS
from tgvae.applications.application import held_out_class, model_inputs
from tgvae.cli import evaluate
from tgvae.cli.options import parse
from tgvae.cli.output import command, print_json, print_next_steps, table_console
from tgvae.data.vectors import Vectors, open_vectors
from tgvae.errors import UserError, suggestion
from tgvae.evaluation.html_report import definition_list, html_page, metric_tables, plots_html
from tgvae.evaluation.plots.catalog import Plot
from tgvae.evaluation.report_io import report_to_json
from tgvae.files import write_text
from tgvae.models.base import Capability
from tgvae.models.vae import VectorConfig, VectorVAE
from tgvae.progress import step
from tgvae.recipes import RECIPES, Recipe, in_phases
from tgvae.runs import ensure_run, kind_of, load_run, open_data, read_recipe

ApplicationName = Literal[
    "samples", "manifold", "completion", "interpolation", "clusters", "anomalies", "augmentation", "rate-distortion"
]


@dataclass(frozen=True)
class Show:
    """Train the models of an application of VAEs, print its metrics, and write OUT/USE.html with its plot.

    Applications:
      samples          images from the prior, for latents of 2, 5, 10 and 20 dimensions
      manifold         the plane of a two-dimensional latent, decoded
      completion       the lower half of images, sampled given the upper half
      interpolation    from one image to another, in latent space and in pixels
      clusters         classes in latent space, without labels in training
      anomalies        detection of a class that was left out of training
      augmentation     classification with few labels, with the help of the VAE
      rate-distortion  information in the latent against reconstruction error, for several beta

    Examples:
      tgvae show completion
      tgvae show samples --data mnist --out shown-mnist
      tgvae show clusters --run runs/digits-vae
    """

    use: tyro.conf.Positional[ApplicationName]
    """Which application."""
    data: str | None = None
    """digits, mnist, or FILE.npz with an array x and optionally labels; with --run, where its data is now."""
    out: Path = Path("shown")
    """Folder for the page and the runs; existing runs are reused."""
    recipe: str = "digits-vae"
    """Recipe of vectors for all models."""
    epochs: int = 60
    """Epochs of each model."""
    label: str = "8"
    """Class that `anomalies` leaves out of training."""
    seed: int = 0
    """Seed of training and sampling."""
    run: Path | None = None
    """Use this run instead of training, for applications of one model."""
    json: bool = False
    """Print JSON."""


def main(arguments: Sequence[str]) -> None:
    options = parse(Show, "show", arguments)
    data, models = train_models(options) if options.run is None else open_run(options, options.run)
    with step(f"computing {options.use}"):
        inputs = model_inputs(next(iter(models.values())), data)
        result = APPLICATIONS[options.use].function(list(models.values()), inputs, options.seed)
    about = describe(options, data, list(models))
    sections = {
        "Plot": plots_html([Plot(options.use, result.title, result.figure, result.caption)]),
        "Metrics": metric_tables(result.report),
        "About": definition_list(about),
    }
    page = options.out / f"{options.use}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, html_page(f"{options.use.capitalize()}, {data.source}", sections))
    if options.json:
        print_json({"use": options.use, "page": str(page), **about, "sections": report_to_json(result.report)})
        return
    evaluate.show({options.use: result.report}, table_console())
    print_next_steps([page], ["open it in a browser", command("evaluate", next(iter(models)))])


def train_models(options: Show) -> tuple[Vectors, dict[Path, VectorVAE]]:
    """Return the data and the models by run folder; existing runs are reused and interrupted ones are continued.

    Raises:
        UserError: recipe, data or settings do not fit the application, or a folder holds another run.
    """
    recipe, application = recipe_with_options(options), APPLICATIONS[options.use]
    source = options.data or str(recipe.data)
    if options.use == "anomalies" and ":not=" not in source:
        source = f"{source}:not={options.label}"
    data = open_vectors(source)
    name = options.recipe + (f"-without-{held_out_class(data)}" if held_out_class(data) else "")
    recipes = {options.out / "runs" / f"{name}{suffix}": r for suffix, r in application.recipes(recipe).items()}
    for changed in recipes.values():
        application.require(options.use, cast(VectorConfig, changed.model), data)
    models = {}
    for run, changed in recipes.items():
        if not run.exists():
            print(f"training {run}", file=sys.stderr)
        models[run] = cast(VectorVAE, ensure_run(changed, data.source, run, quiet=True))
    return data, models


def open_run(options: Show, run: Path) -> tuple[Vectors, dict[Path, VectorVAE]]:
    """Return data and model of an existing run. Raises UserError if it does not fit the application."""
    if (options.recipe, options.epochs, options.label) != (Show.recipe, Show.epochs, Show.label):
        raise UserError("--recipe, --epochs and --label are options of training; leave them out, or leave out --run")
    if options.use == "rate-distortion":
        raise UserError("rate-distortion compares models of several beta and trains them itself; leave out --run")
    data, model = open_data(run, options.data), load_run(run)
    if Capability.VECTORS not in model.capabilities:
        raise UserError(f"{run}: needs a VAE of vectors, not a {model.kind}; give a run of a recipe such as digits-vae")
    vectors = cast(Vectors, data)
    APPLICATIONS[options.use].require(options.use, cast(VectorVAE, model).config, vectors)
    return vectors, {run: cast(VectorVAE, model)}


def recipe_with_options(options: Show) -> Recipe:
    """Return the recipe with epochs and seed of the options. Raises UserError if it is not a recipe of vectors."""
    known = [name for name, recipe in RECIPES.items() if kind_of(recipe()).data_type == "vectors"]
    if options.recipe not in known:
        hint = suggestion(options.recipe, known) or f"; choose from {', '.join(known)}"
        raise UserError(f"{options.recipe!r} is not a recipe of vectors{hint}")
    if options.epochs < 1:
        raise UserError(f"epochs is {options.epochs}; it must be at least 1")
    recipe = in_phases(RECIPES[options.recipe](), lambda phase: replace(phase, epochs=options.epochs))
    return replace(recipe, train=replace(recipe.train, seed=options.seed))


def describe(options: Show, data: Vectors, runs: Sequence[Path]) -> dict[str, str]:
    """Return the facts that are needed to reproduce the page."""
    training = read_recipe(runs[0]).train
    epochs = ", ".join(str(phase.epochs) for phase in training.phases.values())
    return {
        "data": data.source,
        "vectors": ", ".join(f"{len(split.x)} {name}" for name, split in data.splits.items()),
        "runs": ", ".join(map(str, runs)),
        "training": f"at most {epochs} epochs, seed {training.seed}",
        "seed of sampling": str(options.seed),
        "versions": ", ".join(f"{name} {version(name)}" for name in ("tgvae", "torch", "numpy", "scikit-learn")),
    }

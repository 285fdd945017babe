"""`tgvae train`: train a recipe, or resume a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from tgvae.cli.options import parse, recipe_name
from tgvae.cli.output import command, print_json, print_next_steps
from tgvae.distributed import is_main_process
from tgvae.errors import UserError
from tgvae.models.base import Capability, Model
from tgvae.recipes import RECIPES, Recipe
from tgvae.runs import resume_run, resume_status, start_run
from tgvae.training.config import TrainConfig

ABOUT = """Train a recipe on a prepared folder, on vectors or on a graph. Every setting can be changed.

Examples:
  tgvae train prepared/sotu --out runs/sotu --model.topic.topics 30
  tgvae train prepared/sotu --out runs/lm --recipe language-model
  tgvae train --recipe digits-vae --model.latent-size 2
  tgvae train links.tsv --recipe graph-vae
  tgvae train --resume runs/sotu
"""
DATA_HELP = {
    "vector-vae": "digits, mnist, or FILE.npz with an array x and optionally labels; ':not=LABEL' leaves out a class.",
    "graph-vae": "An edge list (.txt, .tsv, .csv: two names per line, no header), or FOLDER/NAME of Planetoid's files.",
}
"""By kind of model; all others take a prepared folder."""


@dataclass(frozen=True)
class Resume:
    """Resume an interrupted run from its last checkpoint, with the settings that it was started with."""

    resume: Path
    """The run folder."""
    data: Path | None = None
    """Where the data is now, if it was moved."""
    json: bool = False
    """Print JSON."""


def main(arguments: Sequence[str]) -> None:
    if any(a.split("=")[0] == "--resume" for a in arguments):
        refuse_changes(arguments)
        options: Any = parse(Resume, "train", arguments)
        run = options.resume
        print(f"{run}: {resume_status(run)}", file=sys.stderr)
        model = resume_run(run, options.data)
    else:
        name = recipe_name(arguments, RECIPES, "tgvae")
        recipe = RECIPES[name]()
        options = parse(train_options(name, recipe), "train", arguments)
        run = options.out
        recipe = replace(recipe, model=options.model, train=options.train)
        model = start_run(recipe, options.data, run, options.overwrite)
    if not is_main_process():  # of several processes, only the first prints
        return
    if options.json:
        print_json({"run": str(run), "model": model.kind, "weights": sum(p.numel() for p in model.parameters())})
    else:
        print_next_steps([run], next_steps(model, run))


def refuse_changes(arguments: Sequence[str]) -> None:
    """Raises UserError if settings are given together with --resume."""
    settings = ("--model.", "--train.", "--recipe", "--out", "--overwrite")
    if changed := [a.split("=")[0] for a in arguments if a.startswith(settings)]:
        raise UserError(
            f"{', '.join(changed)} cannot change when a run is resumed: it goes on with the settings in its run.json; "
            "to train with other settings, start a new run without --resume"
        )


def next_steps(model: Model, run: Path) -> list[str]:
    """Return commands for the capabilities of the model."""
    steps = []
    if Capability.SUMMARIES in model.capabilities:
        steps.append(command("summarize", run, "FILE"))
    if Capability.GENERATION in model.capabilities:
        guided = Capability.GUIDANCE in model.capabilities
        steps.append(command("generate", run, *(["--topic", 0] if guided else [])))
    if Capability.TOPICS in model.capabilities:
        steps.append(command("topics", run))
    return [*steps, command("evaluate", run)]


def train_options(name: str, recipe: Recipe) -> type:
    """Return a dataclass of all options with the settings of a recipe as defaults."""

    def documented(kind: Any, text: str) -> Any:
        return Annotated[kind, tyro.conf.arg(help=text)]

    default = () if recipe.data is None else (recipe.data,)
    data_help = DATA_HELP.get(recipe.kind, "A prepared folder.")
    return make_dataclass(
        "Train",
        [
            ("data", documented(tyro.conf.Positional[str], data_help), *default),
            ("out", documented(Path, "Run folder to create."), Path("runs") / name),
            ("recipe", documented(str, "Recipe with the defaults of all settings: " + ", ".join(RECIPES)), name),
            ("overwrite", documented(bool, "Replace an existing run."), False),
            ("json", documented(bool, "Print JSON."), False),
            ("model", type(recipe.model), field(default=recipe.model)),
            ("train", TrainConfig, field(default=recipe.train)),
        ],
        namespace={"__doc__": ABOUT},
    )

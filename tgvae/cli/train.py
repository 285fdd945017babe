"""`tgvae train`: a prepared folder to a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from tgvae.cli.options import parse, recipe_name
from tgvae.cli.output import command, print_json, print_next_steps
from tgvae.distributed import is_first
from tgvae.errors import UserError
from tgvae.evaluation.generation import Writer
from tgvae.evaluation.topics import has_topics
from tgvae.models.base import Model
from tgvae.models.summarizer import Summarizer
from tgvae.recipes import RECIPES, Recipe
from tgvae.runs import resume_run, resume_status, start_run
from tgvae.training.config import TrainConfig

ABOUT = """Train a recipe on a prepared folder, on vectors or on a graph; every setting can be overridden.

Examples:
  tgvae train prepared/sotu --out runs/sotu --model.topic.topics 30
  tgvae train prepared/sotu --out runs/lm --recipe language-model
  tgvae train --recipe digits-vae --model.latent-size 2
  tgvae train links.tsv --recipe graph-vae
  tgvae train --resume runs/sotu
"""


@dataclass(frozen=True)
class Resume:
    """Resume an interrupted run from its last checkpoint, with the settings that it was started with."""

    resume: Path
    """The run folder."""
    data: Path | None = None
    """Where the data is now, if it has moved."""
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
        options = parse(options_of(name, recipe), "train", arguments)
        run = options.out
        chosen = replace(recipe, model=options.model, train=options.train)
        model = start_run(chosen, options.data, run, options.overwrite)
    if not is_first():  # of several processes one tells
        return
    if options.json:
        print_json({"run": str(run), "model": model.kind, "weights": sum(p.numel() for p in model.parameters())})
    else:
        print_next_steps([run], next_steps(model, run))


def refuse_changes(arguments: Sequence[str]) -> None:
    """Raise UserError where settings are given together with --resume."""
    settings = ("--model.", "--train.", "--recipe", "--out", "--overwrite")
    if changed := [a.split("=")[0] for a in arguments if a.startswith(settings)]:
        raise UserError(
            f"{', '.join(changed)} cannot change when a run is resumed: it goes on with the settings in its run.json; "
            "to train with other settings, start a new run without --resume"
        )


def next_steps(model: Model, run: Path) -> list[str]:
    """Commands to go on with."""
    steps = [command("evaluate", run)]
    if has_topics(model):
        steps.insert(0, command("topics", run))
    if isinstance(model, Summarizer):
        steps.insert(0, command("summarize", run, "FILE"))
    elif isinstance(model, Writer):
        steps.insert(0, command("generate", run, *(["--topic", 0] if has_topics(model) else [])))
    return steps


SOURCES = {
    "vector-vae": "digits, mnist, or FILE.npz with an array x and perhaps labels; ':not=LABEL' leaves out a class.",
    "graph-vae": "Edges (.txt, .tsv, .csv: two names a line, no header), or FOLDER/NAME of Planetoid's ind.NAME.*",
}
"""What other data than a prepared folder there is, by kind of model."""


def options_of(name: str, recipe: Recipe) -> type:
    """A dataclass of all options, with the recipe's settings as defaults: what the parser reads."""

    def about(kind: Any, text: str) -> Any:
        return Annotated[kind, tyro.conf.arg(help=text)]

    default = () if recipe.data is None else (recipe.data,)
    return make_dataclass(
        "Train",
        [
            ("data", about(tyro.conf.Positional[str], SOURCES.get(recipe.kind, "A prepared folder.")), *default),
            ("out", about(Path, "The run folder to make."), Path("runs") / name),
            ("recipe", about(str, "Where the other settings start from: " + ", ".join(RECIPES)), name),
            ("overwrite", about(bool, "Train anew in a folder that holds a run."), False),
            ("json", about(bool, "Print JSON."), False),
            ("model", type(recipe.model), field(default=recipe.model)),
            ("train", TrainConfig, field(default=recipe.train)),
        ],
        namespace={"__doc__": ABOUT},
    )

"""`tgvae train`: a prepared folder to a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from tgvae.commands.parsing import parse, recipe_name
from tgvae.recipes import RECIPES, Recipe
from tgvae.runs import resume_run, start_run
from tgvae.training.config import TrainConfig

ABOUT = """Train a recipe on a prepared folder; every setting of the recipe can be overridden.

Examples:
  tgvae train prepared/sotu --out runs/sotu --model.topic.topics 30
  tgvae train prepared/sotu --out runs/lm --recipe language-model
  tgvae train --resume runs/sotu
"""


@dataclass(frozen=True)
class Resume:
    """Go on with an interrupted run, as if it had never stopped."""

    resume: Path
    """The run folder."""


def main(arguments: Sequence[str]) -> None:
    if any(a.split("=")[0] == "--resume" for a in arguments):
        run = parse(Resume, "train", arguments).resume
        model = resume_run(run)
    else:
        recipe = RECIPES[recipe_name(arguments, RECIPES, "tgvae")]()
        options: Any = parse(options_of(recipe), "train", arguments)
        run = options.out
        chosen = replace(recipe, model=options.model, train=options.train)
        model = start_run(chosen, options.data, run, options.overwrite)
    use = f"tgvae summarize {run} FILE" if model.kind == "summarizer" else f"tgvae generate {run} --topic 0"
    print(f"trained: {run}\nnext: tgvae topics {run}, {use}, tgvae evaluate {run}")


def options_of(recipe: Recipe) -> type:
    """A dataclass of all options, with the recipe's settings as defaults: what the parser reads."""

    def about(kind: Any, text: str) -> Any:
        return Annotated[kind, tyro.conf.arg(help=text)]

    return make_dataclass(
        "Train",
        [
            ("data", about(tyro.conf.Positional[Path], "A prepared folder.")),
            ("out", about(Path, "The run folder to make.")),
            ("recipe", about(str, "Where the other settings start from: " + ", ".join(RECIPES)), "tgvae"),
            ("overwrite", about(bool, "Train anew in a folder that holds a run."), False),
            ("model", type(recipe.model), field(default=recipe.model)),
            ("train", TrainConfig, field(default=recipe.train)),
        ],
        namespace={"__doc__": ABOUT},
    )

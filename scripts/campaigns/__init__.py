"""Stress tests. Each is a dataclass of options whose method ``run`` returns one outcome per fault."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

from tgvae.cli.main import main

NOUNS = ("army battle fleet enemy weapon", "bread oven soup butter pepper", "moon orbit comet rocket planet")
PREPARE = "--workers 1 --vocabulary-size 300 --min-document-words 3 --splits .8 .1 .1"
SIZES = (
    "--train.device cpu --model.topic.topics 3 --model.topic.hidden-size 16 --model.sentence.embedding-size 16 "
    "--model.sentence.hidden-size 16 --model.sentence.latent-size 4 --train.phases.topics.batch 32"
)
LAST_PHASE = {"tgvae": "sentences", "summarizer": "summaries"}


@dataclass(frozen=True)
class Outcome:
    """A fault and its effect.

    Attributes:
        fault: what was done to the program, or given to it.
        tries: how many times.
        lost: of these, how many lost data, ended in a traceback or gave a wrong result.
        seen: what the user saw, in a sentence.
    """

    fault: str
    tries: int
    lost: int
    seen: str


class LostError(Exception):
    """Data was lost, or an error was shown as a traceback."""


def require(condition: bool, otherwise: object) -> None:
    """Raise LostError unless the condition holds."""
    if not condition:
        raise LostError(str(otherwise))


def table(outcomes: Sequence[Outcome]) -> str:
    rows = [f"| {o.fault} | {o.tries:,} | {o.lost or 'nothing'} | {o.seen} |" for o in outcomes]
    return "\n".join(["| fault | times | lost | what the user saw |", "|---|---:|---:|---|", *rows]) + "\n"


def save(outcomes: Sequence[Outcome], path: Path) -> None:
    path.write_text(json.dumps([asdict(o) for o in outcomes], indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_corpus(path: Path, documents: int = 120) -> Path:
    """Write JSON lines with a title, on three themes; the same documents every time."""
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(documents):
            nouns = [rng.choice(NOUNS[number % len(NOUNS)].split()) for _ in range(4)]
            text = " ".join(f"The {noun} was near." for noun in nouns)
            file.write(json.dumps({"id": str(number), "title": f"A {nouns[0]}", "text": text}) + "\n")
    return path


def tiny_runs(folder: Path, *recipes: str) -> None:
    """Prepare ``folder``/data, and train a tiny model of each recipe in ``folder``/RECIPE."""
    corpus = write_corpus(folder / "texts.jsonl")
    tgvae("prepare", corpus, "--out", folder / "data", *PREPARE.split())
    for recipe in recipes:
        epochs = ("--train.phases.topics.epochs", 1, f"--train.phases.{LAST_PHASE[recipe]}.epochs", 1)
        tgvae("train", folder / "data", "--recipe", recipe, "--out", folder / recipe, *SIZES.split(), *epochs)


def tgvae(*arguments: object) -> None:
    """Run a command of tgvae in this process, without its output. Raises RuntimeError if it fails."""
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        status = main([str(argument) for argument in arguments])
    if status:
        raise RuntimeError(output.getvalue())

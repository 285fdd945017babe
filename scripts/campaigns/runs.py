"""Where campaigns train: data, runs that nobody disturbed, and what a disturbed one is held against."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from campaigns.subprocess_cli import Ended, Fork, command
from tgvae.models.base import WEIGHTS
from tgvae.runs import RUN, load_run, read_recipe
from tgvae.training.checkpoint import CHECKPOINT, read_progress
from tgvae.training.logger import METRICS

PREPARE = "--workers 1 --vocabulary-size 300 --min-document-words 3 --splits .8 .1 .1"
SMALL = (
    "--recipe tgvae --train.device cpu --train.save-minutes 0 --model.topic.topics 3 --model.topic.hidden-size 16 "
    "--model.sentence.embedding-size 16 --model.sentence.hidden-size 16 --model.sentence.latent-size 4 "
    "--train.phases.topics.epochs 2 --train.phases.topics.batch 32 "
    "--train.phases.sentences.epochs 2 --train.phases.sentences.batch 1200"
)
NOUNS = ("army battle fleet enemy weapon", "bread oven soup butter pepper", "moon orbit comet rocket planet")


class LostError(Exception):
    """Something was lost, or told as a traceback."""


@dataclass
class Place:
    """Where runs are made: the data, a whole run by the seed of its training, and the seconds that one took."""

    folder: Path
    rng: random.Random
    seconds: float = 0.0
    wholes: list[Path] = field(default_factory=list)

    @classmethod
    def make(cls, folder: Path, seed: int) -> Place:
        place = cls(folder, random.Random(seed))
        draw = random.Random(0)
        texts = [" ".join(f"The {draw.choice(words.split())} was near." for _ in range(4)) for words in 40 * NOUNS]
        rows = "".join(json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(texts))
        (folder / "texts.jsonl").write_text(rows, encoding="utf-8")
        place.done("prepare", folder / "texts.jsonl", "--out", folder / "data", *PREPARE.split())
        for number in range(2):
            place.wholes.append(folder / f"whole{number}")
            place.seconds = place.done(*place.train(place.wholes[number], "--train.seed", number)).seconds
        return place

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def train(self, run: Path, *more: object) -> list[object]:
        return ["train", self.folder / "data", "--out", run, *SMALL.split(), *more]

    def moment(self) -> float:
        return self.rng.uniform(0, self.seconds)

    def fork(self, *arguments: object, first: Callable[[], object] | None = None) -> Fork:
        return Fork(arguments, self.log, first)

    def done(self, *arguments: object) -> Ended:
        """A command that must succeed."""
        ended = command(arguments, self.log)
        require(ended.status == 0, ended)
        return ended

    def go_on(self) -> list[object]:
        """What a user would type to have the run after all."""
        if (self.run / RUN).is_file():
            return ["train", "--resume", self.run]
        ended = command(["train", "--resume", self.run], self.log)
        require(ended.status == 2 and "stopped before it was one" in ended.told, ended)
        return self.train(self.run, "--overwrite")

    def finish(self, *more: object) -> None:
        """Go on to the end, which must be that of the whole run."""
        self.done(*self.go_on(), *more)
        whole = self.wholes[read_recipe(self.run).train.seed]
        for one in (WEIGHTS, METRICS):
            require(contents(self.run / one) == contents(whole / one), f"{one} is not that of an undisturbed run")


def contents(path: Path) -> object:
    """Bytes of weights; metrics without their speeds."""
    if path.name != METRICS:
        return path.read_bytes()
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [{name: value for name, value in line.items() if not name.endswith("_per_second")} for line in lines]


def require(held: bool, otherwise: object) -> None:
    """Raises LostError."""
    if not held:
        raise LostError(str(otherwise))


def left(place: Place) -> str:
    """How far a disturbed run had come; what it claims to have must load."""
    run = place.run
    if not (run / RUN).is_file():
        return "stopped before there was a run"
    if (run / WEIGHTS).is_file():
        load_run(run)
    if not (run / CHECKPOINT).is_file():
        return "stopped before the first checkpoint"
    return f"stopped in phase {read_progress(run / CHECKPOINT).phase + 1}"


def python(place: Place, module: str, arguments: Sequence[object]) -> subprocess.Popen[bytes]:
    """A process with one thread, at the head of a group of its own, whose words go to the log."""
    whole = [sys.executable, *module.split(), *map(str, arguments)]
    with place.log.open("w") as log:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(whole, stdout=log, stderr=log, env=environment, start_new_session=True)

"""Interruptions of `tgvae train`: killed, signalled, or without disk or memory, at random moments.

After every fault, whatever is in the run folder must load. Then the run is resumed, and must end with the bytes of an
undisturbed run. Commands are forks of this process, because importing torch takes longer than training a tiny model.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from campaigns import PREPARE, SIZES, LostError, Outcome, require, tgvae, write_corpus
from tgvae.cli.main import main
from tgvae.models.base import WEIGHTS
from tgvae.runs import RUN, load_run, read_recipe
from tgvae.training.checkpoint import CHECKPOINT, read_progress
from tgvae.training.logger import METRICS

TRACEBACK = "Traceback (most recent call last)"
KILLS = 5  # of one run; each kills what was resumed after the one before
LATE_IMPORTS = ("tgvae.cli.prepare", "tgvae.cli.train", "torch._dynamo", "torch.distributed.tensor", "nltk.tokenize")
EPOCHS = (
    "--recipe tgvae --train.save-minutes 0 --train.phases.topics.epochs 2 --train.phases.sentences.epochs 2 "
    "--train.phases.sentences.batch 1200"
)
Limit = Callable[[], object]


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, or minus the signal that killed it, and its output."""

    status: int
    output: str
    seconds: float


class Process:
    """``tgvae ARGUMENTS`` in a fork; ``limit`` is called first, to restrict resources."""

    def __init__(self, arguments: Iterable[object], log: Path, limit: Limit | None = None) -> None:
        self.log, self.began = log, time.monotonic()
        self.pid = os.fork()
        if not self.pid:
            _become([str(argument) for argument in arguments], log, limit)

    def kill(self, number: int, after: float) -> Ended:
        """Send a signal some seconds after the start, unless the command has ended, and wait for the end."""
        while not (found := os.waitpid(self.pid, os.WNOHANG))[0]:
            if (left := self.began + after - time.monotonic()) <= 0:
                os.kill(self.pid, number)
                return self.wait()
            time.sleep(min(0.005, left))
        return self._ended(found[1])

    def wait(self) -> Ended:
        return self._ended(os.waitpid(self.pid, 0)[1])

    def _ended(self, status: int) -> Ended:
        output = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return Ended(os.waitstatus_to_exitcode(status), output, time.monotonic() - self.began)


def _become(arguments: list[str], log: Path, limit: Limit | None) -> None:
    """Run the command in this forked process; never returns."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.stdout = sys.stderr = log.open("w", encoding="utf-8", buffering=1)
        torch.set_num_threads(1)
        if limit:
            limit()
        status = main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def outcome(fault: str, seen: Counter[str]) -> Outcome:
    """Return the outcome of a fault from what was seen; messages that start with LOST count as lost."""
    lost = sum(count for what, count in seen.items() if what.startswith("LOST"))
    return Outcome(fault, seen.total(), lost, "; ".join(f"{count} x {what}" for what, count in seen.most_common()))


def limited(kind: int, size: int) -> Limit:
    return partial(resource.setrlimit, kind, (size, size))


class Box:
    """A prepared corpus, undisturbed runs by seed, and the seconds that one takes."""

    def __init__(self, folder: Path, seed: int) -> None:
        for module in LATE_IMPORTS:  # once, and not in every fork
            import_module(module)
        self.folder, self.run, self.log, self.rng = folder, folder / "run", folder / "log", random.Random(seed)
        tgvae("prepare", write_corpus(folder / "texts.jsonl"), "--out", folder / "data", *PREPARE.split())
        for number in range(2):
            self.seconds = self.succeed(*self.train(self.whole(number), "--train.seed", number)).seconds

    def whole(self, seed: int) -> Path:
        return self.folder / f"whole{seed}"

    def train(self, run: Path, *more: object) -> list[object]:
        return ["train", self.folder / "data", "--out", run, *SIZES.split(), *EPOCHS.split(), *more]

    def moment(self) -> float:
        return self.rng.uniform(0, self.seconds)

    def start(self, *arguments: object, limit: Limit | None = None) -> Process:
        return Process(arguments, self.log, limit)

    def succeed(self, *arguments: object) -> Ended:
        ended = self.start(*arguments).wait()
        require(ended.status == 0, ended)
        return ended

    def resume(self) -> list[object]:
        """Return the command that a user would type to go on, after checking the message where there is no run."""
        if (self.run / RUN).is_file():
            return ["train", "--resume", self.run]
        ended = self.start("train", "--resume", self.run).wait()
        require(ended.status == 2 and TRACEBACK not in ended.output, ended)
        return self.train(self.run, "--overwrite")

    def finish(self) -> None:
        """Resume to the end; weights and metrics must be those of the undisturbed run of the same seed."""
        self.succeed(*self.resume())
        whole = self.whole(read_recipe(self.run).train.seed)
        for name in (WEIGHTS, METRICS):
            require(contents(self.run / name) == contents(whole / name), f"{name} differs from an undisturbed run")

    def progress(self) -> str:
        """Return how far a disturbed run got; a model and checkpoint that are there must load."""
        if not (self.run / RUN).is_file():
            return "stopped before there was a run"
        if (self.run / WEIGHTS).is_file():
            load_run(self.run)
        if not (self.run / CHECKPOINT).is_file():
            return "stopped before the first checkpoint"
        return f"stopped in phase {read_progress(self.run / CHECKPOINT).phase + 1}"


def contents(path: Path) -> object:
    """Return the bytes of a file; metrics without their speeds."""
    if path.name != METRICS:
        return path.read_bytes()
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [{name: value for name, value in line.items() if not name.endswith("_per_second")} for line in lines]


def kill_training(box: Box) -> list[str]:
    found, arguments = [], box.train(box.run)
    for _ in range(KILLS):
        ended = box.start(*arguments).kill(signal.SIGKILL, box.moment())
        if ended.status == 0:
            break
        require(ended.status == -signal.SIGKILL, ended)
        found.append(box.progress())
        arguments = box.resume()
    box.finish()
    return found or ["already finished"]


def kill_overwriting(box: Box) -> list[str]:
    """The folder holds the old run, with or without its model, or the new one: never a mixture."""
    shutil.copytree(box.whole(0), box.run)
    box.start(*box.train(box.run, "--overwrite", "--train.seed", 1)).kill(signal.SIGKILL, box.moment() / 2)
    found = box.progress()
    if (box.run / WEIGHTS).is_file() and not (box.run / CHECKPOINT).is_file():
        return [found]  # the old model, which need not be resumed
    seed = read_recipe(box.run).train.seed if (box.run / RUN).is_file() else 0
    box.finish()
    return ["resumed the new run" if seed else "still had the old run"]


def signal_training(number: signal.Signals, box: Box) -> list[str]:
    """Between two steps the run is saved, with a message; before training the process ends at once."""
    ended = box.start(*box.train(box.run)).kill(number, box.moment())
    require(TRACEBACK not in ended.output, ended)
    saved = ended.status == 128 + number and f"--resume {box.run}" in ended.output
    at_once = ended.status in (-number, 128 + number) and not (box.run / CHECKPOINT).is_file()
    require(saved or at_once or ended.status == 0, ended)
    box.finish()
    return ["saved, with a message" if saved else "ended at once" if at_once else "already finished"]


def starved(box: Box, ended: Ended, words: str) -> list[str]:
    """A lack of something ends with a message; once it is there again, the run goes on."""
    require(ended.status in (0, 2) and TRACEBACK not in ended.output, ended)
    require(ended.status == 0 or words in ended.output, ended)
    box.progress()
    box.finish()
    return [f"`... {words} ...`, status 2" if ended.status else "there was enough"]


def limit_file_size(box: Box) -> list[str]:
    size = box.rng.randint(4096, (box.whole(0) / CHECKPOINT).stat().st_size)
    ended = box.start(*box.train(box.run), limit=limited(resource.RLIMIT_FSIZE, size)).wait()
    return starved(box, ended, "cannot be written")


def limit_memory(box: Box) -> list[str]:
    """Allow a few megabytes more than the process has at its start."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = limited(resource.RLIMIT_AS, size + box.rng.randint(0, 200 << 20))
    ended = box.start(*box.train(box.run), limit=limit).wait()
    if ended.status not in (-signal.SIGSEGV, -signal.SIGABRT):
        return starved(box, ended, "out of memory")
    box.progress()
    box.finish()
    return ["torch itself crashed; the run went on"]


FAULTS: dict[str, Callable[[Box], list[str]]] = {
    "kill -9 at any moment": kill_training,
    "kill -9 while an old run is overwritten": kill_overwriting,
    "SIGTERM": partial(signal_training, signal.SIGTERM),
    "Ctrl-C": partial(signal_training, signal.SIGINT),
    "files of limited size": limit_file_size,
    "not enough memory": limit_memory,
}


@dataclass(frozen=True)
class Training:
    """Interrupt small training runs."""

    tries: int = 60
    """Rounds; each has up to five kills of one run, and some of the other faults."""
    seconds: float = 600
    """Time for all; a fault that has begun is completed."""
    faults: tuple[str, ...] = tuple(FAULTS)
    """Names of faults."""
    seed: int = 0
    """Of the moments; how far a run got by then depends on the machine."""

    def run(self) -> list[Outcome]:
        with TemporaryDirectory() as folder:
            box = Box(Path(folder), self.seed)
            end = time.monotonic() + self.seconds
            seen: dict[str, Counter[str]] = {name: Counter() for name in self.faults}
            for _ in range(self.tries):
                for name in self.faults:
                    if time.monotonic() > end:
                        break
                    try:
                        seen[name].update(FAULTS[name](box))
                    except LostError as error:
                        seen[name][f"LOST: {error}"] += 1
                        print(f"{name}: {error}", file=sys.stderr)
                    shutil.rmtree(box.run, ignore_errors=True)
        return [outcome(name, counts) for name, counts in seen.items() if counts]

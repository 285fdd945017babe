"""Training that is killed, starved and stopped: what is left, and does it end as if nothing had been?

A small model of topics and sentences is trained in two phases, with a checkpoint after every step. Moments are drawn
uniformly over the time of a whole run. After every fault the folder is looked at: a model or checkpoint that is there
must load. Then the run is resumed, and must end with the bytes of the weights, and the metrics but for speeds, of a run
that nobody disturbed. Commands are forks of this process (see ``forks``), as a start takes longer than the training;
those of ``python -m`` have a start of their own.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from campaigns.results import Outcome
from campaigns.runs import LostError, Place, left, python, require
from campaigns.subprocess_cli import TRACEBACK, Ended, command
from tgvae.models.base import WEIGHTS
from tgvae.runs import load_run, read_recipe
from tgvae.training.checkpoint import CHECKPOINT

LATE = ("tgvae.cli.prepare", "tgvae.cli.train", "torch._dynamo", "torch.distributed.tensor", "nltk.tokenize")
LAUNCH = (
    "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0 "
    "--mixed_precision no --dynamo_backend no -m tgvae.cli.main"
)
KILLS = 5  # of one run, each of what was resumed after the one before


@dataclass(frozen=True)
class Options:
    """Kill small training runs at random moments, stop them, and let them run out of room, memory and sense."""

    tries: int = 60
    """Rounds: in each up to five kills of a run, in some of them each of the other faults."""
    seconds: float = 600
    """Time for all; a fault that has begun is ended."""
    faults: tuple[str, ...] = ()
    """Names of some of the faults; all by default."""
    seed: int = 0
    """Of the moments; how far a run has come by then depends on the machine."""


def run(options: Options) -> list[Outcome]:
    """A row for every fault."""
    for module in LATE:
        import_module(module)
    until = time.monotonic() + options.seconds
    seen: dict[str, list[str]] = {name: [] for name in options.faults or FAULTS}
    lost: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        place = Place.make(Path(folder), options.seed)
        for number in range(options.tries):
            for name in [name for name in seen if number % FAULTS[name][1] == 0 and time.monotonic() < until]:
                try:
                    seen[name] += FAULTS[name][0](place)
                except LostError as error:
                    lost[name] += 1
                    seen[name].append(f"LOST: {error}")
                shutil.rmtree(place.run, ignore_errors=True)
            print(f"training: round {number + 1} of {options.tries}, lost {lost.total()}", file=sys.stderr)
    return [Outcome(name, len(told), lost[name], summary(told)) for name, told in seen.items() if told]


def summary(told: Sequence[str]) -> str:
    """What was seen, the most frequent first."""
    return "; ".join(f"{count} x {what}" for what, count in Counter(told).most_common())


def killed(place: Place) -> list[str]:
    """Several times, each time what was resumed."""
    found, arguments = [], place.train(place.run)
    for _ in range(KILLS):
        ended = place.fork(*arguments).kill(signal.SIGKILL, place.moment())
        if ended.status == 0:
            break
        require(ended.status == -signal.SIGKILL, ended)
        found.append(left(place))
        arguments = place.go_on()
    place.finish()
    return found


def killed_overwriting(place: Place) -> list[str]:
    """The folder is that of the old run, with or without its model, or of the new one: never a mixture."""
    shutil.copytree(place.wholes[0], place.run)
    arguments = place.train(place.run, "--overwrite", "--train.seed", 1)
    place.fork(*arguments).kill(signal.SIGKILL, place.moment() / 2)
    found = left(place)
    if (place.run / WEIGHTS).is_file() and not (place.run / CHECKPOINT).is_file():
        return [found]  # the old model, as it was: it cannot be resumed, and need not
    seed = read_recipe(place.run).train.seed
    place.finish()
    return ["went on with the new run" if seed else "still had the old run"]


def killed_from_the_start(place: Place) -> list[str]:
    """With the start of Python, which is some seconds."""
    program = python(place, "-m tgvae.cli.main", place.train(place.run))
    time.sleep(place.rng.uniform(0, 10 + place.seconds))
    program.kill()
    program.wait()
    found = left(place)
    place.finish()
    return [found]


def stopped(place: Place, number: signal.Signals) -> list[str]:
    """Between two steps, with a message; before training, as any program is."""
    ended = place.fork(*place.train(place.run)).kill(number, place.moment())
    require(TRACEBACK not in ended.told, ended)
    in_order = ended.status == 128 + number and f"--resume {place.run}" in ended.told
    at_once = ended.status in (-number, 128 + number) and not (place.run / CHECKPOINT).is_file()
    require(in_order or at_once or ended.status == 0, ended)
    place.finish()
    told = "`stopped by ... after step ..., which is saved; go on with ...`, status" if in_order else "at once, status"
    return [f"{told} {128 + number}"] if ended.status else ["through already"]


def starved(place: Place, ended: Ended, words: str) -> list[str]:
    """One message, with some words; what is lacking is there again, and the run goes on."""
    require(ended.status in (0, 2) and TRACEBACK not in ended.told, ended)
    require(ended.status == 0 or words in ended.told, ended)
    left(place)
    place.finish()
    return [f"`... {words} ...`, status 2" if ended.status else "there was enough"]


def short_files(place: Place) -> list[str]:
    """No file may be longer than some bytes."""
    size = place.rng.randint(4096, (place.wholes[0] / CHECKPOINT).stat().st_size)
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))
    return starved(place, place.fork(*place.train(place.run), first=limit).wait(), "cannot be written")


def full_disk(place: Place) -> list[str]:
    """A file system with room for a part of a run, which then gets more."""
    if os.geteuid():
        return []
    size = place.rng.randint(8, 600)
    place.run.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", place.run], check=True)
    try:
        ended = place.fork(*place.train(place.run)).wait()
        subprocess.run(["mount", "-o", "remount,size=64m", place.run], check=True)
        return starved(place, ended, "cannot be written")
    finally:
        subprocess.run(["umount", place.run], check=True)


def read_only(place: Place) -> list[str]:
    """From some moment on, nothing in the folder can be made, renamed or removed."""
    if os.geteuid() or not shutil.which("chattr"):
        return []
    program = place.fork(*place.train(place.run))
    time.sleep(place.moment())
    target = place.run if place.run.exists() else place.folder
    subprocess.run(["chattr", "+i", target], check=True)
    try:
        ended = program.wait()
    finally:
        subprocess.run(["chattr", "-i", target], check=True)
    return starved(place, ended, "cannot be written")


def short_memory(place: Place) -> list[str]:
    """Some megabytes more than the process had when it began."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    more = size + place.rng.randint(0, 200 << 20)
    limit = partial(resource.setrlimit, resource.RLIMIT_AS, (more, more))
    ended = place.fork(*place.train(place.run), first=limit).wait()
    if ended.status not in (-signal.SIGSEGV, -signal.SIGABRT):
        return starved(place, ended, "out of memory")
    left(place)
    place.finish()
    return ["torch itself crashed for want of memory; the run went on"]


def diverged(place: Place) -> list[str]:
    """By a learning rate that is far too high, which resuming does not change."""
    rate = 10.0 ** place.rng.randint(3, 30)
    ended = place.fork(*place.train(place.run, "--train.phases.sentences.learning-rate", rate)).wait()
    require(ended.status == 2 and TRACEBACK not in ended.told and "Rows at fault" in ended.told, ended)
    left(place)
    again = command(["train", "--resume", place.run], place.log)
    require(again.last == ended.last, again)
    return ["`step ...: ... not finite. The last good state is kept in ...`, status 2"]


def two_disturbed(place: Place, number: signal.Signals) -> list[str]:
    """Processes: one of them is killed, a cluster stops the launcher, or Ctrl-C reaches all; a single one goes on."""
    program = python(place, LAUNCH, place.train(place.run))
    while program.poll() is None and not (place.run / CHECKPOINT).is_file():
        time.sleep(0.1)
    time.sleep(place.moment() / 2)
    began = time.monotonic()
    if number == signal.SIGKILL:
        workers = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        os.kill(int(place.rng.choice(workers)), number)
    elif program.poll() is None:
        (os.killpg if number == signal.SIGINT else os.kill)(program.pid, number)
    status, seconds = program.wait(timeout=120), time.monotonic() - began
    told = place.log.read_text(encoding="utf-8")
    require(status == 0 or number == signal.SIGKILL or "which is saved" in told, told)
    left(place)
    place.done("train", "--resume", place.run)
    load_run(place.run)
    return [f"the job ended within {5 * (1 + seconds // 5):.0f} seconds, and went on" if status else "through already"]


FAULTS: dict[str, tuple[Callable[[Place], list[str]], int]] = {
    "kill -9 at any moment": (killed, 1),
    "kill -9 while an old run is overwritten": (killed_overwriting, 3),
    "kill -9 of `python -m tgvae.cli.main`, start included": (killed_from_the_start, 10),
    "SIGTERM": (partial(stopped, number=signal.SIGTERM), 3),
    "Ctrl-C": (partial(stopped, number=signal.SIGINT), 3),
    "no file longer than some bytes": (short_files, 5),
    "full disk": (full_disk, 3),
    "read-only folder from some moment on": (read_only, 5),
    "not enough memory": (short_memory, 5),
    "learning rate far too high": (diverged, 10),
    "kill -9 of one of two processes": (partial(two_disturbed, number=signal.SIGKILL), 20),
    "SIGTERM to the launcher of two processes": (partial(two_disturbed, number=signal.SIGTERM), 20),
    "Ctrl-C of two processes": (partial(two_disturbed, number=signal.SIGINT), 20),
}
"""Each fault by name, and in one of how many rounds it comes."""

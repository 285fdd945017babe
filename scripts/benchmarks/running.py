"""Fresh processes, their memory, and rounds in which the settings take turns."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reporting import Row
from tgvae.errors import UserError

SCRIPTS = Path(__file__).parent.parent
PYTHON = (sys.executable, "-P")  # else -m and -c put the working directory, perhaps another tree, ahead of PYTHONPATH
STATUS = Path("/proc/self/status")  # of Linux, where ru_maxrss starts from that of the parent process
Metrics = dict[str, float]
Rounds = dict[str, list[Metrics]]


def fresh(task: str, settings: Mapping[str, Any], threads: int, tuned: bool = True) -> Metrics:
    """What ``MODULE:FUNCTION`` measures in a new process.

    Args:
        task: a function of this package from settings to figures.
        settings: what JSON can hold; ``began`` is added, the time of the start in seconds.
        threads: of torch.
        tuned: with the memory and threads that `tgvae` sets; without, as plain Python has them.

    Raises:
        UserError: as the function raised it.
        RuntimeError: the process failed; the message has what it wrote.
    """
    ran = subprocess.run(
        [*PYTHON, "-m", "benchmarks.worker", task, *(["tuned"] if tuned else [])],
        input=json.dumps({**settings, "began": time.time()}),
        env=environment(threads, tuned),
        capture_output=True,
        text=True,
    )
    if ran.returncode == 2:
        raise UserError(ran.stderr.strip().splitlines()[-1])
    if ran.returncode:
        raise RuntimeError(f"{task} failed in its process:\n{ran.stderr}")
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def environment(threads: int, tuned: bool) -> dict[str, str]:
    """The environment of a process: this package can be imported, after what PYTHONPATH names already."""
    path = [*filter(None, [os.environ.get("PYTHONPATH")]), str(SCRIPTS)]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(path)}
    env.pop("OMP_WAIT_POLICY", None)
    return env | {"OMP_WAIT_POLICY": "PASSIVE"} if tuned else env


def peak_memory(device: str) -> float:
    """The most memory in MiB that this process had, or that torch took of the GPU."""
    if device != "cpu":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    status = STATUS.read_text() if STATUS.is_file() else ""
    if "VmHWM:" in status:  # not every sandbox has it
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def interleaved(measures: Mapping[str, Callable[[], Metrics]], rounds: int) -> Rounds:
    """Metrics of every measure, by name, a list of ``rounds``: each round takes all of them in turn.

    So a machine that is slower for a while is slower for all; ratios are taken within a round.
    """
    found: Rounds = {name: [] for name in measures}
    for number in numbers(rounds):
        for name, measure in measures.items():
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
            found[name].append(measure())
    return found


def numbers(rounds: int) -> range:
    """Of the rounds, from 0. Raises UserError for fewer than one."""
    if rounds < 1:
        raise UserError(f"rounds is {rounds}; it must be at least 1")
    return range(rounds)


def rows(found: Rounds) -> list[Row]:
    """A row for every name, with the figures of all rounds."""
    return [Row(name, {key: [f[key] for f in figures] for key in figures[0]}) for name, figures in found.items()]


def add_ratio(found: Rounds, figure: str, names: Sequence[str], over: Sequence[str], title: str) -> None:
    """Add to ``names`` the ratio of a figure to the largest among those ``over``, taken within each round."""
    for number in range(len(found[over[0]])):
        best = max(found[name][number][figure] for name in over)
        for name in names:
            found[name][number][title] = found[name][number][figure] / best


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """b of cost = a size^b by least squares of the logarithms: 1 is linear, 0 flat, and 0 for a single size.

    Costs are above 0.
    """
    if len(sizes) < 2:
        return 0.0
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def threads_of(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"

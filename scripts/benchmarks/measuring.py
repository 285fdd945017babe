"""Measurements in fresh processes, rounds in which all settings take turns, and reports.

As a program, `python -m benchmarks.measuring MODULE:FUNCTION [tuned]`: reads settings as JSON from standard input and
prints what the function measures on the last line.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from tgvae.errors import UserError
from tgvae.formatting import Table

SCRIPTS = Path(__file__).parent.parent
PYTHON = (sys.executable, "-P")  # -P: modules of the working directory must not shadow those of this tree
STATUS = Path("/proc/self/status")
PRECISIONS = {"no": "float32", "bf16": "bfloat16"}
Metrics = dict[str, float]
Rounds = dict[str, list[Metrics]]


@dataclass(frozen=True)
class Row:
    """Values of one setting, every metric in every round."""

    name: str
    rounds: dict[str, list[float]]


def fresh(task: str, settings: Mapping[str, Any], threads: int, tuned: bool = True) -> Metrics:
    """Return what ``MODULE:FUNCTION`` measures in a new process, with memory and threads as `tgvae` sets them if tuned.

    ``began``, the time of the start, is added to the settings.

    Raises:
        UserError: raised by the function.
        RuntimeError: the process failed; the message has its output.
    """
    ran = subprocess.run(
        [*PYTHON, "-m", "benchmarks.measuring", task, *(["tuned"] if tuned else [])],
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


def measured(task: str, settings: Mapping[str, Any]) -> Metrics:
    module, function = task.split(":")
    return dict(getattr(importlib.import_module(f"benchmarks.{module}"), function)(settings))


def environment(threads: int, tuned: bool) -> dict[str, str]:
    """Return the environment of a process that can import this package."""
    path = [*filter(None, [os.environ.get("PYTHONPATH")]), str(SCRIPTS)]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(path)}
    env.pop("OMP_WAIT_POLICY", None)
    return env | {"OMP_WAIT_POLICY": "PASSIVE"} if tuned else env


def peak_memory(device: str = "cpu") -> float:
    """Return the largest memory of this process, or of torch on a GPU, in MiB."""
    if device != "cpu":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    status = STATUS.read_text() if STATUS.is_file() else ""
    if "VmHWM:" in status:  # unlike ru_maxrss, it does not start from the memory of the parent process
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def interleaved(measures: Mapping[str, Callable[[], Metrics]], rounds: int) -> Rounds:
    """Measure all settings in turn, every round, so that a slow phase of the machine affects all of them."""
    if rounds < 1:
        raise UserError(f"rounds is {rounds}; it must be at least 1")
    found: Rounds = {name: [] for name in measures}
    for number in range(rounds):
        for name, measure in measures.items():
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
            found[name].append(measure())
    return found


def rows(found: Rounds) -> list[Row]:
    return [Row(name, {key: [f[key] for f in values] for key in values[0]}) for name, values in found.items()]


def add_ratio(found: Rounds, metric: str, names: Sequence[str], over: Sequence[str], title: str) -> None:
    """Add to ``names`` the ratio of a metric to the largest among those ``over``, within each round."""
    for number in range(len(found[over[0]])):
        best = max(found[name][number][metric] for name in over)
        for name in names:
            found[name][number][title] = found[name][number][metric] / best


def threads_of(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def table(title: str, rows: Sequence[Row]) -> Table:
    """Return a table of medians over rounds, with half the range where there are several."""
    names = list(dict.fromkeys(name for row in rows for name in row.rounds))
    cells = [[row.name, *(_cell(row.rounds.get(name, [])) for name in names)] for row in rows]
    return Table(["", *names], cells, range(1, len(names) + 1), title)


def _cell(values: Sequence[float]) -> str:
    half = (max(values) - min(values)) / 2 if values else 0.0
    return f"{median(values):,.4g}" + (f" ± {half:,.2g}" if half else "") if values else ""


def save(path: Path, command: Sequence[str], options: Any, rows: Sequence[Row]) -> None:
    """Write rows, options, command, commit, versions and processor as JSON."""
    cpu = Path("/proc/cpuinfo").read_text().split("model name\t: ") if Path("/proc/cpuinfo").is_file() else []
    git = ["git", "-C", str(SCRIPTS), "describe", "--always", "--dirty=+"]
    result = {
        "command": ["benchmark.py", *command],
        "options": asdict(options),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": subprocess.run(git, capture_output=True, text=True).stdout.strip() or None,
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "cpu": cpu[1].split("\n")[0] if len(cpu) > 1 else platform.processor(),
        "rows": [asdict(row) for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2, default=str) + "\n", encoding="utf-8")


def main() -> int:
    if sys.argv[2:] == ["tuned"]:
        from tgvae.cli.main import keep_memory

        keep_memory()
    try:
        print(json.dumps(measured(sys.argv[1], json.load(sys.stdin))))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A benchmark from this tree and from another checkout, in turn, so that both have the same weather."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tyro

from benchmarks.reporting import Row, read
from benchmarks.running import SCRIPTS, Metrics, interleaved
from tgvae.errors import UserError

HERE, OTHER = "this tree", "other tree"
DRAWS = 2000


@dataclass(frozen=True)
class Options:
    """Every figure of a command from both trees, and their ratio (this / other) with a 95 % bootstrap interval.

    The benchmark is this tree's; tgvae is imported from either.
    """

    other: tyro.conf.Positional[Path]
    """A checkout of this repository at another commit."""
    command: tyro.conf.Positional[str]
    """In quotes: "training --sizes small --threads 1"; its rounds are one each time."""
    rounds: int = 5
    """Measurements from each tree, in turn."""
    seed: int = 0
    """Of the bootstrap."""
    out: Path | None = None
    """File for the result as JSON."""


def run(options: Options) -> list[Row]:
    if not (options.other / "tgvae" / "__init__.py").is_file():
        raise UserError(f"{options.other}: no tgvae here; give a checkout of this repository")
    trees = {HERE: SCRIPTS.parent, OTHER: options.other}
    found = interleaved({name: partial(measure, options.command, tree) for name, tree in trees.items()}, options.rounds)
    rng = np.random.default_rng(options.seed)
    both = [key for key in found[HERE][0] if key in found[OTHER][0]]
    return [compared(key, [f[key] for f in found[HERE]], [f[key] for f in found[OTHER]], rng) for key in both]


def measure(command: str, tree: Path) -> Metrics:
    """All figures of a command with tgvae from ``tree``, by "row: figure". Raises RuntimeError where it fails."""
    with TemporaryDirectory() as place:
        out = Path(place) / "result.json"
        arguments = [*shlex.split(command), "--rounds", "1", "--out", str(out)]
        ran = subprocess.run(
            [sys.executable, str(SCRIPTS / "benchmark.py"), *arguments],
            env={**os.environ, "PYTHONPATH": str(tree.resolve())},
            capture_output=True,
            text=True,
        )
        if ran.returncode:
            raise RuntimeError(f"{command} failed with tgvae from {tree}:\n{ran.stderr}")
        return {f"{row.name}: {name}": value for row in read(out) for name, value in row.median.items()}


def compared(name: str, here: Sequence[float], other: Sequence[float], rng: np.random.Generator) -> Row:
    """A figure of both trees, the geometric mean of its ratios a round, and the interval over resampled rounds.

    Where a figure is 0 somewhere there is no ratio, and the row has none.
    """
    figures = {HERE: list(here), OTHER: list(other)}
    if min(*here, *other) > 0:
        logs = np.log(np.array(here) / np.array(other))
        drawn = np.exp(rng.choice(logs, (DRAWS, len(logs))).mean(1))
        low, high = np.percentile(drawn, (2.5, 97.5))
        figures |= {"ratio": [float(np.exp(logs.mean()))], "from": [float(low)], "to": [float(high)]}
    return Row(name, figures)

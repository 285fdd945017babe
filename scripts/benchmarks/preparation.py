"""Documents a second of `tgvae prepare` over engines and workers, and what a plan for many more has to know."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tyro

from benchmarks.reporting import Row
from benchmarks.running import Metrics, fresh, interleaved, peak_memory, rows
from data_prep.pipeline import Engine, prepare
from tgvae.data.schema import PreparedFolder


@dataclass(frozen=True)
class Options:
    """Documents a second, each in a fresh process, start-up of the workers included.

    `main ms` is the CPU time of the main process for a document where workers do the rest: it reads, merges counts
    and writes, and its inverse is what no number of workers can exceed. `KB` are those of the prepared folder.
    """

    source: tyro.conf.Positional[str]
    """A corpus as for `tgvae prepare`."""
    engines: tuple[Engine, ...] = ("processes",)
    """processes and ray."""
    workers: tuple[int, ...] = (1, 2)
    """Numbers of processes, or of CPUs for Ray."""
    rounds: int = 1
    """Measurements of each, in turn."""
    out: Path | None = None
    """File for the result as JSON."""


def run(options: Options) -> list[Row]:
    settings = [(engine, workers) for engine in options.engines for workers in options.workers]
    measures = {
        f"{engine}, {workers}": partial(of_engine, options.source, engine, workers) for engine, workers in settings
    }
    return rows(interleaved(measures, options.rounds))


def of_engine(source: str, engine: Engine, workers: int) -> Metrics:
    """Metrics of a fresh process."""
    return fresh("preparation:measure", {"source": source, "engine": engine, "workers": workers}, threads=1)


def measure(settings: Mapping[str, Any]) -> Metrics:
    """Documents a second; of the main process milliseconds a document and MiB; KB a document on disk."""
    with TemporaryDirectory() as place:
        begin, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        out = prepare(settings["source"], Path(place) / "out", workers=settings["workers"], engine=settings["engine"])
        seconds, then = time.perf_counter() - begin, used.ru_utime + used.ru_stime
        used = resource.getrusage(resource.RUSAGE_SELF)
        documents = sum(PreparedFolder.open(out).manifest["counts"]["documents"].values())
        size = sum(path.stat().st_size for path in out.iterdir())
    return {
        "documents/s": documents / seconds,
        "main ms": 1000 * (used.ru_utime + used.ru_stime - then) / documents,
        "main MiB": peak_memory("cpu"),
        "KB": size / documents / 1000,
    }

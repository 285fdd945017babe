"""Topic models on documents alone: ours, and ProdLDA ours and as a textbook writes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from benchmarks.peak import PRECISIONS
from benchmarks.reporting import Row
from benchmarks.running import Metrics, Rounds, add_ratio, fresh, interleaved, rows, threads_of
from benchmarks.sizes import SIZES
from benchmarks.synthetic import Shape, write_folder
from tgvae.recipes import topic_phase


@dataclass(frozen=True)
class Options:
    """Documents a second in training, by batches of the recipe (128): our mixture and our ProdLDA through the real
    loop, and a dense ProdLDA in plain torch. Made-up documents have 100 topic words.
    """

    topics: int = 50
    """T."""
    topic_words: int = 8000
    """D of the made-up documents."""
    prepared: Path | None = None
    """A prepared folder in their place."""
    threads: tuple[int, ...] = (1, 2)
    """Of torch."""
    precision: tuple[Literal["no", "bf16"], ...] = ("no",)
    """Of ours."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train."""
    documents: int = 10_000
    """Of the made-up corpus."""
    seconds: float = 20.0
    """Of each measurement, at most: else one epoch."""
    rounds: int = 3
    """Measurements of each, in turn."""
    out: Path | None = None
    """File for the result as JSON."""


def run(options: Options) -> list[Row]:
    sizes = asdict(replace(SIZES["small"], topics=options.topics, topic_words=options.topic_words))
    found: Rounds = {}
    with corpus(options) as folder:
        common = {"folder": str(folder), "device": options.device, "seconds": options.seconds}
        plain = common | {"topics": options.topics, "batch": topic_phase().batch}
        for threads in options.threads:
            name = f"textbook ProdLDA, {threads_of(threads)}"
            each = {name: partial(fresh, "textbook:measure_documents", plain, threads, tuned=False)}
            for kind in ("topic", "prodlda"):
                for precision in options.precision:
                    settings = common | {"kind": kind, "sizes": sizes, "precision": precision, "steps": 10**9}
                    title = f"ours, {kind}, {PRECISIONS[precision]}, {threads_of(threads)}"
                    each[title] = partial(ours, settings, threads)
            of_threads = interleaved(each, options.rounds)
            add_ratio(of_threads, "documents/s", list(each), [name], "x textbook")
            found |= of_threads
    return rows(found)


def ours(settings: dict[str, object], threads: int) -> Metrics:
    figures = fresh("loop:measure", settings, threads)
    return {name: figures[name] for name in ("documents/s", "step ms", "memory MiB")}


@contextmanager
def corpus(options: Options) -> Iterator[Path]:
    """The folder that was named, or a made-up one with enough documents."""
    if options.prepared is not None:
        yield options.prepared
        return
    with TemporaryDirectory() as place:
        yield write_folder(Path(place) / "corpus", Shape(options.documents, topic_words=options.topic_words))

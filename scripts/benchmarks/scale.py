"""How cost grows with the vocabulary, the length, the topics and the corpus, on made-up data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from benchmarks.loop import WARM
from benchmarks.reporting import Row
from benchmarks.running import Metrics, Rounds, fresh, interleaved, peak_memory, rows, slope
from benchmarks.sizes import SIZES, Sizes, Softmax
from benchmarks.synthetic import Shape, write_folder
from benchmarks.training import made_up
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder

TOKENS = SIZES["small"].sentences * SIZES["small"].length  # of a batch, at every length


@dataclass(frozen=True)
class Options:
    """Cost per token (or document) at every size, and the slope of log cost over log size.

    The slope of a cost per token is 0 where the whole is linear. Sizes are otherwise those of ``small``; the
    vocabulary and the length are those of a sentence VAE, the topics of the topic model alone. Documents of the
    corpus have one sentence of 10 tokens; `open s` reads them and gathers the first batch. Sentences of a corpus all
    have one length, so nothing is padded; they have lengths of their own in `training --prepared` and in peers.
    """

    vocabulary: tuple[int, ...] = (2000, 5000, 10_000, 20_000, 50_000)
    """V."""
    length: tuple[int, ...] = (10, 20, 50, 100, 200)
    """L, with as many tokens a batch."""
    topics: tuple[int, ...] = (10, 50, 100, 200, 500)
    """T."""
    documents: tuple[int, ...] = (1000, 10_000, 100_000, 1_000_000)
    """Of the corpus."""
    threads: int = 1
    """Of torch."""
    precision: Literal["no", "bf16"] = "no"
    """no is float32."""
    softmax: Softmax = "full"
    """Of the sentence VAE."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train."""
    steps: int = 10
    """Steps timed."""
    rounds: int = 1
    """Measurements of each, in turn."""
    out: Path | None = None
    """File for the result as JSON."""


def run(options: Options) -> list[Row]:
    small = SIZES["small"]
    found: list[Row] = []
    kinds: dict[str, tuple[str, Callable[[int], Sizes]]] = {
        "vocabulary": ("sentence-vae", lambda n: replace(small, vocabulary=n, softmax=options.softmax)),
        "length": ("sentence-vae", lambda n: replace(small, length=n, sentences=max(1, TOKENS // n))),
        "topics": ("topic", lambda n: replace(small, topics=n)),
    }
    for axis, (kind, sized) in kinds.items():
        measures = {n: partial(of_model, options, kind, sized(n)) for n in getattr(options, axis)}
        found += curve(axis, measures, options.rounds)
    return found + curve("documents", {n: partial(of_corpus, options, n) for n in options.documents}, options.rounds)


def curve(axis: str, measures: Mapping[int, Callable[[], Metrics]], rounds: int) -> list[Row]:
    """A row for every size, and one of slopes."""
    if not measures:
        return []
    found = interleaved({f"{axis} {n}": measure for n, measure in measures.items()}, rounds)
    figures = next(iter(found.values()))[0]
    slopes: Rounds = {
        f"{axis}, slope": [
            {name: slope(list(measures), [of_size[i][name] for of_size in found.values()]) for name in figures}
            for i in range(rounds)
        ]
    }
    return rows(found | slopes)


def of_model(options: Options, kind: str, sizes: Sizes) -> Metrics:
    """Microseconds a token (a document, for a topic model), and memory, in training."""
    with TemporaryDirectory() as place:
        documents = kind == "topic"
        shape = Shape((options.steps + WARM + 2) * 128, topic_words=sizes.topic_words)
        folder = write_folder(Path(place), shape) if documents else made_up(Path(place), sizes, options.steps)
        settings: dict[str, Any] = {
            "folder": str(folder),
            "kind": kind,
            "sizes": asdict(sizes),
            "precision": options.precision,
        }
        settings |= {"device": options.device, "steps": options.steps}
        figures = fresh("loop:measure", settings, options.threads)
    unit = "document" if documents else "token"
    return {f"us/{unit}": 1e6 / figures[f"{unit}s/s"], "memory MiB": figures["memory MiB"]}


def of_corpus(options: Options, documents: int) -> Metrics:
    """Opening a corpus, and training on it."""
    sizes = replace(SIZES["small"], length=10, sentences=TOKENS // 10)
    with TemporaryDirectory() as place:
        folder = write_folder(Path(place), Shape(documents, 1, sizes.length))
        settings: dict[str, Any] = {"folder": str(folder), "kind": "sentence-vae", "sizes": asdict(sizes)}
        settings |= {"precision": options.precision, "device": options.device, "steps": options.steps}
        opened = fresh("scale:measure_corpus", settings, options.threads)
        trained = fresh("loop:measure", settings, options.threads)
    return opened | {"us/token": 1e6 / trained["tokens/s"], "trained MiB": trained["memory MiB"]}


def measure_corpus(settings: Mapping[str, Any]) -> Metrics:
    """Seconds to open ``folder`` and gather a batch of ``TOKENS`` tokens, to cut an epoch into batches, and memory."""
    begin = time.perf_counter()
    rows = Corpus(PreparedFolder.open(settings["folder"]), "train").rows("sentence")
    first = rows.batches(TOKENS, 0)
    rows.gather(first[0])
    opened = time.perf_counter() - begin
    rows.batches(TOKENS, 1)
    again = time.perf_counter() - begin - opened
    return {
        "open s": opened,
        "batches s": again,
        "corpus MiB": peak_memory("cpu"),
    }

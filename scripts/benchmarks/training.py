"""Training of whole models, through the real loop on a made-up or a prepared corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from benchmarks.loop import WARM
from benchmarks.peak import PRECISIONS
from benchmarks.reporting import Row
from benchmarks.running import Rounds, fresh, interleaved, rows, threads_of
from benchmarks.sizes import SIZES, Kind, Sizes
from benchmarks.synthetic import Shape, write_folder


@dataclass(frozen=True)
class Options:
    """Tokens (eos counted, padding not) and documents a second, milliseconds a step, GF/s and their share of the
    peak (see peak) in the same precision, cores in use (processor time over time: below the threads where others need
    them too), peak memory, and seconds from the start of Python to the first step done.

    Made-up sentences all have one length, which the share of the peak needs: nothing is padded, and sorting by length
    changes nothing. Sentences have lengths of their own with ``--prepared``, and in peers.
    """

    sizes: tuple[Literal["small", "peer", "large"], ...] = ("small", "peer", "large")
    """small: E 128, H 200, Z 32, V 8000, 64 x 24 tokens; peer: 300, 256, 16, 10000, 32 x 20; large: 400, 600, 32,
    10000, 64 x 30. With topics T is 50, D 8000, the flow 5 long, a document 5 sentences of 20 topic words."""
    models: tuple[Kind, ...] = ("sentence-vae", "tgvae", "language-model")
    """Kinds of models."""
    threads: tuple[int, ...] = (1, 2)
    """Of torch."""
    precision: tuple[Literal["no", "bf16"], ...] = ("no", "bf16")
    """no is float32."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train."""
    prepared: Path | None = None
    """A prepared folder in place of the made-up corpus; its V and D count."""
    steps: int = 20
    """Steps timed."""
    rounds: int = 3
    """Measurements of each setting, in turn."""
    out: Path | None = None
    """File for the result as JSON."""


def run(options: Options) -> list[Row]:
    found: Rounds = {}
    peak_settings = {"n": (1024, 2048), "device": options.device}
    with corpora(options.prepared, options.sizes, options.steps) as folders:
        measures = {f"peak, {threads_of(t)}": partial(fresh, "peak:measure", peak_settings, t) for t in options.threads}
        for size, kind, precision, threads in product(
            options.sizes, options.models, options.precision, options.threads
        ):
            common = {"kind": kind, "precision": precision, "device": options.device, "steps": options.steps}
            settings = common | {"sizes": asdict(SIZES[size]), "folder": str(folders[size])}
            name = f"{size} {kind}, {PRECISIONS[precision]}, {threads_of(threads)}"
            measures[name] = partial(fresh, "loop:measure", settings, threads)
        found = interleaved(measures, options.rounds)
    add_shares(found)
    return rows(found)


def add_shares(found: Rounds) -> None:
    """Add to every row the share of the best peak over rounds that its GF/s are, by the precision in its name."""
    for name, rounds in found.items():
        _, *setting = name.split(", ")
        if len(setting) == 2:
            peak = max(figures[setting[0]] for figures in found[f"peak, {setting[1]}"])
            for figures in rounds:
                figures["of peak"] = figures["GF/s"] / peak


@contextmanager
def corpora(prepared: Path | None, names: Sequence[str], steps: int) -> Iterator[dict[str, Path]]:
    """A folder for each of the sizes: the one that was named, or made-up ones that go afterwards."""
    if prepared is not None:
        yield dict.fromkeys(names, prepared)
        return
    with TemporaryDirectory() as place:
        yield {name: made_up(Path(place) / name, SIZES[name], steps) for name in names}


def made_up(path: Path, sizes: Sizes, steps: int) -> Path:
    """A prepared folder with enough sentences for that many steps, and some."""
    documents = (steps + WARM + 2) * sizes.sentences // 5 + 1
    shape = Shape(documents, 5, sizes.length, 20, sizes.vocabulary, sizes.topic_words)
    return write_folder(path, shape)

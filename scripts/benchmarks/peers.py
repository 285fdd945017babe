"""Training beside other text VAEs: the same sentences, sizes, batch and threads, each by its own program."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from benchmarks.loop import first_documents
from benchmarks.peak import PRECISIONS
from benchmarks.peer_files import Peer, lagging, sentence_vae, token_rows
from benchmarks.reporting import Row
from benchmarks.running import Metrics, Rounds, add_ratio, environment, fresh, interleaved, rows, threads_of
from benchmarks.sizes import SIZES, Softmax
from tgvae.data.schema import PreparedFolder
from tgvae.errors import UserError


@dataclass(frozen=True)
class Options:
    """Tokens a second (eos counted, padding not) of one epoch, or as much of it as fits into ``seconds``.

    The peers run in a copy of their checkout (it may need `pip install tensorboardX`), no source changed, with
    OMP_NUM_THREADS alone set; the clock runs from their first line of progress to their last. ``textbook`` is an
    nn.GRU VAE with packed sequences and plain cross-entropy. Ours is the real loop with loading, clipping and logging.
    """

    prepared: Path
    """The corpus, a prepared folder; V is its tokenizer's."""
    sentence_vae: Path | None = None
    """A checkout of timbmg/Sentence-VAE."""
    lagging: Path | None = None
    """A checkout of jxhe/vae-lagging-encoder."""
    size: Literal["small", "peer", "large"] = "peer"
    """E, H, Z and sentences a batch, as in training."""
    bidirectional: bool = False
    """Let our encoder and the textbook's read both ways; those of the peers read forwards."""
    sentences: int = 10_000
    """The first so many of the training split."""
    seconds: float = 60.0
    """At most, for each."""
    threads: tuple[int, ...] = (1, 2)
    """Of torch."""
    precision: tuple[Literal["no", "bf16"], ...] = ("no", "bf16")
    """Of ours."""
    softmax: tuple[Softmax, ...] = ("full",)
    """Of ours; adaptive is another parametrisation of the same sizes, and as exact."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train."""
    rounds: int = 3
    """Measurements of each, in turn."""
    out: Path | None = None
    """File for the result as JSON."""


def run(options: Options) -> list[Row]:
    found: Rounds = {}
    with contenders(options) as measures:
        for threads in options.threads:
            each = {f"{name}, {threads_of(threads)}": partial(measure, threads) for name, measure in measures.items()}
            of_threads = interleaved(each, options.rounds)
            theirs = [name for name in each if name.startswith("peer ")]
            if theirs:
                add_ratio(of_threads, "tokens/s", list(each), theirs, "x faster peer")
            add_ratio(of_threads, "tokens/s", list(each), [f"textbook, {threads_of(threads)}"], "x textbook")
            found |= of_threads
    return rows(found)


@contextmanager
def contenders(options: Options) -> Iterator[dict[str, Callable[[int], Metrics]]]:
    """What measures each of them with a number of threads."""
    folder = PreparedFolder.open(options.prepared)
    tokens = token_rows(first_documents(folder, options.sentences))
    sizes = replace(
        SIZES[options.size],
        vocabulary=len(folder.tokenizer),
        length=mean_length(tokens),
        bidirectional=options.bidirectional,
    )
    common = {"folder": str(options.prepared), "first": options.sentences, "sizes": asdict(sizes)}
    common |= {"seconds": options.seconds, "device": options.device}
    found: dict[str, Callable[[int], Metrics]] = {}
    with TemporaryDirectory() as place:
        for name, checkout, write in (
            ("Sentence-VAE", options.sentence_vae, sentence_vae),
            ("vae-lagging-encoder", options.lagging, lagging),
        ):
            if checkout is not None:
                copy = copied(checkout, Path(place) / name)
                peer = write(copy, tokens, sizes)
                found[f"peer {name}"] = partial(peer_speed, copy, peer, options.seconds, options.device)
        found["textbook"] = lambda threads: fresh("textbook:measure_sentences", common, threads, tuned=False)
        for kind, softmax, precision in product(("sentence-vae", "tgvae"), options.softmax, options.precision):
            settings = common | {"kind": kind, "precision": precision, "steps": 10**9}
            settings |= {"sizes": asdict(replace(sizes, softmax=softmax))}
            name = kind if softmax == "full" else f"{kind} ({softmax})"
            found[f"{name}, {PRECISIONS[precision]}"] = partial(ours, settings)
        yield found


def ours(settings: dict[str, object], threads: int) -> Metrics:
    return {"tokens/s": fresh("loop:measure", settings, threads)["tokens/s"]}


def mean_length(tokens: list[list[int]]) -> int:
    """Tokens of a mean sentence, eos counted: as many a batch as that many sentences have."""
    return round(float(np.mean([len(row) + 1 for row in tokens])))


def copied(checkout: Path, place: Path) -> Path:
    """A copy of a checkout without its history. Raises UserError where there is no checkout."""
    if not checkout.is_dir():
        raise UserError(f"{checkout}: no such folder; give a checkout of the peer, or leave it out")
    shutil.copytree(checkout, place, ignore=shutil.ignore_patterns(".git", "__pycache__"))
    return place


def peer_speed(copy: Path, peer: Peer, seconds: float, device: str, threads: int) -> Metrics:
    """Tokens a second between a peer's first and last line of progress, timed as the lines arrive.

    Raises:
        UserError: it printed fewer than two such lines; the message has its last words.
    """
    env = environment(threads, tuned=False) | {"PYTHONUNBUFFERED": "1"}
    env |= {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    moments: list[tuple[int, float]] = []
    told: list[str] = []
    command = [sys.executable, *peer.command]
    with subprocess.Popen(
        command, cwd=copy, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                told.append(line)
                if at := peer.progress.search(line):
                    moments.append((int(at[1]), time.perf_counter()))
                    if moments[-1][1] - moments[0][1] > seconds:
                        break
        finally:
            stop(process)
    if len(moments) < 2:
        raise UserError(f"{copy.name}: no lines of progress to time; its last words: {''.join(told[-3:]).strip()}")
    (first, begin), (last, end) = moments[0], moments[-1]
    return {"tokens/s": (last - first) * peer.tokens / (end - begin)}


def stop(process: subprocess.Popen[str]) -> None:
    """End a process and those that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return

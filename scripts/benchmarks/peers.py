"""Data and commands of two public text VAEs, in a copy of their checkout: files are added, none is changed.

Both get the same sentences as ids written "w17", so that their vocabulary is that of the prepared folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import Metrics, environment
from benchmarks.workloads import Sizes
from tgvae.data.tokenizers import BOS, EOS, PAD, SPECIALS
from tgvae.errors import UserError

HELD_OUT = 64  # sentences for their validation, which is not timed
LINES = 10  # batches between two lines of progress of Sentence-VAE
Tokens = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Peer:
    """How to run a peer, and how to read its speed.

    Attributes:
        command: arguments of Python in the copy of the checkout.
        progress: finds the number of the batch in a line of output.
        tokens: of a mean batch, with eos and without padding.
    """

    command: list[str]
    progress: re.Pattern[str]
    tokens: float


def sentence_vae(copy: Path, rows: Tokens, sizes: Sizes) -> Peer:
    """Write the data of timbmg/Sentence-VAE, padded as it pads them; GRUs of one direction."""
    require(len(rows), LINES * sizes.sentences)
    longest = max(map(len, rows)) + 1
    names = ["<pad>", "<unk>", "<sos>", "<eos>", *(f"w{i}" for i in range(len(SPECIALS), sizes.vocabulary))]
    data = copy / "data"
    data.mkdir(exist_ok=True)
    for split, part in (("train", rows), ("valid", rows[:HELD_OUT])):
        items = {}
        for i, row in enumerate(part):
            padding = [PAD] * (longest - len(row) - 1)
            items[i] = {"input": [BOS, *row, *padding], "target": [*row, EOS, *padding], "length": len(row) + 1}
        (data / f"ptb.{split}.json").write_text(json.dumps(items), encoding="utf-8")
    words = {"w2i": {name: i for i, name in enumerate(names)}, "i2w": dict(enumerate(names))}
    (data / "ptb.vocab.json").write_text(json.dumps(words), encoding="utf-8")
    options = {"-eb": sizes.embedding, "-hs": sizes.hidden, "-ls": sizes.latent, "-bs": sizes.sentences}
    options |= {"--max_sequence_length": longest, "-ep": 1, "-v": LINES}
    command = ["train.py", *(str(x) for pair in options.items() for x in pair)]
    return Peer(command, re.compile(r"TRAIN Batch (\d+)/"), sizes.sentences * mean_tokens(rows))


def lagging(copy: Path, rows: Tokens, sizes: Sizes) -> Peer:
    """Write the data and configuration of jxhe/vae-lagging-encoder, without its aggressive phase; LSTMs.

    A batch has sentences of one length, and fewer where there are not enough of them, so nothing is padded. The
    vocabulary is that of the training sentences, so missing words are added to these.
    """
    require(len(rows), 10 * sizes.sentences)
    missing = sorted(set(range(len(SPECIALS), sizes.vocabulary)).difference(*rows))
    rows = [*rows, *(missing[i : i + sizes.length] for i in range(0, len(missing), sizes.length))]
    (copy / "datasets").mkdir(exist_ok=True)
    for split, part in (("train", rows), ("valid", rows[:HELD_OUT])):
        lines = (" ".join(f"w{i}" for i in row) for row in part)
        (copy / "datasets" / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    params = {"enc_type": "lstm", "dec_type": "lstm", "nz": sizes.latent, "ni": sizes.embedding}
    params |= {"enc_nh": sizes.hidden, "dec_nh": sizes.hidden, "dec_dropout_in": 0.5, "dec_dropout_out": 0.5}
    params |= {"batch_size": sizes.sentences, "epochs": 1, "test_nepoch": 1, "train_data": "datasets/train.txt"}
    params |= dict.fromkeys(("val_data", "test_data"), "datasets/valid.txt")
    (copy / "config" / "config_measured.py").write_text(f"params = {params!r}\n", encoding="utf-8")
    _, counts = np.unique([len(row) for row in rows], return_counts=True)
    batches = int(np.ceil(counts / sizes.sentences).sum())
    command = ["text.py", "--dataset", "measured"]
    return Peer(command, re.compile(r"^epoch: 0, iter: (\d+),"), mean_tokens(rows) * len(rows) / batches)


PEERS: dict[str, Callable[[Path, Tokens, Sizes], Peer]] = {"Sentence-VAE": sentence_vae, "vae-lagging-encoder": lagging}


def mean_tokens(rows: Tokens) -> float:
    return float(np.mean([len(row) + 1 for row in rows]))


def require(count: int, needed: int) -> None:
    if count < 2 * needed:
        raise UserError(f"{count} sentences are too few to time a peer: give at least {2 * needed}, or a smaller batch")


def copied(checkout: Path, place: Path) -> Path:
    """Copy a checkout without its history. Raises UserError if there is none."""
    if not checkout.is_dir():
        raise UserError(f"{checkout}: no such folder; give a checkout of the peer, or leave it out")
    shutil.copytree(checkout, place, ignore=shutil.ignore_patterns(".git", "__pycache__"))
    return place


def peer_speed(copy: Path, peer: Peer, seconds: float, device: str, threads: int) -> Metrics:
    """Return tokens per second between a peer's first and last line of progress, timed as the lines arrive.

    Raises:
        UserError: it printed fewer than two such lines; the message has the end of its output.
    """
    env = environment(threads, tuned=False) | {"PYTHONUNBUFFERED": "1"}
    env |= {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    moments: list[tuple[int, float]] = []
    output: list[str] = []
    pipe: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, *peer.command]
    with subprocess.Popen(command, cwd=copy, env=env, start_new_session=True, **pipe) as process:
        try:
            for line in process.stdout or ():
                output.append(line)
                if at := peer.progress.search(line):
                    moments.append((int(at[1]), time.perf_counter()))
                    if moments[-1][1] - moments[0][1] > seconds:
                        break
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if len(moments) < 2:
        raise UserError(f"{copy.name}: no lines of progress; the output ends with: {''.join(output[-3:]).strip()}")
    (first, begin), (last, end) = moments[0], moments[-1]
    return {"tokens/s": (last - first) * peer.tokens / (end - begin)}

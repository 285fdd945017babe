"""Data and commands of two public text VAEs, for a copy of their checkout: files are added, none is changed.

Both get the same sentences as ids written "w17", so that their vocabulary is the prepared folder's, without their
own choice of words. What either counts as a batch is stated at its function.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.sizes import Sizes
from tgvae.data.corpus import Corpus
from tgvae.data.tokenizers import BOS, EOS, PAD, SPECIALS
from tgvae.errors import UserError

HELD_OUT = 64  # sentences for their validation, which no figure counts
LINES = 10  # batches between two lines of Sentence-VAE


@dataclass(frozen=True)
class Peer:
    """How to run a peer, and how to read its speed.

    Attributes:
        command: arguments of Python in the copy of the checkout.
        progress: finds the number of the batch in a line that it prints in training.
        tokens: of a mean batch, eos counted and padding not.
    """

    command: list[str]
    progress: re.Pattern[str]
    tokens: float


def token_rows(corpus: Corpus) -> list[list[int]]:
    """Tokens of every modelled sentence, without bos and eos, in the order of their lengths."""
    rows = []
    for index in corpus.sentence_batches(65_536):
        batch = corpus.gather(index)
        rows += [row[: n - 1] for row, n in zip(batch.targets.tolist(), batch.lengths.tolist(), strict=True)]
    return rows


def sentence_vae(copy: Path, rows: Sequence[Sequence[int]], sizes: Sizes) -> Peer:
    """timbmg/Sentence-VAE: its file of ids, padded as it pads them; a batch is ``sizes.sentences`` at random.

    Its encoder and decoder are GRUs of one direction, with vocabulary weights of their own. It is asked for a line
    every ``LINES`` batches.
    """
    longest = max(map(len, rows)) + 1
    names = ["<pad>", "<unk>", "<sos>", "<eos>", *(f"w{i}" for i in range(len(SPECIALS), sizes.vocabulary))]
    words = {"w2i": {name: i for i, name in enumerate(names)}, "i2w": dict(enumerate(names))}
    data = copy / "data"
    data.mkdir(exist_ok=True)
    _require(len(rows), LINES * sizes.sentences)
    for split, part in (("train", rows), ("valid", rows[:HELD_OUT])):
        items = {
            i: {
                "input": _padded([BOS, *row], longest),
                "target": _padded([*row, EOS], longest),
                "length": len(row) + 1,
            }
            for i, row in enumerate(part)
        }
        (data / f"ptb.{split}.json").write_text(json.dumps(items), encoding="utf-8")
    (data / "ptb.vocab.json").write_text(json.dumps(words), encoding="utf-8")
    asked = {"-eb": sizes.embedding, "-hs": sizes.hidden, "-ls": sizes.latent, "-bs": sizes.sentences}
    options = asked | {"--max_sequence_length": longest, "-ep": 1, "-v": LINES}
    command = ["train.py", *(str(x) for pair in options.items() for x in pair)]
    return Peer(command, re.compile(r"TRAIN Batch (\d+)/"), sizes.sentences * _mean_tokens(rows))


def lagging(copy: Path, rows: Sequence[Sequence[int]], sizes: Sizes) -> Peer:
    """jxhe/vae-lagging-encoder, without its aggressive phase: lines of words, and a configuration.

    Encoder and decoder are LSTMs of one direction. A batch has sentences of one length and is smaller where there
    are not enough of them: that is how it pads nothing. It finds its vocabulary in the training sentences, so
    words that these lack are added to them, ``sizes.length`` a line. In its first epoch it looks at the ``HELD_OUT``
    sentences with every line, ten times in all.
    """
    _require(len(rows), 10 * sizes.sentences)
    missing = sorted(set(range(len(SPECIALS), sizes.vocabulary)).difference(*rows))
    more = [missing[i : i + sizes.length] for i in range(0, len(missing), sizes.length)]
    data = copy / "datasets"
    data.mkdir(exist_ok=True)
    for split, part in (("train", [*rows, *more]), ("valid", rows[:HELD_OUT])):
        lines = (" ".join(f"w{i}" for i in row) for row in part)
        (data / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    train, valid = "datasets/train.txt", "datasets/valid.txt"
    params = {"enc_type": "lstm", "dec_type": "lstm", "nz": sizes.latent, "ni": sizes.embedding}
    params |= {"enc_nh": sizes.hidden, "dec_nh": sizes.hidden, "dec_dropout_in": 0.5, "dec_dropout_out": 0.5}
    params |= {"batch_size": sizes.sentences, "epochs": 1, "test_nepoch": 1}
    params |= {"train_data": train, "val_data": valid, "test_data": valid}
    (copy / "config" / "config_measured.py").write_text(f"params = {params!r}\n", encoding="utf-8")
    _, counts = np.unique([len(row) for row in (*rows, *more)], return_counts=True)
    batches = int(np.ceil(counts / sizes.sentences).sum())
    tokens = _mean_tokens([*rows, *more]) * len([*rows, *more]) / batches
    return Peer(["text.py", "--dataset", "measured"], re.compile(r"^epoch: 0, iter: (\d+),"), tokens)


def _padded(ids: Sequence[int], length: int) -> list[int]:
    return [*ids, *[PAD] * (length - len(ids))]


def _mean_tokens(rows: Sequence[Sequence[int]]) -> float:
    """Tokens a sentence, eos counted."""
    return float(np.mean([len(row) + 1 for row in rows]))


def _require(count: int, needed: int) -> None:
    if count < 2 * needed:
        raise UserError(f"{count} sentences are too few to time a peer: give at least {2 * needed}, or a smaller batch")

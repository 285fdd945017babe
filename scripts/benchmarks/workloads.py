"""Sizes of models, recipes of these sizes, and a training split that times the real loop."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from tgvae.data.corpus import Corpus
from tgvae.data.dataset import Rows, Unit
from tgvae.data.schema import PreparedFolder
from tgvae.errors import UserError
from tgvae.models.tgvae import TGVAEConfig
from tgvae.recipes import RECIPES, Recipe
from tgvae.runs import kind_of
from tgvae.training.loop import train

Kind = Literal["sentence-vae", "tgvae", "language-model"]
Softmax = Literal["full", "adaptive"]
WARM = 3  # steps before the clock starts


@dataclass(frozen=True)
class Sizes:
    """E, H, Z, V of a model, and sentences of a batch with their mean length."""

    embedding: int
    hidden: int
    latent: int
    vocabulary: int
    sentences: int
    length: int
    bidirectional: bool = True
    softmax: Softmax = "full"


SIZES = {
    "small": Sizes(128, 200, 32, 8000, 64, 24),  # of the recipes
    "peer": Sizes(300, 256, 16, 10_000, 32, 20),  # the defaults of Sentence-VAE
    "large": Sizes(400, 600, 32, 10_000, 64, 30),
}


def sized(name: str, sentence: dict[str, Any], phase: dict[str, Any], topics: int = 50, **train: Any) -> Recipe:
    """Return a recipe with changes to the sentence model, the last phase and training, and with so many topics."""
    recipe, model = RECIPES[name](), RECIPES[name]().model
    if isinstance(model, TGVAEConfig):
        topic = replace(model.topic, topics=topics)
        model = replace(model, topic=topic, sentence=replace(model.sentence, **sentence))
    else:
        model = replace(model, **sentence)
    phases = dict(recipe.train.phases)
    last = list(phases)[-1]
    phases[last] = replace(phases[last], **phase)
    return replace(recipe, model=model, train=replace(recipe.train, phases=phases, **train))


def recipe(kind: str, sizes: Sizes, precision: str, device: str) -> Recipe:
    """Return one epoch of the last phase of a recipe in these sizes; TGVAE has a flow of length 5."""
    sentence: dict[str, Any] = {"bidirectional": sizes.bidirectional, "softmax": sizes.softmax}
    sentence |= {"embedding_size": sizes.embedding, "hidden_size": sizes.hidden, "latent_size": sizes.latent}
    sentence |= {"flow_length": 5 * (kind == "tgvae")}
    phase = {"batch": sizes.sentences * sizes.length, "epochs": 1}
    found = sized(kind, sentence, phase, precision=precision, device="cpu" if device == "cpu" else "auto")
    last = list(found.train.phases)[-1]
    return replace(found, train=replace(found.train, phases={last: found.train.phases[last]}))


class EnoughError(Exception):
    """Training has run for the time that was asked for."""


@dataclass
class Timed:
    """A training split that records when each batch was requested.

    A step is the time between two batches: gathering, the model, clipping, the optimizer and logging. Raises
    EnoughError after ``seconds``.
    """

    corpus: Corpus
    device: str
    seconds: float
    moments: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    description = ""

    def rows(self, unit: Unit) -> Rows:
        rows = self.corpus.rows(unit)

        def gather(index: NDArray[np.int64]) -> Any:
            self.note(int(self.corpus.lengths[index].sum()) + len(index))  # with eos
            return rows.gather(index)

        return replace(rows, gather=gather)

    def note(self, tokens: int) -> None:
        """Record that a batch of so many tokens begins."""
        if len(self.moments) == WARM:
            synchronize(self.device)
        self.moments.append(time.perf_counter())
        self.tokens.append(tokens)
        if len(self.moments) > WARM + 1 and self.moments[-1] - self.moments[WARM] > self.seconds:
            synchronize(self.device)
            raise EnoughError

    @property
    def speed(self) -> tuple[float, float]:
        """Tokens per second and seconds per step."""
        if len(self.moments) < WARM + 2:
            raise UserError(f"only {len(self.moments)} batches: too few to time; give more data or a smaller batch")
        seconds = self.moments[-1] - self.moments[WARM]
        return sum(self.tokens[WARM:-1]) / seconds, seconds / (len(self.moments) - WARM - 1)


def train_for(split: Timed, folder: PreparedFolder, plan: Recipe) -> None:
    """Train a new model on a timed split, in a temporary folder."""
    if split.device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"device is {split.device}, but torch finds no GPU; leave out --device")
    torch.manual_seed(0)
    model = kind_of(plan).from_data(plan.model, folder)
    valid = Corpus(folder, "valid", first_rows(folder.split("valid"), 16))
    with TemporaryDirectory() as run, suppress(EnoughError):
        train(model, {"train": split, "valid": valid}, plan.train, Path(run), quiet=True)


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def first_documents(folder: PreparedFolder, sentences: int) -> Corpus:
    """Return the first documents of the training split that together have so many sentences."""
    corpus = Corpus(folder, "train")
    if len(corpus.lengths) <= sentences:
        return corpus
    return Corpus(folder, "train", first_rows(corpus.table, int(corpus.sentences[sentences, 0])))


def first_rows(table: pa.Table, count: int) -> pa.Table:
    return table.take(np.arange(min(count, len(table))))  # a copy; a slice would keep all rows in memory


def token_rows(corpus: Corpus) -> list[list[int]]:
    """Return the tokens of every sentence, without bos and eos, sorted by length."""
    rows = []
    for index in corpus.sentence_batches(65_536):
        batch = corpus.gather(index)
        rows += [row[: n - 1] for row, n in zip(batch.targets.tolist(), batch.lengths.tolist(), strict=True)]
    return rows

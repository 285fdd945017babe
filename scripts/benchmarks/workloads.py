"""Sizes of models, recipes of these sizes, synthetic corpora, and a training split that times the real loop."""

from __future__ import annotations

import json
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
from tgvae.data.schema import DOCUMENT, FORMAT, MANIFEST, SPLITS, TOPIC_WORDS, PreparedFolder, arrow_file, file_hash
from tgvae.data.tokenizers import SPECIALS, WordTokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.errors import UserError
from tgvae.models.sentence import SentenceConfig
from tgvae.models.tgvae import TGVAEConfig
from tgvae.recipes import RECIPES, Recipe
from tgvae.runs import kind_of
from tgvae.training.loop import train

Kind = Literal["sentence-vae", "tgvae", "language-model"]
Softmax = Literal["full", "adaptive"]
WARM = 3  # steps before the clock starts
HELD_OUT = 64  # documents of the validation and test splits of a synthetic corpus
TOPICS = 50  # of a synthetic corpus


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


def recipe(kind: str, sizes: Sizes, precision: Any, device: str) -> Recipe:
    """Return the last phase of a recipe in these sizes; TGVAE has 50 topics and a flow of length 5."""
    found, model = RECIPES[kind](), SentenceConfig(sizes.embedding, sizes.hidden, sizes.latent)
    model = replace(model, bidirectional=sizes.bidirectional, softmax=sizes.softmax, flow_length=5 * (kind == "tgvae"))
    config = replace(found.model, sentence=model) if isinstance(found.model, TGVAEConfig) else model
    name, phase = list(found.train.phases.items())[-1]
    phases = {name: replace(phase, batch=sizes.sentences * sizes.length, epochs=1)}
    where: Any = "cpu" if device == "cpu" else "auto"
    return replace(found, model=config, train=replace(found.train, phases=phases, precision=precision, device=where))


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


def synthetic(path: Path, sizes: Sizes, documents: int, sentences: int = 5, topic_words: int = 8000) -> Path:
    """Write a prepared folder of random sentences of one length; the same sizes give the same files.

    Tokens follow Zipf's law, topic words an LDA whose topics are Zipf's laws over permutations of the words.
    """
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    orders = np.stack([rng.permutation(topic_words) for _ in range(TOPICS)]).astype(np.int32)
    length, words = sizes.length - 1, min(sizes.length - 1, 20)  # without eos; topic words per sentence
    for split, count in zip(SPLITS, (documents, HELD_OUT, HELD_OUT), strict=True):
        tokens = zipf(count * sentences * length, sizes.vocabulary - len(SPECIALS), rng) + len(SPECIALS)
        theta = rng.dirichlet(np.full(TOPICS, 0.1), count).cumsum(1)
        topic = (rng.random((count, sentences * words))[:, :, None] > theta[:, None, :-1]).sum(-1).ravel()
        bags = orders[topic, zipf(len(topic), topic_words, rng)]
        columns = {
            "id": pa.array(np.arange(count).astype(str)),
            "sentences": lists(pa.array([""] * (count * sentences)), sentences),
            "tokens": lists(lists(pa.array(tokens.astype(np.int32)), length), sentences),
            "topic_words": lists(lists(pa.array(bags), words), sentences),
            "words": lists(pa.array(np.full(count * sentences, length, dtype=np.int32)), sentences),
        }
        table = pa.table([columns.get(name, pa.nulls(count, pa.string())) for name in DOCUMENT.names], schema=DOCUMENT)
        with pa.OSFile(str(path / arrow_file(split)), "wb") as file, pa.ipc.new_file(file, DOCUMENT) as writer:
            writer.write_table(table)
    saved = WordTokenizer([f"w{i}" for i in range(sizes.vocabulary - len(SPECIALS))]).save(path)
    TopicVocabulary([f"t{i}" for i in range(topic_words)]).save(path / TOPIC_WORDS)
    manifest: dict[str, Any] = {"format": FORMAT, "source": {"name": "synthetic", "licence": "none"}}
    manifest |= {"settings": {"max_sentence_words": sizes.length}, "counts": {}, "skipped": {}, "versions": {}}
    names = (saved.name, TOPIC_WORDS, *map(arrow_file, SPLITS))
    (path / MANIFEST).write_text(json.dumps(manifest | {"files": {name: file_hash(path / name) for name in names}}))
    return path


def zipf(count: int, size: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Sample 0 to size - 1 with p(r) proportional to 1 / (r + 2.7), Mandelbrot's form for English words."""
    cumulative = np.cumsum(1 / (np.arange(size) + 2.7))
    return np.searchsorted(cumulative / cumulative[-1], rng.random(count)).astype(np.int32)


def lists(values: pa.Array, each: int) -> pa.ListArray:
    """Split values into lists of ``each``."""
    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(values) + 1, each), pa.int32()), values)

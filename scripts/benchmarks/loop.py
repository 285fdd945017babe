"""The real training loop, timed from outside: by the moments at which it asks for batches."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.peak import synchronize
from benchmarks.running import peak_memory
from benchmarks.sizes import Sizes, flops, recipe
from tgvae.data.corpus import Corpus
from tgvae.data.dataset import Ints, Rows, Unit
from tgvae.data.schema import PreparedFolder
from tgvae.errors import UserError
from tgvae.runs import kind_of
from tgvae.training.loop import train

WARM = 3  # steps before the clock starts


class EnoughError(Exception):
    """The loop has run as long as was asked for."""


@dataclass
class Timed:
    """A training split that notes when each batch was asked for, and what it held.

    A step is the time between two batches: gathering, moving, the model, clipping, the optimiser and the journal,
    without validation and checkpoints. A loop that gathers ahead shifts all moments alike.

    Attributes:
        corpus: the split.
        device: of the model.
        steps: timed after ``WARM`` others, then ``EnoughError`` is raised.
        seconds: of all, at most.
    """

    corpus: Corpus
    device: str
    steps: int
    seconds: float = float("inf")
    moments: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)
    held: list[Ints] = field(default_factory=list)

    def rows(self, unit: Unit) -> Rows:
        rows = self.corpus.rows(unit)

        def gather(index: Ints) -> Any:
            self._note(index)
            return rows.gather(index)

        return replace(rows, gather=gather)

    def _note(self, index: Ints) -> None:
        number = len(self.moments)
        if number in (WARM, WARM + self.steps):
            synchronize(self.device)
        self.moments.append(time.perf_counter())
        self.work.append(time.process_time())
        self.held.append(np.asarray(index))
        timed = number - WARM
        if timed == self.steps or (timed > 0 and self.moments[-1] - self.moments[WARM] > self.seconds):
            raise EnoughError

    def load(self, unit: Unit) -> dict[str, float]:
        """Steps, seconds and cores in use, and of a mean step the tokens (eos counted), sentences and documents."""
        if len(self.moments) < WARM + 2:
            raise UserError(f"only {len(self.moments)} batches: too few to time; give more data or a smaller batch")
        timed = self.held[WARM:-1]
        sentences = sum(map(len, timed)) if unit == "sentence" else 0
        tokens = sum(int(self.corpus.lengths[i].sum()) + len(i) for i in timed) if sentences else 0
        documents = [len(np.unique(self.corpus.sentences[i, 0])) if sentences else len(i) for i in timed]
        each = {"tokens": tokens, "sentences": sentences, "documents": sum(documents)}
        seconds = self.moments[-1] - self.moments[WARM]
        cores = (self.work[-1] - self.work[WARM]) / seconds
        return {"steps": len(timed), "seconds": seconds, "cores": cores} | {
            name: n / len(timed) for name, n in each.items()
        }


def train_model(settings: Mapping[str, Any], folder: PreparedFolder, split: Timed) -> Unit:
    """Train in a folder that is thrown away until ``EnoughError``, or the split was seen; returns the unit of rows."""
    plan = recipe(settings["kind"], Sizes(**settings["sizes"]), settings["precision"], settings["device"])
    torch.manual_seed(0)
    model = kind_of(plan).from_data(plan.model, folder)
    valid = Corpus(folder, "valid", first_rows(folder.split("valid"), 16))
    with TemporaryDirectory() as run, suppress(EnoughError):
        train(model, {"train": split, "valid": valid}, plan.train, Path(run), quiet=True)
    return next(iter(plan.train.phases.values())).unit


def require_device(device: str) -> None:
    """Raises UserError for a GPU where there is none."""
    if device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"device is {device}, but torch sees no GPU here; leave out --device")


def first_documents(folder: PreparedFolder, sentences: int | None) -> Corpus:
    """The training split, or as many of its first documents as together have that many sentences to model."""
    corpus = Corpus(folder, "train")
    if sentences is None or len(corpus.lengths) <= sentences:
        return corpus
    return Corpus(folder, "train", first_rows(corpus.table, int(corpus.sentences[sentences, 0])))


def first_rows(table: pa.Table, count: int) -> pa.Table:
    """A copy of the first rows: in a slice the arrays below still hold all of them."""
    return table.take(np.arange(min(count, len(table))))


def measure(settings: Mapping[str, Any]) -> dict[str, float]:
    """A training run, timed: see ``benchmarks.training`` for the figures.

    Args:
        settings: ``folder``, ``kind``, ``sizes``, ``precision``, ``device``, ``steps``, ``began``, and perhaps
            ``seconds`` and ``first`` (sentences of the split).

    Raises:
        UserError: no GPU where one is asked for, or too few batches.
    """
    sizes, kind, device = Sizes(**settings["sizes"]), settings["kind"], settings["device"]
    require_device(device)
    folder = PreparedFolder.open(settings["folder"])
    corpus = first_documents(folder, settings.get("first"))
    timed = Timed(corpus, device, settings["steps"], settings.get("seconds", float("inf")))
    unit = train_model(settings, folder, timed)
    load, memory = timed.load(unit), peak_memory(device)  # the memory before the bags of a whole corpus are counted
    step = load["seconds"] / load["steps"]
    figures = {f"{name}/s": load[name] / step for name in ("tokens", "documents") if load[name]}
    if unit == "sentence" and sizes.softmax == "full":
        words = corpus.bags.nnz / corpus.documents
        actual = replace(sizes, vocabulary=len(folder.tokenizer), topic_words=len(folder.topic_vocabulary))
        figures["GF/s"] = sum(flops(kind, actual, load | {"words": words}).values()) / step / 1e9
    started = timed.moments[1] - time.perf_counter() + time.time() - settings["began"]
    figures |= {"step ms": 1000 * step, "cores": load["cores"]}
    return figures | {"memory MiB": memory, "start s": started}

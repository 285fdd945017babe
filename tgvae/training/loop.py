"""The one training loop, on accelerate: phases of epochs over documents or sentences.

Randomness is a function of (seed, step, process), batches of (seed, epoch): a resumed run takes the same
steps as an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from tgvae.data.batch import Batch, Documents
from tgvae.data.corpus import Corpus
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import document_bound, sentence_bound
from tgvae.models.base import WEIGHTS, Model
from tgvae.schedules import Schedule
from tgvae.trace import objective
from tgvae.training.checkpoint import Progress, load_checkpoint, read_progress, save_checkpoint
from tgvae.training.journal import Journal

Unit = Literal["document", "sentence"]
CHECKPOINT = "last.safetensors"


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own optimiser and early stopping.

    Attributes:
        unit: train on bags of words of ``document``s alone, or on ``sentence``s with their documents.
        epochs: at most this many.
        learning_rate: peak of a cosine with a short warm-up.
        batch: documents, or padded tokens, a batch.
        weights: weight of terms over the phase, by name; others count once.
        free_nats: floor of terms, by name.
        temperature: of the model's Gumbel-softmax draws.
        patience: stop after this many epochs without a better validation bound.
    """

    unit: Unit
    epochs: int = 10
    learning_rate: float = 1e-3
    batch: int = 4096
    weights: dict[str, Schedule] = field(default_factory=dict)
    free_nats: dict[str, float] = field(default_factory=dict)
    temperature: Schedule = field(default_factory=Schedule)
    patience: int = 3


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        phases: by name, one after another; each starts from the best state of the one before.
        seed: of everything.
        clip: largest norm of the gradient.
        precision: ``bf16`` computes in bfloat16 where the hardware has it.
        device: ``auto`` takes the accelerator if there is one.
        save_minutes: between checkpoints within an epoch; one is made after every epoch anyhow.
    """

    phases: dict[str, Phase] = field(default_factory=dict)
    seed: int = 0
    clip: float = 5.0
    precision: Literal["no", "bf16"] = "no"
    device: Literal["auto", "cpu"] = "auto"
    save_minutes: float = 5.0


class DivergedError(UserError):
    """The loss is not a number; the run folder holds the last good state."""


def learning_rate(peak: float, step: int, total: int) -> float:
    """A linear warm-up over the first tenth, 200 steps at most, then a cosine to zero.

    A function of the step, with no state of its own that a resumed run would have to restore.
    """
    warm = max(1, min(200, total // 10))
    return peak * min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / max(1, total))))


Watch = Callable[[Model, Phase], dict[str, float]]


class Trainer:
    """Trains a model in a run folder; see ``train``."""

    def __init__(
        self,
        model: Model,
        corpora: Mapping[str, Corpus],
        config: TrainConfig,
        run: Path,
        watch: Watch | None,
    ) -> None:
        self.model, self.corpora, self.config, self.run, self.watch = model, corpora, config, run, watch
        ddp = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(
            mixed_precision=config.precision, cpu=config.device == "cpu", kwargs_handlers=[ddp]
        )
        self.wrapped: nn.Module = self.accelerator.prepare(model)
        self.journal = Journal(run, quiet=not self.accelerator.is_main_process)
        self.progress = Progress()

    def train(self, resume: bool) -> None:
        if resume:
            self.progress = read_progress(self.run / CHECKPOINT)
        for number, (name, phase) in enumerate(self.config.phases.items()):
            if number >= self.progress.phase:
                self._train_phase(number, name, phase, resume)
                resume = False

    def _train_phase(self, number: int, name: str, phase: Phase, resume: bool) -> None:
        """Train one phase; with ``resume``, from where its checkpoint stands."""
        batches = len(self._batches(phase, 0))
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=phase.learning_rate, betas=(0.9, 0.99), weight_decay=0
        )
        optimizer = self.accelerator.prepare(optimizer)
        total = phase.epochs * batches
        if resume:
            load_checkpoint(self.run / CHECKPOINT, self.model, optimizer.optimizer)
        else:
            self.progress = Progress(phase=number, step=self.progress.step)
        while self.progress.epoch < phase.epochs and self.progress.stale < phase.patience:
            self._train_epoch(name, phase, optimizer, total)
            self._validate(phase)
            self._save(optimizer)
        self.accelerator.wait_for_everyone()
        self._restore_best()

    def _train_epoch(self, name: str, phase: Phase, optimizer: Any, total: int) -> None:
        p, batches = self.progress, self._batches(phase, self.progress.epoch)
        self.wrapped.train()
        self.journal.begin_epoch(f"{name}, epoch {p.epoch + 1}/{phase.epochs}", len(batches), p.batch)
        saved = time.monotonic()
        for index in batches[p.batch :]:
            torch.manual_seed(self._seed(p.step, self.accelerator.process_index))
            batch = self._gather(phase, index).to(self.accelerator.device)
            now = (p.epoch * len(batches) + p.batch) / total
            self.model.temperature = phase.temperature(now)
            rate = learning_rate(phase.learning_rate, p.epoch * len(batches) + p.batch, total)
            for group in optimizer.param_groups:
                group["lr"] = rate
            terms = self.wrapped(batch)
            loss = objective(terms, {name: s(now) for name, s in phase.weights.items()}, phase.free_nats)
            self._require_finite(loss, terms, batch, index)
            self.accelerator.backward(loss)
            norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
            optimizer.step()
            optimizer.zero_grad()
            p.step, p.batch = p.step + 1, p.batch + 1
            self.journal.step(p.step, terms, float(norm), rate, batch)
            if time.monotonic() - saved > 60 * self.config.save_minutes:
                self._save(optimizer)
                saved = time.monotonic()
        p.epoch, p.batch = p.epoch + 1, 0

    def _validate(self, phase: Phase) -> None:
        """Score the validation split; keep the weights if they are the best of the phase."""
        bound = (document_bound if phase.unit == "document" else sentence_bound)(self.model, self.corpora["valid"])
        better = bound.negative_elbo < self.progress.best
        self.progress.stale = 0 if better else self.progress.stale + 1
        if better:
            self.progress.best = bound.negative_elbo
            if self.accelerator.is_main_process:
                self.model.save_pretrained(self.run)
        figures = self.watch(self.model, phase) if self.watch and self.accelerator.is_main_process else {}
        self.journal.validation(self.progress, bound, better, figures)

    def _save(self, optimizer: Any) -> None:
        if self.accelerator.is_main_process:
            save_checkpoint(self.run / CHECKPOINT, self.model, optimizer.optimizer, self.progress)

    def _restore_best(self) -> None:
        if (self.run / WEIGHTS).is_file():
            best = type(self.model).from_pretrained(self.run)
            self.model.load_state_dict(best.state_dict())

    def _batches(self, phase: Phase, epoch: int) -> list[Any]:
        """This process's share of an epoch; every process has as many, the first ones again if need be."""
        corpus, seed = self.corpora["train"], self._seed(epoch, self.progress.phase)
        make = corpus.document_batches if phase.unit == "document" else corpus.sentence_batches
        batches, world = make(phase.batch, seed), self.accelerator.num_processes
        batches += batches[: -len(batches) % world]
        return batches[self.accelerator.process_index :: world]

    def _gather(self, phase: Phase, index: Any) -> Batch | Documents:
        corpus = self.corpora["train"]
        return corpus.gather_documents(index) if phase.unit == "document" else corpus.gather(index)

    def _seed(self, number: int, stream: int) -> int:
        """A seed for every (number, stream), distinct while number < 10^9 and stream < 10^3."""
        return (self.config.seed * 1_000 + stream) * 1_000_000_000 + number

    def _require_finite(self, loss: Tensor, terms: Mapping[str, Tensor], batch: Batch | Documents, index: Any) -> None:
        if math.isfinite(loss.item()):
            return
        bad = [name for name, value in terms.items() if not torch.isfinite(value).all()] or ["objective"]
        documents = batch.documents if isinstance(batch, Batch) else batch
        ids = self.corpora["train"].table["id"].take(documents.index.cpu().numpy()).to_pylist()
        raise DivergedError(
            f"step {self.progress.step}: {', '.join(bad)} is not finite. The last good state is in {self.run}; "
            f"lower the learning rate or the clip. Documents of the batch: {', '.join(ids[:20])}"
        )


def train(
    model: Model,
    corpora: Mapping[str, Corpus],
    config: TrainConfig,
    run: Path,
    *,
    resume: bool = False,
    watch: Watch | None = None,
) -> Model:
    """Train a model; returns it with the best weights of its last phase.

    The run folder gets ``model.safetensors`` (best so far), ``last.safetensors`` (to resume from) and
    ``metrics.jsonl``.

    Args:
        model: built, its topics started if it has any.
        corpora: ``train`` and ``valid``.
        config: phases and seeds.
        run: the run folder, which exists.
        resume: go on from ``last.safetensors``.
        watch: more figures for every validation, such as the fidelity of generated sentences.

    Raises:
        DivergedError: a loss that is not finite.
        UserError: nothing to resume from, or a split without sentences.
    """
    trainer = Trainer(model, corpora, config, run, watch)
    with trainer.journal:
        trainer.train(resume)
    return model.eval()

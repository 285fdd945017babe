"""The one training loop, on accelerate: phases of epochs over documents, sentences, vectors or a graph.

Randomness is a function of (seed, step, process), batches of (seed, epoch): a resumed run takes the same
steps as an uninterrupted one. Several processes share every batch: their number changes neither steps nor epochs.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list
from safetensors.torch import load_file
from torch import Tensor, nn

from tgvae.data.dataset import Examples, Ints
from tgvae.errors import Stopped, UserError
from tgvae.evaluation.likelihood import bound_of
from tgvae.kernels.parallel import threads_for_calls
from tgvae.models.base import WEIGHTS, Model
from tgvae.random import derive_seed, fork_rng
from tgvae.trace import objective
from tgvae.training.checkpoint import CHECKPOINT, Progress, load_checkpoint, read_progress, save_checkpoint
from tgvae.training.config import Phase, TrainConfig, learning_rate
from tgvae.training.device import on_cpu, precision_of
from tgvae.training.failures import DivergedError, enough_memory, wrong_with
from tgvae.training.logger import MetricLogger
from tgvae.training.processes import share, wished_by_any
from tgvae.training.signals import StopSignals

ASK_EVERY = 5  # steps after which several processes ask each other whether to stop: it takes a wait for all of them
Watch = Callable[[Model, Phase], dict[str, float]]


class Trainer:
    """Trains a model in a run folder; see ``train``."""

    def __init__(
        self,
        model: Model,
        corpora: Mapping[str, Examples],
        config: TrainConfig,
        run: Path,
        watch: Watch | None,
        quiet: bool = False,
        stopping: StopSignals | None = None,
    ) -> None:
        self.model, self.corpora, self.config, self.run, self.watch = model, corpora, config, run, watch
        self.stopping = stopping or StopSignals()
        ddp = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(mixed_precision="no", cpu=on_cpu(config), kwargs_handlers=[ddp])
        self.wrapped: nn.Module = self.accelerator.prepare(model)
        self.bfloat16 = precision_of(config) == "bf16"
        first, total = self.accelerator.is_main_process, partial(self.accelerator.reduce, reduction="sum")
        self.journal = MetricLogger(run if first else None, quiet or not first, total)
        self.progress, self._saved = Progress(), time.monotonic()
        require_trainable(model, corpora, config)

    def train(self, resume: bool) -> None:
        if resume:
            self.progress = read_progress(self.run / CHECKPOINT)
        self.journal.begin(self.progress.step)
        for number, (name, phase) in enumerate(self.config.phases.items()):
            if number >= self.progress.phase:
                with enough_memory(name, phase.batch):
                    self._train_phase(number, name, phase, resume)
                resume = False

    def _train_phase(self, number: int, name: str, phase: Phase, resume: bool) -> None:
        """Train one phase; with ``resume``, from where its checkpoint stands."""
        optimizer = self.optimizer(phase)
        if resume:
            sums = load_checkpoint(self.run / CHECKPOINT, self.model, optimizer.optimizer)
            self.journal.restore(None if sums is None else sums.to(self.accelerator.device), self.progress.batch)
        else:
            self.progress = Progress(phase=number, step=self.progress.step)
            self._save(optimizer)
        total = phase.epochs * len(self._batches(phase, 0))
        while not self.progress.finished(phase):
            self._stop_if_any(*wished_by_any(self.accelerator, self.stopping.signal is not None))
            self._train_epoch(name, phase, optimizer, total)
            self._validate(phase)
            self._save(optimizer)
        self.accelerator.wait_for_everyone()
        self._restore_best()

    def optimizer(self, phase: Phase) -> Any:
        """A fresh AdamW over all weights, without decay, in its fused form: one pass over weights and gradients."""
        return self.accelerator.prepare(
            torch.optim.AdamW(
                self.model.parameters(), lr=phase.learning_rate, betas=(0.9, 0.99), weight_decay=0, fused=True
            )
        )

    def update(
        self, phase: Phase, optimizer: Any, batch: Any, now: float, rate: float, part: float = 1.0
    ) -> tuple[dict[str, Tensor], Tensor]:
        """One step of the optimiser.

        Args:
            phase: what is trained.
            optimizer: made by ``optimizer``.
            batch: on the device.
            now: share of the phase that is done, from 0 to 1, for its schedules.
            rate: learning rate.
            part: share of the whole batch that this process has, from 0 to 1; see ``share``.

        Returns:
            The terms of ``batch`` in nats, a value a row, and the norm of the gradient before it was clipped, ().

        Raises:
            DivergedError: the loss or its gradient is not finite; the weights are as they were.
        """
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = batch.counted["documents"]
        with (
            self._checked("train", phase, rows),
            torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.bfloat16),
        ):
            terms = self.wrapped(batch, temperature=phase.temperature(now), latent_noise=phase.corruption.latent)
        loss = objective(terms, {name: s(now) for name, s in phase.weights.items()}, phase.free_nats)
        self.accelerator.backward(self.accelerator.num_processes * part * loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
        value, size = torch.stack([loss.detach(), norm]).tolist()  # waits for the device, once
        if wrong := wrong_with(value, size, terms, self.config.largest_loss):
            raise self._diverged(wrong, "train", phase, rows)
        optimizer.step()
        optimizer.zero_grad()
        return {name: value.detach() for name, value in terms.items()}, norm

    def _train_epoch(self, name: str, phase: Phase, optimizer: Any, total: int) -> None:
        rows = self.corpora["train"].rows(phase.unit)
        p, batches = self.progress, self._batches(phase, self.progress.epoch)
        self.wrapped.train()
        title, behind = f"{name}, epoch {p.epoch + 1}/{phase.epochs}", p.epoch * len(batches) + p.batch
        self.journal.begin_epoch(title, total, behind)
        for index in batches[p.batch :]:
            torch.manual_seed(self._seed(p.step, self.accelerator.process_index))
            mine, part = self._share(phase, index)
            batch = rows.seen(rows.gather(mine), phase.corruption).to(self.accelerator.device)
            done = p.epoch * len(batches) + p.batch
            rate = learning_rate(phase.learning_rate, done, total)
            terms, norm = self.update(phase, optimizer, batch, done / total, rate, part)
            p.step, p.batch = p.step + 1, p.batch + 1
            self.journal.step(p.step, terms, norm, rate, batch, part)
            if p.batch < len(batches):  # after the last one validation comes first
                self._pause(optimizer)
        self.journal.flush()
        p.epoch, p.batch = p.epoch + 1, 0

    def _pause(self, optimizer: Any) -> None:
        """Save, where it is time to or a signal has come; then stop, where one has."""
        if self.accelerator.num_processes > 1 and self.progress.batch % ASK_EVERY:
            return
        due = time.monotonic() - self._saved > 60 * self.config.save_minutes
        stop, due = wished_by_any(self.accelerator, self.stopping.signal is not None, due)
        if stop or due:
            self._save(optimizer)
        self._stop_if_any(stop)

    def _stop_if_any(self, stop: bool) -> None:
        """Stop, all that was done being saved."""
        if stop:
            number = self.stopping.signal or signal.SIGTERM  # another process got it
            told = f"stopped by {number.name} after step {self.progress.step}, which is saved"
            raise Stopped(f"{told}; go on with `tgvae train --resume {self.run}`", number)

    def _validate(self, phase: Phase) -> None:
        """Score the validation split, read as in training, by the last weights of the terms; keep the best state.

        Free nats are left out: they are a means of training.
        """
        with self._checked("valid", phase, torch.empty(0, dtype=torch.long)):
            bound = bound_of(self.model, self.corpora["valid"], phase.unit, corruption=phase.corruption)
        weights = {name: schedule(1.0) for name, schedule in phase.weights.items()}
        score = sum(weights.get(name, 1.0) * bound.mean(name) for name in bound.terms)
        score = broadcast_object_list([score])[0]  # one judge, or processes might part ways
        if wrong := wrong_with(score, 0.0, bound.terms, self.config.largest_loss):
            worst = bound.total().nan_to_num(math.inf).argsort(descending=True)
            raise self._diverged(wrong, "valid", phase, bound.documents[worst])
        better = score < self.progress.best
        self.progress.stale = 0 if better else self.progress.stale + 1
        if better:
            self.progress.best = score
            if self.accelerator.is_main_process:
                self.model.save(self.run)
        figures = self.watch(self.model, phase) if self.watch and self.accelerator.is_main_process else {}
        of_words = phase.unit in ("document", "sentence")
        found = {"perplexity": bound.perplexity} if of_words else {"negative_elbo": bound.negative_elbo}
        self.journal.validation(self.progress, phase, bound, better, found | figures)

    def _save(self, optimizer: Any) -> None:
        sums = self.journal.pending()
        if self.accelerator.is_main_process:
            save_checkpoint(self.run / CHECKPOINT, self.model, optimizer.optimizer, self.progress, sums)
        self._saved = time.monotonic()

    def _restore_best(self) -> None:
        if (self.run / WEIGHTS).is_file():
            self.model.load_state_dict(load_file(self.run / WEIGHTS))

    def _batches(self, phase: Phase, epoch: int) -> list[Ints]:
        """The batches of an epoch, the same ones in every process."""
        return self.corpora["train"].rows(phase.unit).batches(phase.batch, self._seed(epoch, self.progress.phase))

    def _share(self, phase: Phase, index: Ints) -> tuple[Ints, float]:
        """This process's share of a batch; a graph is one row, which the first process has."""
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        return (index, float(process == 0)) if phase.unit == "node" else share(index, process, processes)

    def _seed(self, number: int, stream: int) -> int:
        """A seed of 63 bits for every (seed, stream, number)."""
        return derive_seed(self.config.seed, stream, number)

    @contextmanager
    def _checked(self, split: str, phase: Phase, rows: Tensor) -> Iterator[None]:
        """torch's complaint about the parameters of a distribution, as the divergence that it is."""
        try:
            yield
        except ValueError as error:
            if "to satisfy the constraint" not in str(error):
                raise
            wrong = "a distribution got parameters that are not finite, or a scale of 0"
            raise self._diverged(wrong, split, phase, rows) from error

    def _diverged(self, wrong: str, split: str, phase: Phase, rows: Tensor) -> DivergedError:
        """The error to raise before a bad gradient reaches the weights, or bad weights the best model."""
        named = list(dict.fromkeys(rows.tolist()))[:20]
        names = self.corpora[split].rows(phase.unit).names(np.array(named, dtype=np.int64)) or ["not known"]
        option = f"--train.phases.{list(self.config.phases)[self.progress.phase]}.learning-rate"
        return DivergedError(
            f"step {self.progress.step}: {wrong}. The last good state is kept in {self.run}, but to resume would lead "
            f"here again: train anew with a lower {option} (now {phase.learning_rate:g}) or --train.clip (now "
            f"{self.config.clip:g}). Rows at fault, of {split}: {', '.join(names)}"
        )


def require_trainable(model: Model, corpora: Mapping[str, Examples], config: TrainConfig) -> None:
    """Check every phase on one row of each split, before anything is written.

    The model, its buffers and the state of random generators are left as they are.

    Raises:
        UserError: a phase trains on rows that the model or the data lacks, weights a term that the model lacks, or
            corrupts what the model does not read.
    """
    for name, phase in config.phases.items():
        option = f"--train.phases.{name}"
        if phase.unit not in model.units:
            raise UserError(f"{option}.unit is {phase.unit}, but a {model.kind} trains on {' or '.join(model.units)}")
        model.require_supports_denoising(phase.corruption)
        for examples in corpora.values():
            rows = examples.rows(phase.unit)
            index = rows.batches(1, None)[0] if phase.unit == "node" else np.arange(1)  # a graph is gathered whole
            row = rows.seen(rows.gather(index), phase.corruption)
        terms = _term_names(model, row)
        if unknown := sorted((phase.weights.keys() | phase.free_nats.keys()) - terms):
            raise UserError(
                f"{option} weights {', '.join(unknown)}, but this model has only the terms {', '.join(sorted(terms))}; "
                "start from another recipe (`tgvae train --help` lists them) or set Phase.weights in Python"
            )


def _term_names(model: Model, batch: Any) -> set[str]:
    """Return the names of the terms of a training step."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}  # batch norm updates its own
    was_training = model.training
    with fork_rng(0, model.device), torch.no_grad():
        try:
            return set(torch.func.functional_call(model.train(), buffers, (batch.to(model.device),)))
        finally:
            model.train(was_training)


def train(
    model: Model,
    corpora: Mapping[str, Examples],
    config: TrainConfig,
    run: Path,
    *,
    resume: bool = False,
    watch: Watch | None = None,
    quiet: bool = False,
    stopping: StopSignals | None = None,
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
        quiet: tell nothing on the console.
        stopping: entered, takes signals as a wish to stop; without it they do what they do elsewhere.

    Raises:
        DivergedError: a loss that is not finite, or absurd.
        UserError: nothing to resume from, a split without sentences, or a file that cannot be written.
        Stopped: by a signal, after a step that is saved.
    """
    trainer = Trainer(model, corpora, config, run, watch, quiet, stopping)
    with trainer.journal, threads_for_calls():
        trainer.train(resume)
    return model.eval()

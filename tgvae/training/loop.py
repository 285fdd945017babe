"""The training loop, on accelerate: phases of epochs over documents, sentences, vectors or a graph.

Random numbers depend on (seed, step, process) and batches on (seed, epoch), so a resumed run takes the same steps as
an uninterrupted one. Several processes share every batch: their number changes neither steps nor epochs.
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
from tgvae.distributed import any_process, share_of_batch
from tgvae.errors import Stopped, UserError
from tgvae.evaluation.likelihood import validation_bound
from tgvae.kernels.parallel import threads_for_calls
from tgvae.models.base import WEIGHTS, Model
from tgvae.random import derive_seed, fork_rng
from tgvae.trace import objective
from tgvae.training.checkpoint import CHECKPOINT, Progress, load_checkpoint, read_progress, save_checkpoint
from tgvae.training.config import Phase, TrainConfig, learning_rate
from tgvae.training.device import on_cpu, resolve_precision
from tgvae.training.failures import DivergedError, describe_divergence, explain_lack_of_memory
from tgvae.training.logger import MetricLogger
from tgvae.training.signals import StopSignals

SYNC_EVERY = 5  # steps between checks of several processes whether one should stop: each check waits for all of them
Watch = Callable[[Model, Phase], dict[str, float]]


class Trainer:
    """Trains a model in a run folder; see ``train``."""

    def __init__(
        self,
        model: Model,
        examples: Mapping[str, Examples],
        config: TrainConfig,
        run: Path,
        watch: Watch | None,
        quiet: bool = False,
        signals: StopSignals | None = None,
    ) -> None:
        require_trainable(model, examples, config)
        self.model, self.examples, self.config, self.run, self.watch = model, examples, config, run, watch
        self.signals = signals or StopSignals()
        ddp = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(mixed_precision="no", cpu=on_cpu(config), kwargs_handlers=[ddp])
        self.wrapped: nn.Module = self.accelerator.prepare(model)
        self.bfloat16 = resolve_precision(config) == "bf16"
        first, total = self.accelerator.is_main_process, partial(self.accelerator.reduce, reduction="sum")
        self.logger = MetricLogger(run if first else None, quiet or not first, total)
        self.progress, self._saved = Progress(), time.monotonic()

    def train(self, resume: bool) -> None:
        if resume:
            self.progress = read_progress(self.run / CHECKPOINT)
        self.logger.begin(self.progress.step)
        for number, (name, phase) in enumerate(self.config.phases.items()):
            if number >= self.progress.phase:
                with explain_lack_of_memory(name, phase.batch):
                    self._train_phase(number, name, phase, resume)
                resume = False

    def _train_phase(self, number: int, name: str, phase: Phase, resume: bool) -> None:
        """Train one phase; with ``resume``, from its checkpoint."""
        optimizer = self.optimizer(phase)
        if resume:
            sums = load_checkpoint(self.run / CHECKPOINT, self.model, optimizer.optimizer)
            self.logger.restore(None if sums is None else sums.to(self.accelerator.device), self.progress.batch)
        else:
            self.progress = Progress(phase=number, step=self.progress.step)
            self._save(optimizer)
        total = phase.epochs * len(self._batches(phase, 0))
        while not self.progress.finished(phase):
            self._stop_if_any(*any_process(self.accelerator, self.signals.signal is not None))
            self._train_epoch(name, phase, optimizer, total)
            self._validate(phase)
            self._save(optimizer)
        self.accelerator.wait_for_everyone()
        if (self.run / WEIGHTS).is_file():  # the best of the phase
            self.model.load_state_dict(load_file(self.run / WEIGHTS))

    def optimizer(self, phase: Phase) -> Any:
        """Return a fresh AdamW without weight decay; fused, it passes over weights and gradients once."""
        return self.accelerator.prepare(
            torch.optim.AdamW(
                self.model.parameters(), lr=phase.learning_rate, betas=(0.9, 0.99), weight_decay=0, fused=True
            )
        )

    def update(
        self, phase: Phase, optimizer: Any, batch: Any, now: float, rate: float, part: float = 1.0
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Take one step of the optimiser.

        Args:
            phase: the phase.
            optimizer: made by ``optimizer``.
            batch: on the device.
            now: share of the phase that is done, from 0 to 1, for its schedules.
            rate: learning rate.
            part: share of the whole batch that this process has, from 0 to 1; see ``share_of_batch``.

        Returns:
            The terms of ``batch`` in nats, one value per row, and the norm of the gradient before clipping, ().

        Raises:
            DivergedError: the loss or its gradient is not finite; the weights are unchanged.
        """
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = batch.sizes["documents"]
        with (
            self._checked("train", phase, rows),
            torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.bfloat16),
        ):
            terms = self.wrapped(batch, temperature=phase.temperature(now), latent_noise=phase.corruption.latent)
        loss = objective(terms, {name: s(now) for name, s in phase.weights.items()}, phase.free_nats)
        self.accelerator.backward(self.accelerator.num_processes * part * loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
        value, size = torch.stack([loss.detach(), norm]).tolist()  # waits for the device once
        if wrong := describe_divergence(value, size, terms, self.config.largest_loss):
            raise self._diverged(wrong, "train", phase, rows)
        optimizer.step()
        optimizer.zero_grad()
        return {name: value.detach() for name, value in terms.items()}, norm

    def _train_epoch(self, name: str, phase: Phase, optimizer: Any, total: int) -> None:
        rows = self.examples["train"].rows(phase.unit)
        p, batches = self.progress, self._batches(phase, self.progress.epoch)
        self.wrapped.train()
        title, behind = f"{name}, epoch {p.epoch + 1}/{phase.epochs}", p.epoch * len(batches) + p.batch
        self.logger.begin_epoch(title, total, behind)
        for index in batches[p.batch :]:
            torch.manual_seed(self._seed(p.step, self.accelerator.process_index))
            own, part = self._share(phase, index)
            batch = rows.corrupted(rows.gather(own), phase.corruption).to(self.accelerator.device)
            done = p.epoch * len(batches) + p.batch
            rate = learning_rate(phase.learning_rate, done, total)
            terms, norm = self.update(phase, optimizer, batch, done / total, rate, part)
            p.step, p.batch = p.step + 1, p.batch + 1
            self.logger.step(p.step, terms, norm, rate, batch, part)
            if p.batch < len(batches):  # after the last batch, validation comes first
                self._save_or_stop(optimizer)
        self.logger.flush()
        p.epoch, p.batch = p.epoch + 1, 0

    def _save_or_stop(self, optimizer: Any) -> None:
        """Save when it is due or a signal was received; in the latter case, stop."""
        if self.accelerator.num_processes > 1 and self.progress.batch % SYNC_EVERY:
            return
        due = time.monotonic() - self._saved > 60 * self.config.save_minutes
        stop, due = any_process(self.accelerator, self.signals.signal is not None, due)
        if stop or due:
            self._save(optimizer)
        self._stop_if_any(stop)

    def _stop_if_any(self, stop: bool) -> None:
        """Raise Stopped, after a checkpoint, if any process received a signal."""
        if stop:
            number = self.signals.signal or signal.SIGTERM  # the default: another process received it
            message = f"stopped by {number.name} after step {self.progress.step}, which is saved"
            raise Stopped(f"{message}; resume with `tgvae train --resume {self.run}`", number)

    def _validate(self, phase: Phase) -> None:
        """Compute the objective on the validation split and keep the best model.

        Terms have the weights of the end of the phase, so that epochs are comparable; free nats are not applied.
        """
        with self._checked("valid", phase, torch.empty(0, dtype=torch.long)):
            bound = validation_bound(self.model, self.examples["valid"], phase.unit, phase.corruption)
        weights = {name: schedule(1.0) for name, schedule in phase.weights.items()}
        score = sum(weights.get(name, 1.0) * bound.mean(name) for name in bound.terms)
        score = broadcast_object_list([score])[0]  # in the last bits processes could disagree on the best epoch
        if wrong := describe_divergence(score, 0.0, bound.terms, self.config.largest_loss):
            worst = bound.total().nan_to_num(math.inf).argsort(descending=True)
            raise self._diverged(wrong, "valid", phase, bound.documents[worst])
        better = score < self.progress.best
        self.progress.stale = 0 if better else self.progress.stale + 1
        if better:
            self.progress.best = score
            if self.accelerator.is_main_process:
                self.model.save(self.run)
        has_words = phase.unit in ("document", "sentence")
        metrics = {"perplexity": bound.perplexity} if has_words else {"negative_elbo": bound.negative_elbo}
        if self.watch and self.accelerator.is_main_process:
            metrics |= self.watch(self.model, phase)
        terms = {name: bound.mean(name) for name in bound.terms}
        self.logger.validation(self.progress, phase, terms, metrics, better)

    def _save(self, optimizer: Any) -> None:
        sums = self.logger.pending()
        if self.accelerator.is_main_process:
            save_checkpoint(self.run / CHECKPOINT, self.model, optimizer.optimizer, self.progress, sums)
        self._saved = time.monotonic()

    def _batches(self, phase: Phase, epoch: int) -> list[Ints]:
        """Return the batches of an epoch, the same in every process."""
        return self.examples["train"].rows(phase.unit).batches(phase.batch, self._seed(epoch, self.progress.phase))

    def _share(self, phase: Phase, index: Ints) -> tuple[Ints, float]:
        """Return this process's share of a batch; a graph is one row, which belongs to the first process."""
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        return (index, float(process == 0)) if phase.unit == "node" else share_of_batch(index, process, processes)

    def _seed(self, number: int, stream: int) -> int:
        return derive_seed(self.config.seed, stream, number)

    @contextmanager
    def _checked(self, split: str, phase: Phase, rows: Tensor) -> Iterator[None]:
        """Raise DivergedError where torch rejects the parameters of a distribution."""
        try:
            yield
        except ValueError as error:
            if "to satisfy the constraint" not in str(error):
                raise
            wrong = "a distribution has parameters that are not finite, or a scale of 0"
            raise self._diverged(wrong, split, phase, rows) from error

    def _diverged(self, wrong: str, split: str, phase: Phase, rows: Tensor) -> DivergedError:
        """Return the error to raise before a bad gradient reaches the weights, or bad weights the best model."""
        named = list(dict.fromkeys(rows.tolist()))[:20]
        names = self.examples[split].rows(phase.unit).names(np.array(named, dtype=np.int64)) or ["unknown"]
        option = f"--train.phases.{list(self.config.phases)[self.progress.phase]}.learning-rate"
        return DivergedError(
            f"step {self.progress.step}: {wrong}. The last good state is kept in {self.run}, but a resumed run would "
            f"diverge again: train again with a lower {option} (now {phase.learning_rate:g}) or --train.clip (now "
            f"{self.config.clip:g}). {split} rows at fault: {', '.join(names)}"
        )


def require_trainable(model: Model, examples: Mapping[str, Examples], config: TrainConfig) -> None:
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
        for split in examples.values():
            rows = split.rows(phase.unit)
            index = rows.batches(1, None)[0] if phase.unit == "node" else np.arange(1)  # a graph is gathered whole
            row = rows.corrupted(rows.gather(index), phase.corruption)
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
    examples: Mapping[str, Examples],
    config: TrainConfig,
    run: Path,
    *,
    resume: bool = False,
    watch: Watch | None = None,
    quiet: bool = False,
    signals: StopSignals | None = None,
) -> Model:
    """Train a model and return it with the best weights of its last phase.

    Writes ``model.safetensors`` (best so far), ``last.safetensors`` (checkpoint) and ``metrics.jsonl``.

    Args:
        model: the model, its topics initialised if it has any.
        examples: the splits ``train`` and ``valid``.
        config: phases and seeds.
        run: an existing folder.
        resume: start from ``last.safetensors``.
        watch: computes further metrics at every validation, such as the fidelity of generated sentences.
        quiet: print nothing.
        signals: an entered context; without it, signals have their usual effect.

    Raises:
        DivergedError: a loss that is not finite or too large.
        UserError: there is no checkpoint, a split has no rows, or a file cannot be written.
        Stopped: a signal was received; the last step is saved.
    """
    trainer = Trainer(model, examples, config, run, watch, quiet, signals)
    with trainer.logger, threads_for_calls():
        trainer.train(resume)
    return model.eval()

"""The one training loop, on accelerate: phases of epochs over documents, sentences, vectors or a graph.

Randomness is a function of (seed, step, process), batches of (seed, epoch): a resumed run takes the same
steps as an uninterrupted one. Several processes share every batch: their number changes neither steps nor epochs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list
from safetensors.torch import load_file
from torch import Tensor, nn

from tgvae.data.rows import Examples, Ints
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import bound_of
from tgvae.kernels.concurrent import threads_for_calls
from tgvae.models.base import WEIGHTS, Model
from tgvae.trace import objective
from tgvae.training.checkpoint import Progress, load_checkpoint, read_progress, save_checkpoint
from tgvae.training.config import Phase, TrainConfig, learning_rate
from tgvae.training.hardware import on_cpu, precision_of
from tgvae.training.journal import Journal

CHECKPOINT = "last.safetensors"


class DivergedError(UserError):
    """The loss is not a number; the run folder holds the last good state."""


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
    ) -> None:
        self.model, self.corpora, self.config, self.run, self.watch = model, corpora, config, run, watch
        ddp = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(mixed_precision="no", cpu=on_cpu(config), kwargs_handlers=[ddp])
        self.wrapped: nn.Module = self.accelerator.prepare(model)
        self.bfloat16 = precision_of(config) == "bf16"
        first, total = self.accelerator.is_main_process, partial(self.accelerator.reduce, reduction="sum")
        self.journal = Journal(run if first else None, quiet or not first, total)
        self.progress = Progress()
        for phase in config.phases.values():  # what is wrong is told before the first phase, not after it
            model.require_noise_is_read(phase.corruption)
            for examples in corpora.values():
                rows = examples.rows(phase.unit)
                if phase.corruption.kind != "none":
                    rows.corrupt(rows.gather(np.arange(1)), phase.corruption)

    def train(self, resume: bool) -> None:
        if resume:
            self.progress = read_progress(self.run / CHECKPOINT)
        for number, (name, phase) in enumerate(self.config.phases.items()):
            if number >= self.progress.phase:
                self._train_phase(number, name, phase, resume)
                resume = False

    def _train_phase(self, number: int, name: str, phase: Phase, resume: bool) -> None:
        """Train one phase; with ``resume``, from where its checkpoint stands."""
        optimizer = self.optimizer(phase)
        if resume:
            load_checkpoint(self.run / CHECKPOINT, self.model, optimizer.optimizer)
        else:
            self.progress = Progress(phase=number, step=self.progress.step)
            self._save(optimizer)
        total = phase.epochs * len(self._batches(phase, 0))
        while self.progress.epoch < phase.epochs and self.progress.stale < phase.patience:
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
        self.model.temperature, self.model.latent_noise = phase.temperature(now), phase.corruption.latent
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.bfloat16):
            terms = self.wrapped(batch)
        loss = objective(terms, {name: s(now) for name, s in phase.weights.items()}, phase.free_nats)
        self.accelerator.backward(self.accelerator.num_processes * part * loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self._require_finite({"objective": loss, "gradient": norm} | terms, phase, batch)
        optimizer.step()
        optimizer.zero_grad()
        return {name: value.detach() for name, value in terms.items()}, norm

    def _train_epoch(self, name: str, phase: Phase, optimizer: Any, total: int) -> None:
        rows = self.corpora["train"].rows(phase.unit)
        p, batches = self.progress, self._batches(phase, self.progress.epoch)
        self.wrapped.train()
        self.journal.begin_epoch(f"{name}, epoch {p.epoch + 1}/{phase.epochs}", len(batches), p.batch)
        saved = time.monotonic()
        for index in batches[p.batch :]:
            torch.manual_seed(self._seed(p.step, self.accelerator.process_index))
            mine, part = self._share(phase, index)
            batch = rows.seen(rows.gather(mine), phase.corruption).to(self.accelerator.device)
            done = p.epoch * len(batches) + p.batch
            rate = learning_rate(phase.learning_rate, done, total)
            terms, norm = self.update(phase, optimizer, batch, done / total, rate, part)
            p.step, p.batch = p.step + 1, p.batch + 1
            self.journal.step(p.step, terms, norm, rate, batch, part)
            if time.monotonic() - saved > 60 * self.config.save_minutes:
                self._save(optimizer)
                saved = time.monotonic()
        self.journal.flush()
        p.epoch, p.batch = p.epoch + 1, 0

    def _validate(self, phase: Phase) -> None:
        """Score the validation split, read as in training, by the last weights of the terms; keep the best state.

        Free nats are left out: they are a means of training.
        """
        bound = bound_of(self.model, self.corpora["valid"], phase.unit, corruption=phase.corruption)
        weights = {name: schedule(1.0) for name, schedule in phase.weights.items()}
        score = sum(weights.get(name, 1.0) * bound.mean(name) for name in bound.terms)
        score = broadcast_object_list([score])[0]  # one judge, or processes might part ways
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
        if self.accelerator.is_main_process:
            save_checkpoint(self.run / CHECKPOINT, self.model, optimizer.optimizer, self.progress)

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
        state = np.random.SeedSequence([self.config.seed, stream, number]).generate_state(1, np.uint64)
        return int(state[0] >> 1)

    def _require_finite(self, values: Mapping[str, Tensor], phase: Phase, batch: Any) -> None:
        """Raise before a bad gradient reaches the weights.

        Only the sum of objective and gradient is looked at, as that waits for the device: it is finite only where
        all that went into it is.
        """
        if torch.isfinite(values["objective"].detach() + values["gradient"]):
            return
        bad = [name for name, value in values.items() if not torch.isfinite(value).all()]
        found = batch.counted["documents"].unique().cpu().numpy()
        names = self.corpora["train"].rows(phase.unit).names(found)
        raise DivergedError(
            f"step {self.progress.step}: {', '.join(bad)} not finite. The last good state is in {self.run}; "
            f"lower the learning rate or the clip. Rows of the batch: {', '.join(names[:20])}"
        )


def share(index: Ints, process: int, processes: int) -> tuple[Ints, float]:
    """The rows of a batch that one of W processes takes, and their part of the batch, n_r / n.

    Terms are means over rows, and the gradients of processes are averaged. With W n_r / n as weight of the loss of
    process r the average is the gradient of the whole batch, as one process has it:

        1/W sum_r W n_r/n (1/n_r sum_{i in r} grad l_i)  =  1/n sum_i grad l_i

    It holds approximately where a term is no mean over these rows: of documents in a batch of sentences (each process
    has a mean over its own), under a floor of free nats, and with batch norm. A process without rows takes the
    first one, with part 0: all of them must take part in a step.
    """
    mine = index[process::processes]
    return (mine, len(mine) / len(index)) if len(mine) else (index[:1], 0.0)


def train(
    model: Model,
    corpora: Mapping[str, Examples],
    config: TrainConfig,
    run: Path,
    *,
    resume: bool = False,
    watch: Watch | None = None,
    quiet: bool = False,
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

    Raises:
        DivergedError: a loss that is not finite.
        UserError: nothing to resume from, or a split without sentences.
    """
    trainer = Trainer(model, corpora, config, run, watch, quiet)
    with trainer.journal, threads_for_calls():
        trainer.train(resume)
    return model.eval()

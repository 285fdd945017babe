"""The log of a training run: metrics.jsonl, TensorBoard, progress and warnings on the console."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from rich.console import Console
from torch import Tensor

from tgvae.data.batch import Batch
from tgvae.files import sync, write_text, writing
from tgvae.progress import Advance
from tgvae.progress import step as progress_step
from tgvae.training.config import Phase

if TYPE_CHECKING:
    from tgvae.training.checkpoint import Progress

METRICS, TENSORBOARD = "metrics.jsonl", "tensorboard"
EVERY = 50  # steps between two lines of metrics
COLLAPSED_NATS = 0.5
PRINTED = 20  # validations of a phase that are printed


class MetricLogger:
    """Writes ``metrics.jsonl`` and ``tensorboard/`` into a run folder, and prints validations.

    ``metrics.jsonl`` is the exact record: a resumed run has the lines of an uninterrupted one.
    Use as a context manager.

    Args:
        run: the run folder; None in processes other than the main one, which write nothing.
        quiet: print nothing.
        total: sum of a tensor over processes; all of them must log the same steps.

    Raises:
        UnwritableError: a line cannot be written.
    """

    def __init__(self, run: Path | None, quiet: bool, total: Callable[[Tensor], Tensor]) -> None:
        self.run, self._total = run, total
        self.console = Console(stderr=True, quiet=quiet)
        self._bar = ExitStack()
        self._board: Any = None
        self._names: tuple[str, ...] = ()
        self._sums: Tensor | None = None
        self._steps = 0
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._board is not None:
            self._board.close()

    def begin(self, step: int) -> None:
        """Start after ``step``: drop lines of later steps and incomplete lines, which a killed run left."""
        if not self.run:
            return
        path = self.run / METRICS
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) if path.is_file() else []
        write_text(path, "".join(takewhile(lambda line: _is_up_to(step, line), lines)))
        from torch.utils.tensorboard import SummaryWriter  # here: 0.3 seconds that only training needs

        with writing(self.run / TENSORBOARD):
            self._board = SummaryWriter(str(self.run / TENSORBOARD), purge_step=step + 1)

    def restore(self, sums: Tensor | None, batch: int) -> None:
        """Continue within an epoch, after ``batch`` batches, with the sums that ``pending`` returned then."""
        if sums is not None:
            sums[-1] = 0  # the speed is that of the steps to come
            self._sums = sums if self.run else torch.zeros_like(sums)
            self._steps = batch % EVERY

    def pending(self) -> Tensor | None:
        """Return the sums over processes since the last line, for a checkpoint, once all lines are on disk."""
        if self.run and (self.run / METRICS).is_file():
            sync(self.run / METRICS)
        return None if self._sums is None else self._total(self._sums)

    def begin_epoch(self, title: str, batches: int, done: int) -> None:
        """Show progress through the ``batches`` of a phase, of which ``done`` are finished."""
        self._bar.close()
        self._advance: Advance = self._bar.enter_context(progress_step(title, batches, done))
        self._since = time.monotonic()

    def step(self, step: int, terms: Mapping[str, Tensor], norm: Tensor, rate: float, batch: Any, part: float) -> None:
        """Add a step on ``part`` of a batch; every ``EVERY`` steps the means are written.

        Sums stay on the device until then, because reading a value waits for the device.
        """
        self._speed = "tokens_per_second" if isinstance(batch, Batch) else "rows_per_second"
        done = batch.sizes["tokens"].sum() if isinstance(batch, Batch) else norm.new_tensor(len(batch.sizes["tokens"]))
        means = [part * value.detach().mean() for value in terms.values()]
        sums = torch.stack([*means, part * norm, done if part else torch.zeros_like(norm)])
        self._sums = sums if self._sums is None else self._sums + sums
        self._names = (*terms, "gradient_norm")
        self._steps += 1
        self._advance()
        self._rate, self._step = rate, step
        if self._steps == EVERY:
            self.flush()

    def flush(self) -> None:
        """Write the means of the steps since the last line, over all processes."""
        if self._sums is not None:
            *sums, done = self._total(self._sums).tolist()
            means = {name: value / self._steps for name, value in zip(self._names, sums, strict=True)}
            speed = done / (time.monotonic() - self._since)
            self._write("train", self._step, means | {"learning_rate": self._rate, self._speed: speed})
        self._sums, self._steps, self._since = None, 0, time.monotonic()

    def validation(
        self,
        progress: Progress,
        phase: Phase,
        terms: Mapping[str, float],
        metrics: Mapping[str, float],
        better: bool,
    ) -> None:
        """Write a validation: terms in nats per row, and metrics such as the perplexity.

        In phases of many epochs only every few are printed, and the last. Warnings come in the second half and at the
        end of a phase: before, most values are still poor.
        """
        self._bar.close()
        self.flush()
        values = {**terms, **metrics}
        self._write("valid", progress.step, values)
        last = progress.finished(phase)
        if progress.epoch % max(1, phase.epochs // PRINTED) and not last:
            return
        text = ", ".join(f"{name} {value:.2f}" for name, value in values.items())
        self._print(f"  epoch {progress.epoch}: {text}{' *' if better else ''}")
        if last or 2 * progress.epoch >= phase.epochs:
            for warning in warnings(values):
                self._print(f"  warning: {warning}", "yellow")

    def _print(self, text: str, style: str = "") -> None:
        self.console.print(text, style=style, highlight=False, soft_wrap=not self.console.is_terminal)

    def _write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        if not self.run:
            return
        with writing(self.run / METRICS), (self.run / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "step": step} | dict(values)) + "\n")
        with writing(self.run / TENSORBOARD):
            for name, value in values.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)
            self._board.flush()  # raises what its thread met, such as a full disk


def _is_up_to(step: int, line: str) -> bool:
    """Whether a line of metrics is complete and of a step up to ``step``."""
    try:
        return line.endswith("\n") and bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False


def warnings(values: Mapping[str, float]) -> list[str]:
    """Return warnings about the values of a validation."""
    found = []
    if values.get("kl/z", COLLAPSED_NATS) < COLLAPSED_NATS:
        found.append(
            f"the latent has collapsed: KL {values['kl/z']:.2f} nats, so the decoder hardly uses z. "
            "Raise free nats, or anneal beta more slowly; for text word dropout helps too."
        )
    if values.get("topics_in_use", 1.0) < 0.7:
        found.append(
            f"topics have collapsed: only {values['topics_in_use']:.0%} are the main topic of their share of "
            "documents. Train fewer topics, or anneal the KL of g more slowly."
        )
    if values.get("diversity", 1.0) < 0.5:
        found.append(f"topics repeat each other: {values['diversity']:.0%} of their top words are distinct.")
    if "fidelity" in values and values["fidelity"] < min(3 * values["chance"], (1 + values["chance"]) / 2):
        found.append(
            f"topic guidance fails: {values['fidelity']:.0%} of the sentences are about the requested topic, "
            f"chance is {values['chance']:.0%}. Train longer, or raise the evidence weight."
        )
    return found

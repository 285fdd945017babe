"""What a run tells: a progress line, metrics.jsonl, TensorBoard, and warnings in words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from rich.console import Console
from torch import Tensor

from tgvae.data.batch import Batch
from tgvae.evaluation.likelihood import Bound
from tgvae.files import sync, write_text, writing
from tgvae.progress import Advance
from tgvae.progress import step as progress_step
from tgvae.training.config import Phase
from tgvae.training.tensorboard import TensorBoardWriter

if TYPE_CHECKING:
    from tgvae.training.checkpoint import Progress as RunProgress

METRICS, BOARD = "metrics.jsonl", "tensorboard"
EVERY = 50  # steps between two lines of metrics
COLLAPSED_NATS = 0.5
SHOWN = 20  # validations of a phase that the console gets


class MetricLogger:
    """Writes ``metrics.jsonl`` and ``tensorboard/`` into a run folder and tells the console.

    A context manager. Without a ``run`` it writes nothing: for the processes that are not the first.
    ``total`` sums a tensor over processes; all of them must write at the same steps. Lines are of the same steps in a
    resumed run as in one that was not interrupted.

    Raises:
        UnwritableError: no room for a line, or no right.
    """

    def __init__(self, run: Path | None, quiet: bool, total: Callable[[Tensor], Tensor]) -> None:
        self.run, self._total = run, total
        self.console = Console(stderr=True, quiet=quiet)
        self._bar = ExitStack()
        self._names: tuple[str, ...] = ()
        self._sums: Tensor | None = None
        self._steps = 0
        self._since = time.monotonic()

    def begin(self, step: int) -> None:
        """Start after ``step``: what the files have of later steps, or of half a line, is of a run that was killed."""
        if not self.run:
            return
        path = self.run / METRICS
        found = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) if path.is_file() else []
        write_text(path, "".join(takewhile(partial(_until, step), found)))
        with writing(self.run / BOARD):
            self._board = TensorBoardWriter(self.run / BOARD, step)

    def restore(self, sums: Tensor | None, batch: int) -> None:
        """Go on within an epoch, after ``batch`` batches, with the ``pending`` sums of then.

        The next speed is that of the steps to come.
        """
        if sums is not None:
            sums[-1] = 0
            self._sums = sums if self.run else torch.zeros_like(sums)
            self._steps = batch % EVERY

    def pending(self) -> Tensor | None:
        """Sums over processes of the steps since the last line, if any; the lines before are on disk."""
        if self.run and (self.run / METRICS).is_file():
            sync(self.run / METRICS)
        return None if self._sums is None else self._total(self._sums)

    def begin_epoch(self, title: str, batches: int, done: int) -> None:
        """Show the progress of an epoch through its phase, ``done`` of whose ``batches`` are behind."""
        self._bar.close()
        self._advance: Advance = self._bar.enter_context(progress_step(title, batches, done))
        self._since = time.monotonic()

    def step(self, step: int, terms: Mapping[str, Tensor], norm: Tensor, rate: float, batch: Any, part: float) -> None:
        """Note a step on ``part`` of a batch; every ``EVERY`` of them the means go to the file and the board.

        Sums stay on the device until then: to read a figure is to wait for it.
        """
        counted = batch.counted
        self._speed = "tokens_per_second" if isinstance(batch, Batch) else "rows_per_second"
        done = counted["tokens"].sum() if isinstance(batch, Batch) else torch.tensor(len(counted["documents"])).to(norm)
        found = [part * value.detach().mean() for value in terms.values()]
        sums = torch.stack([*found, part * norm, done if part else torch.zeros_like(norm)])
        self._sums = sums if self._sums is None else self._sums + sums
        self._names = (*terms, "gradient_norm")
        self._steps += 1
        self._advance()
        self._rate, self._step = rate, step
        if self._steps == EVERY:
            self.flush()

    def validation(
        self, progress: RunProgress, phase: Phase, bound: Bound, better: bool, figures: Mapping[str, float]
    ) -> None:
        """Note a validation: the terms in nats, the perplexity or bound, what ``watch`` found.

        Of phases of many epochs the console gets every so many, and the last. It is warned of collapse in the second
        half, and where training stops: before, most figures are still poor.
        """
        terms = {name: bound.mean(name) for name in bound.terms}
        self._bar.close()
        self.flush()
        self._write("valid", progress.step, terms | dict(figures))
        last = progress.finished(phase)
        if progress.epoch % max(1, phase.epochs // SHOWN) and not last:
            return
        told = [f"{name} {value:.2f}" for name, value in terms.items()]
        told += [f"{name} {value:.2f}" for name, value in figures.items()]
        self._tell(f"  epoch {progress.epoch}: {', '.join(told)}{' *' if better else ''}")
        late = last or 2 * progress.epoch >= phase.epochs
        for warning in warnings(terms | dict(figures)) if late else []:
            self._tell(f"  warning: {warning}", "yellow")

    def _tell(self, text: str, style: str = "") -> None:
        """Print a line; only a terminal has an edge to break it at."""
        self.console.print(text, style=style, highlight=False, soft_wrap=not self.console.is_terminal)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def flush(self) -> None:
        """Write the means of the steps since the last flush, over all processes."""
        if self._sums is not None:
            *sums, done = self._total(self._sums).tolist()
            means = {name: value / self._steps for name, value in zip(self._names, sums, strict=True)}
            speed = done / (time.monotonic() - self._since)
            self._write("train", self._step, means | {"learning_rate": self._rate, self._speed: speed})
        self._sums, self._steps, self._since = None, 0, time.monotonic()

    def _write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        if not self.run:
            return
        with writing(self.run / METRICS), (self.run / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "step": step} | dict(values)) + "\n")
        with writing(self.run / BOARD):
            self._board.add({f"{kind}/{name}": value for name, value in values.items()}, step)


def _until(step: int, line: str) -> bool:
    """Whether a line of metrics is whole, and of a step up to ``step``."""
    try:
        return line.endswith("\n") and bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False


def warnings(figures: Mapping[str, float]) -> list[str]:
    """What a user should know, in words, from the figures of a validation."""
    told = []
    if figures.get("kl/z", COLLAPSED_NATS) < COLLAPSED_NATS:
        told.append(
            f"the latent has collapsed: KL {figures['kl/z']:.2f} nats, so the decoder hardly uses z. "
            "Raise free nats, or anneal beta more slowly; for text word dropout helps too."
        )
    if figures.get("topics_in_use", 1.0) < 0.7:
        told.append(
            f"topics have collapsed: only {figures['topics_in_use']:.0%} are the main topic of their share of "
            "documents. Train fewer topics, or anneal the KL of g more slowly."
        )
    if figures.get("diversity", 1.0) < 0.5:
        told.append(f"topics repeat each other: {figures['diversity']:.0%} of their top words are distinct.")
    if "fidelity" in figures and figures["fidelity"] < min(3 * figures["chance"], (1 + figures["chance"]) / 2):
        told.append(
            f"guidance does not hold: {figures['fidelity']:.0%} of the sentences are about the topic asked for, "
            f"chance is {figures['chance']:.0%}. Train longer, or raise the evidence."
        )
    return told

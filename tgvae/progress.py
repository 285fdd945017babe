"""Progress for whatever takes more than two seconds: what is done, how far it is, and the time left.

The command line turns it on with ``showing``, for its own thread and where standard error is a terminal. Without
that, as in a library, a notebook or a request to a server, ``step`` and ``track`` show nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from threading import Lock, Timer
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

Item = TypeVar("Item")
Advance = Callable[[], None]
PATIENCE = 2.0
"""Seconds before anything is shown."""


class Standing(ProgressColumn):
    """How many of how many, and the time left; the time so far where the end is not known."""

    def render(self, task: Task) -> Text:
        """``12/40, 0:00:07 left``."""
        many = f"{task.completed:.0f}" + (f"/{task.total:.0f}" if task.total else "")
        if task.total and task.time_remaining is not None:
            return Text(f"{many}, {timedelta(seconds=int(task.time_remaining))} left")
        spent = f"{timedelta(seconds=int(task.elapsed or 0))}"
        return Text(f"{many}, {spent}" if task.total or task.completed else spent)


class Display:
    """The steps under way, a line each: there once the first of them has taken its time, gone with the last."""

    def __init__(self) -> None:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn(
                "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", max_width=40)
            ),
            BarColumn(16),
            Standing(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._lock = Lock()
        self._timer: Timer | None = None

    @contextmanager
    def line(self, what: str, total: int | None, done: int) -> Iterator[Advance]:
        """A line for as long as a step lasts; yields what takes it further by one."""
        with self._lock:
            if not self._bars.tasks:
                self._timer = Timer(PATIENCE, self._begin)
                self._timer.daemon = True
                self._timer.start()
            task = self._bars.add_task(what, total=total, completed=done)
        try:
            yield partial(self._advance, task)
        finally:
            with self._lock:
                self._remove(task)

    def close(self) -> None:
        """Show nothing more, whatever is under way: an error that is told may hold steps open."""
        with self._lock:
            for task in self._bars.task_ids:
                self._remove(task)

    def _advance(self, task: TaskID) -> None:
        if task in self._bars.task_ids:  # not after the display was closed
            self._bars.advance(task)

    def _remove(self, task: TaskID) -> None:
        if task not in self._bars.task_ids:
            return
        self._bars.remove_task(task)
        if not self._bars.tasks:
            if self._timer:
                self._timer.cancel()
            if self._bars.live.is_started:
                self._bars.stop()

    def _begin(self) -> None:
        with self._lock:
            if self._bars.tasks and self._bars.console.is_interactive:  # else the last one has ended just now
                self._bars.start()


_DISPLAY: ContextVar[Display | None] = ContextVar("display of progress", default=None)


@contextmanager
def showing(on: bool = True) -> Iterator[None]:
    """Show the steps inside where standard error is a terminal, of several processes those of the first; or do not."""
    on = on and sys.stderr.isatty() and os.environ.get("RANK", "0") == "0"
    display = Display() if on else None
    before = _DISPLAY.set(display)
    try:
        yield
    finally:
        _DISPLAY.reset(before)
        if display:
            display.close()


@contextmanager
def step(what: str, total: int | None = None, done: int = 0) -> Iterator[Advance]:
    """Name what is done inside; steps may hold steps.

    Args:
        what: in a few words.
        total: how many parts it has, where that is known.
        done: how many of them are behind.

    Yields:
        A function to be called after every part.
    """
    display = _DISPLAY.get()
    if display is None:
        yield lambda: None
        return
    with display.line(what, total, done) as advance:
        yield advance


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """The items as they are, a step whose parts they are; ``total`` says how many where they have no length.

    Examples:
        >>> sum(track([1, 2, 3], "adding"))
        6
    """
    with step(what, len(items) if total is None and isinstance(items, Sized) else total) as advance:
        for item in items:
            yield item
            advance()

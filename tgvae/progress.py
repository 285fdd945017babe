"""Progress of steps that take more than two seconds.

The command line turns it on with ``showing``, for its own thread and if standard error is a terminal. Without that,
as in a library, a notebook or a web request, ``step`` and ``track`` show nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from threading import Lock, Timer
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

Item = TypeVar("Item")
Advance = Callable[[], None]
DELAY = 2.0
"""Seconds before anything is shown."""


class Display:
    """Steps in progress, one per line. It appears ``DELAY`` seconds after the first step began."""

    def __init__(self) -> None:
        name = Column(no_wrap=True, overflow="ellipsis", max_width=40)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False, table_column=name),
            BarColumn(16),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._lock = Lock()
        self._timer: Timer | None = None

    @contextmanager
    def line(self, name: str, total: int | None, done: int) -> Iterator[Advance]:
        """Show a line while a step lasts; yields a function that advances it by one."""
        with self._lock:
            if not self._bars.tasks:
                self._timer = Timer(DELAY, self._start)
                self._timer.daemon = True
                self._timer.start()
            task = self._bars.add_task(name, total=total, completed=done)
        try:
            yield partial(self._advance, task)
        finally:
            with self._lock:
                self._remove(task)

    def close(self) -> None:
        """Remove all lines: a traceback that is being reported may hold steps open."""
        with self._lock:
            for task in self._bars.task_ids:
                self._remove(task)

    def _start(self) -> None:
        with self._lock:
            if self._bars.tasks and self._bars.console.is_interactive:  # the last step may just have ended
                self._bars.start()

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


_DISPLAY: ContextVar[Display | None] = ContextVar("display of progress", default=None)


@contextmanager
def showing(on: bool = True) -> Iterator[None]:
    """Show the steps inside, if standard error is a terminal and this is the first process; or hide them."""
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
def step(name: str, total: int | None = None, done: int = 0) -> Iterator[Advance]:
    """Show what is done inside; steps may be nested.

    Args:
        name: a few words.
        total: the number of parts, if known.
        done: the number of parts that are finished.

    Yields:
        A function to call after every part.
    """
    display = _DISPLAY.get()
    if display is None:
        yield lambda: None
        return
    with display.line(name, total, done) as advance:
        yield advance


def track(items: Iterable[Item], name: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items while showing how many are done; give ``total`` where they have no length.

    Examples:
        >>> sum(track([1, 2, 3], "adding"))
        6
    """
    with step(name, len(items) if total is None and isinstance(items, Sized) else total) as advance:
        for item in items:
            yield item
            advance()

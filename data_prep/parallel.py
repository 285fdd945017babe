"""Map over a stream in several processes: results in order, only a few items in memory.

An engine is a context manager that takes a number of workers and gives an `OrderedMap`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Protocol, TypeVar

from tgvae.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
Pending = TypeVar("Pending")


class OrderedMap(Protocol):
    """Yield function(item) for every item in order, for any number of workers."""

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]: ...


def in_order(
    submit: Callable[[Item], Pending], result: Callable[[Pending], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Yield the results of all items in order; at most `ahead` items are read before their results are taken."""
    waiting: deque[Pending] = deque()
    for item in items:
        waiting.append(submit(item))
        if len(waiting) >= ahead:
            yield result(waiting.popleft())
    while waiting:
        yield result(waiting.popleft())


@contextmanager
def processes(workers: int) -> Iterator[OrderedMap]:
    """Run in processes of this machine, two items each at a time; a single worker is this process itself.

    Workers are spawned, not forked: a fork would copy the locks of Arrow's threads. A worker that was killed is
    not replaced, because the next one would most likely run out of memory too.

    Raises:
        UserError: a worker was killed.
    """
    if workers == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_follow_parent)

    def pooled(function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
        def submit(item: Item) -> Future[Result]:
            with _interrupts_blocked():
                return pool.submit(function, item)

        return in_order(submit, Future.result, items, 2 * workers)

    try:
        yield pooled
    except BrokenProcessPool as error:
        raise UserError(
            "A worker process was killed, most likely because memory ran out; use fewer workers."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Defer Ctrl-C; processes started inside ignore it, and the parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow_parent() -> None:
    """Start a thread that ends this process with its parent."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

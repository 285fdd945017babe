"""How much of the machine a page may take."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tgvae.config_io import require_range


@dataclass(frozen=True)
class Limits:
    """What requests may take together; how long one takes is bounded by what may be asked (``asked.py``).

    Raises:
        UserError: one that lets nothing through.
    """

    at_once: int = 1
    """Requests at the model at a time."""
    waiting: int = 8
    """Requests that may wait for the model; more are told to come again."""
    seconds: float = 20.0
    """How long one waits at most."""
    body: int = 500_000
    """Bytes of a request: the longest text in JSON's longest spelling fits twice."""

    def __post_init__(self) -> None:
        require_range(self, 1, 100, "at_once")
        require_range(self, 0, 1000, "waiting")
        require_range(self, 0, threading.TIMEOUT_MAX, "seconds")
        require_range(self, 1, 2**31, "body")


class BusyError(Exception):
    """No place to wait, or waited too long."""


class Turns:
    """One request at the model at a time, in its own thread, and some waiting: a core has no more than one's worth."""

    def __init__(self, limits: Limits) -> None:
        self._places = threading.BoundedSemaphore(limits.waiting + limits.at_once)
        self._turn, self._seconds = threading.BoundedSemaphore(limits.at_once), limits.seconds

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Inside it is one's turn. Raises BusyError where it does not come."""
        if not self._places.acquire(blocking=False):
            raise BusyError
        try:
            if not self._turn.acquire(timeout=self._seconds):
                raise BusyError
            try:
                yield
            finally:
                self._turn.release()
        finally:
            self._places.release()

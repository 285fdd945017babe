"""Ctrl-C and SIGTERM: training stops between two steps, with a checkpoint."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any, Self

ECHO = 2.0  # seconds in which launchers pass on to their processes what the terminal has sent them already


class StopSignals:
    """Context in which the first SIGINT or SIGTERM is only noted, in ``signal``.

    A second signal has its usual effect, unless it comes within ``ECHO`` seconds. Outside the main thread, which alone
    receives signals, the context has no effect.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, action in self._before.items():
            signal.signal(number, action)

    def _note(self, number: int, _: object) -> None:
        if self.signal is None:
            self.signal, self._at = signal.Signals(number), time.monotonic()
        elif time.monotonic() - self._at > ECHO:
            self.__exit__()
            signal.raise_signal(number)

"""The command line in a fork of this process: the real program in a process of its own, without the seconds of a start.

Python, torch and the modules of the project are imported once, by the parent, which trains nothing itself.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tgvae.cli.main import main

TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, or minus the signal that killed it, and what it told."""

    status: int
    told: str
    seconds: float

    @property
    def last(self) -> str:
        """Its last line."""
        return (self.told.strip().splitlines() or [""])[-1]


class Fork:
    """``tgvae ARGUMENTS`` with one thread, begun at once; what it tells goes into the file ``log``.

    ``first`` is called in the new process before, to set its limits.
    """

    def __init__(self, arguments: Sequence[object], log: Path, first: Callable[[], object] | None = None) -> None:
        self._log, self._began = log, time.monotonic()
        self.pid = os.fork()
        if not self.pid:
            _be_command([str(argument) for argument in arguments], log, first)

    def kill(self, number: int, after: float) -> Ended:
        """Send a signal some seconds from the start, and wait for the end. One that ended before gets none."""
        while not (found := self._poll()):
            left = self._began + after - time.monotonic()
            if left <= 0:
                os.kill(self.pid, number)
                return self.wait()
            time.sleep(min(0.005, left))
        return found

    def wait(self) -> Ended:
        """Wait for the end."""
        return self._ended(os.waitpid(self.pid, 0)[1])

    def _poll(self) -> Ended | None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return self._ended(status) if pid else None

    def _ended(self, status: int) -> Ended:
        told = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
        return Ended(os.waitstatus_to_exitcode(status), told, time.monotonic() - self._began)


def command(arguments: Sequence[object], log: Path, first: Callable[[], object] | None = None) -> Ended:
    """Run ``tgvae ARGUMENTS`` in a fork to its end."""
    return Fork(arguments, log, first).wait()


def _be_command(arguments: Sequence[str], log: Path, first: Callable[[], object] | None) -> None:
    """Become the command; never returns."""
    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        sys.stdout = sys.stderr = log.open("w", encoding="utf-8", buffering=1)
        torch.set_num_threads(1)
        if first:
            first()
        status = main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)

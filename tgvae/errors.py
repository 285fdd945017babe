"""What ends a command without being a bug: the user's input, the machine, a signal."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


class UserError(ValueError):
    """A mistake that the user can mend: the message names the file, row or field and the remedy.

    The command line prints the message alone and exits with status 2.

    Examples:
        >>> from tgvae.schedules import Schedule
        >>> try:
        ...     Schedule("linear", share=2)
        ... except UserError as error:
        ...     print(error)
        schedule.share must lie in (0, 1] and schedule.cycles be at least 1
    """


class UnwritableError(UserError):
    """A file cannot be written: no room, no right, or no such folder."""


class Stopped(KeyboardInterrupt):
    """Asked to stop by a signal, and stopped in good order.

    The command line prints the message and exits with status 128 + ``signal``, as shells have it.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


NO_MEMORY = (
    "can't allocate memory",
    "Cannot allocate memory",
    "bad_alloc",
    "could not create a primitive",
    "can't start new thread",
    "Failed to launch worker thread",
    "Storage size calculation overflowed",
)
"""Words of torch, the system, C++, oneDNN, Python and Arrow where there is no memory left."""


def out_of_memory(error: BaseException) -> bool:
    """Whether the machine or its accelerator has no memory left, which is told in errors of several kinds.

    Examples:
        >>> out_of_memory(MemoryError()), out_of_memory(ValueError("no such topic"))
        (True, False)
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return not isinstance(error, UserError) and any(words in str(error) for words in NO_MEMORY)


def in_words(error: BaseException) -> str:
    """What a user can mend, in a line; empty where the error is a bug of ours.

    Examples:
        >>> in_words(UserError("no topic 9: this model has topics 0 to 4")), in_words(KeyError("a bug"))
        ('no topic 9: this model has topics 0 to 4', '')
    """
    if out_of_memory(error):
        return "out of memory; give it less at once or a smaller model, or take a machine with more memory"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) if isinstance(error, UserError | OSError) else ""


def meant(name: str, known: Iterable[str]) -> str:
    """The ending of a message about a mistyped name; empty where no known name is spelt nearly so.

    Examples:
        >>> meant("econmy", ["war", "economy"]), meant("xyz", ["war", "economy"])
        ("; did you mean 'economy'?", '')
    """
    close = closest(name, known)
    return "" if close is None else f"; did you mean {close!r}?"


def closest(name: str, known: Iterable[str]) -> str | None:
    """Which of the known names is spelt most like this one, if any nearly is; its case does not matter."""
    by_small = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), by_small, n=1)
    return by_small[close[0]] if close else None


def meant_path(path: Path) -> str:
    """The same for a file or folder that is not there, whichever part of its path is mistyped."""
    there = None if path.exists() else _closest_path(path)
    return "" if there is None else f"; did you mean {there}?"


def _closest_path(path: Path) -> Path | None:
    if path.exists() or path == path.parent:
        return path
    with suppress(OSError):  # a folder that may not be read
        parent = _closest_path(path.parent)
        name = None if parent is None else closest(path.name, (other.name for other in parent.iterdir()))
        return None if parent is None or name is None else parent / name
    return None

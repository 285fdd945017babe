"""Errors that end a command without a traceback: the user's input, the machine, a signal."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


class UserError(ValueError):
    """An error that the user can fix: the message names the file, row or field and the remedy.

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
    """A file cannot be written: the disk is full, permission is denied, or the folder does not exist."""


class Stopped(KeyboardInterrupt):
    """Stopped by a signal after saving.

    The command line prints the message and exits with status 128 + ``signal``, as shells do.
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
"""Messages of torch, the system, C++, oneDNN, Python and Arrow for a lack of memory."""


def out_of_memory(error: BaseException) -> bool:
    """Whether the machine or its accelerator has no memory left, which libraries report by several exceptions.

    Examples:
        >>> out_of_memory(MemoryError()), out_of_memory(ValueError("no such topic"))
        (True, False)
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return not isinstance(error, UserError) and any(words in str(error) for words in NO_MEMORY)


def user_message(error: BaseException) -> str:
    """Return a one-line message for an error that the user can fix, or '' for a bug.

    Examples:
        >>> user_message(UserError("no topic 9: this model has topics 0 to 4")), user_message(KeyError("a bug"))
        ('no topic 9: this model has topics 0 to 4', '')
    """
    if out_of_memory(error):
        return "out of memory; process less at once, or use a smaller model or a machine with more memory"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) if isinstance(error, UserError | OSError) else ""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" for a misspelled name, or '' if no known name is close.

    Examples:
        >>> suggestion("econmy", ["war", "economy"]), suggestion("xyz", ["war", "economy"])
        ("; did you mean 'economy'?", '')
    """
    close = closest(name, known)
    return "" if close is None else f"; did you mean {close!r}?"


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is spelled most alike, ignoring case, or None if none is close."""
    by_small = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), by_small, n=1)
    return by_small[close[0]] if close else None


def path_suggestion(path: Path) -> str:
    """Return ``suggestion`` for a missing file or folder, whichever part of its path is misspelled."""
    there = None if path.exists() else _closest_path(path)
    return "" if there is None else f"; did you mean {there}?"


def _closest_path(path: Path) -> Path | None:
    if path.exists() or path == path.parent:
        return path
    with suppress(OSError):  # a folder without read permission
        parent = _closest_path(path.parent)
        name = None if parent is None else closest(path.name, (other.name for other in parent.iterdir()))
        return None if parent is None or name is None else parent / name
    return None

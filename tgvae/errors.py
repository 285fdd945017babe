"""What ends a command without being a bug: the user's input, the machine, a signal."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake that the user can mend: the message names the file, row or field and the remedy.

    The command line prints the message alone and exits with status 2.
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
)
"""Words of torch, the system, C++, oneDNN, Python and Arrow where there is no memory left."""


def out_of_memory(error: BaseException) -> bool:
    """Whether the machine or its accelerator has no memory left, which is told in errors of several kinds."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return not isinstance(error, UserError) and any(words in str(error) for words in NO_MEMORY)


def in_words(error: BaseException) -> str:
    """What a user can mend, in a line; empty where the error is a bug of ours."""
    if out_of_memory(error):
        return "out of memory; give it less at once or a smaller model, or take a machine with more memory"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) if isinstance(error, UserError | OSError) else ""

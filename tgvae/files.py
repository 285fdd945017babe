"""Files that are there whole or not at all, also after a kill, a full disk or a power cut; and small ones read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from tgvae.errors import UnwritableError, UserError

LARGEST = 2**26
"""Bytes of a file that is read at once: settings, words, a tokenizer."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses while ``path`` is written, as an UnwritableError that names it."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise UnwritableError(f"{path}: cannot be written ({error}); what was there is kept") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A place beside ``path`` to write to, which takes its name when it is on disk: readers find old or new, whole.

    Nothing is left beside where writing fails.

    Raises:
        UnwritableError: it cannot be written; what was at ``path`` is still there.
    """
    partial = path.with_name(f"{path.name}.partial")
    with writing(path):
        try:
            partial.unlink(missing_ok=True)  # of a process that was killed
            partial.touch()
            mode = partial.stat().st_mode
            yield partial
            partial.chmod(mode)  # safetensors writes files that their owner alone may read
            sync(partial)
            os.replace(partial, path)
            sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file by a UTF-8 text. Raises UnwritableError, see ``atomic_write``."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file. Raises UnwritableError, see ``atomic_write``."""
    with atomic_write(path) as partial:
        partial.write_bytes(content)


def read_bytes(path: Path) -> bytes:
    """A small file, or what it links to, as those of the Hub's cache are links.

    Raises:
        FileNotFoundError: there is none; callers know what that means.
        UserError: it is no file, cannot be read, or is larger than 64 MiB, as no file of ours is that is read at once.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would never end
        raise UserError(f"{path}: not a file; remove it, and put the file of that name in its place")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if len(content) > LARGEST:
        raise UserError(f"{path}: larger than {LARGEST >> 20} MiB, which no such file is; get the right one anew")
    return content


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

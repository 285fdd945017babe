"""Durable writes: a file is complete or unchanged, also after a kill, a full disk or a power cut. Small reads too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from tgvae.errors import UnwritableError, UserError

LARGEST = 2**26
"""Largest file in bytes that ``read_bytes`` accepts: settings, words, a tokenizer."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise UnwritableError, which names ``path``, where the system refuses to write."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise UnwritableError(f"{path}: cannot be written ({error}); what was there is kept") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces ``path`` once it is on disk: readers see the old or the new file.

    Raises:
        UnwritableError: it cannot be written; the old file is kept and no partial file is left.
    """
    partial = path.with_name(f"{path.name}.partial")
    with writing(path):
        try:
            partial.unlink(missing_ok=True)  # left by a killed process
            partial.touch()
            mode = partial.stat().st_mode
            yield partial
            partial.chmod(mode)  # safetensors writes files that only their owner may read
            sync(partial)
            os.replace(partial, path)
            sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file by UTF-8 text; see ``atomic_write``."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file; see ``atomic_write``."""
    with atomic_write(path) as partial:
        partial.write_bytes(content)


def read_bytes(path: Path) -> bytes:
    """Read a small file, or the file that it links to (files in the Hub's cache are links).

    Raises:
        FileNotFoundError: there is no such file; callers explain what that means.
        UserError: it is not a file, cannot be read, or is larger than 64 MiB, as no file read this way should be.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # reading a pipe would never end
        raise UserError(f"{path}: not a file; replace it with the file of that name")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if len(content) > LARGEST:
        raise UserError(f"{path}: larger than {LARGEST >> 20} MiB, too large for this file; get the right one again")
    return content


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

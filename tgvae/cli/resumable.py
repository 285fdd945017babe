"""A file of summaries which a stopped command goes on with, and for which no other file is taken.

OUT                  blocks of lines; after an interruption perhaps a part of one at its end
OUT.progress.json    what OUT is made with; how many documents and bytes are done, and the SHA-256 of both
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

from tgvae.cli.inputs import Document
from tgvae.config_io import misfit
from tgvae.errors import UserError
from tgvae.files import write_text

CHUNK = 2**20  # bytes read at a time
REMEDY = "choose another --out, or remove the file"
NOTED = {"made_with": dict, "documents": int, "documents_sha256": str, "size": int, "size_sha256": str}
NOTHING = hashlib.sha256().hexdigest()


@dataclass(frozen=True)
class Progress:
    """How far a file has come.

    Attributes:
        made_with: a JSON object with all that decides what is written of a document.
        documents: how many are done, and the hash of their ids and texts.
        size: bytes of the file that hold them, and the hash of these.
    """

    made_with: dict[str, Any]
    documents: int = 0
    documents_sha256: str = NOTHING
    size: int = 0
    size_sha256: str = NOTHING


class ResumableFile:
    """Takes blocks of lines; each is on disk before it is noted, and what was not noted is written once more.

    To make one and to ``skip`` only read. As a context manager it opens the file, where it removes what was not
    noted, and then takes blocks.
    """

    def __init__(self, path: Path, made_with: Mapping[str, Any]) -> None:
        """Find how far the file has come; one that is missing or empty is begun.

        Args:
            path: the file.
            made_with: all that decides what is written of a document, as JSON has it; messages name its keys.

        Raises:
            UserError: something else is there, or what was made with other options or changed since.
        """
        self.path, self.notes = path, path.with_name(f"{path.name}.progress.json")
        self._read, self._written = hashlib.sha256(), hashlib.sha256()
        self._progress = self._found(json.loads(json.dumps(made_with)))

    def skip(self, documents: Iterator[Document]) -> int:
        """Take those that are done from a stream of documents; returns how many.

        Raises:
            UserError: the stream does not begin with the documents that are done.
        """
        for document in islice(documents, self._progress.documents):
            self._read.update(_bytes(document))
        if self._read.hexdigest() != self._progress.documents_sha256:
            raise UserError(f"{self.path}: holds summaries of other documents; {REMEDY}")
        return self._progress.documents

    def append(self, documents: Sequence[Document], lines: str) -> None:
        """Write the lines of some documents. Raises UserError when they cannot be written."""
        data = lines.encode("utf-8", "backslashreplace")
        with self._writing():
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
            for document in documents:
                self._read.update(_bytes(document))
            self._written.update(data)
            self._note(
                Progress(
                    self._progress.made_with,
                    self._progress.documents + len(documents),
                    self._read.hexdigest(),
                    self._progress.size + len(data),
                    self._written.hexdigest(),
                )
            )

    def __enter__(self) -> Self:
        with self._writing():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._note(self._progress)
            self._file = self.path.open("ab")
            self._file.truncate(self._progress.size)
        return self

    def __exit__(self, *_: object) -> None:
        with self._writing():
            self._file.close()

    def _found(self, made_with: dict[str, Any]) -> Progress:
        if self.path.exists() and not self.path.is_file():
            raise UserError(f"{self.path}: not a file; choose another --out, or none for standard output")
        noted = _read_progress(self.notes)
        if not self.path.exists() or not self.path.stat().st_size:
            return Progress(made_with)
        if noted is None:
            raise UserError(f"{self.path}: is there already, and no {self.notes.name} says with what; {REMEDY}")
        names = sorted(made_with.keys() | noted.made_with.keys())
        if other := [name for name in names if made_with.get(name) != noted.made_with.get(name)]:
            raise UserError(f"{self.path}: was begun with other {', '.join(other)}; give the same again, {REMEDY}")
        if not noted.size or self._hash_written(noted.size) != noted.size_sha256:
            raise UserError(f"{self.path}: is not what was written there, see {self.notes.name}; {REMEDY}")
        return noted

    def _hash_written(self, size: int) -> str:
        """The hash of the first ``size`` bytes, or of all if there are fewer."""
        with self.path.open("rb") as file:
            while chunk := file.read(min(size, CHUNK)):
                self._written.update(chunk)
                size -= len(chunk)
        return self._written.hexdigest()

    def _note(self, progress: Progress) -> None:
        write_text(self.notes, json.dumps(asdict(progress), indent=2) + "\n")
        self._progress = progress

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error})") from error


def _read_progress(notes: Path) -> Progress | None:
    """What is noted; None if there is nothing. Raises UserError for a file of another kind."""
    try:
        noted = json.loads(notes.read_text(encoding="utf-8"))
        if wrong := misfit(noted, NOTED):
            raise ValueError(wrong)
        if not all(noted[name] in range(sys.maxsize) for name in ("documents", "size")):
            raise ValueError("counts that cannot be")
        return Progress(**noted)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{notes}: would be overwritten, but is no note of progress ({error!r}); {REMEDY}") from error


def _bytes(document: Document) -> bytes:
    return json.dumps(document).encode("ascii")

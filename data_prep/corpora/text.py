"""Corpora of local files: tables, text files with a document per line, and text files that are a document each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from data_prep.corpora.base import RawDocument, Skipped, split_name
from data_prep.corpora.encoding import find_encoding, known_encoding, read_text_lines
from data_prep.corpora.files import BINARY, TABLES, TEXT, InputFile, input_hash
from data_prep.corpora.rows import require_columns, to_document
from data_prep.corpora.tables import numbered_lines, read_rows
from data_prep.settings import Fields
from tgvae.errors import UserError


@dataclass(frozen=True)
class FileCorpus:
    """Files in order, each read by its kind.

    Attributes:
        files: what to read.
        left_out: files that cannot be read, with reasons.
        fields: columns of tables.
        lines: whether .txt files have a document per line; else each is a document.
        encoding: of all text files; None: found for each.
        strict: whether a file that cannot be read is an error.
    """

    files: tuple[InputFile, ...]
    left_out: tuple[Skipped, ...] = ()
    fields: Fields = field(default_factory=Fields)
    lines: bool = False
    encoding: str | None = None
    strict: bool = False
    group_by: ClassVar[None] = None
    _encodings: dict[Path, str | None] = field(default_factory=dict, repr=False, compare=False)

    @property
    def given_splits(self) -> frozenset[str]:
        return frozenset(file.split for file in self.files if file.split)

    def documents(self) -> Iterator[RawDocument | Skipped]:
        """Yield the files that are left out, then the documents of the others in order.

        Raises:
            UserError: a file is damaged; with ``strict`` also where one is left out.
        """
        first = True
        for skipped in self.left_out:
            self._require_lenient(skipped)
            yield skipped
        for file in self.files:
            encoding = self.encoding_of(file)
            if encoding is None:
                reason = f"not in {self.encoding}" if self.encoding else "no text in a known encoding"
                skipped = Skipped(file.part, str(file.path), reason)
                if file.inside is None:
                    remedy = "another --encoding" if self.encoding else "its --encoding; if it is compressed, unpack it"
                    raise UserError(f"{file.path}: {reason}; give {remedy}.")
                self._require_lenient(skipped)
                yield skipped
            elif file.kind in TABLES:
                rows = read_rows(file.path, file.kind, encoding, list(vars(self.fields).values()))
                for number, (where, row) in enumerate(require_columns(rows, self.fields, first), 1):
                    yield to_document(row, self.fields, where, number, file.part, file.split)
                first = False
            elif self.lines and file.kind == ".txt":
                yield from _line_documents(file, encoding)
            else:
                yield _file_document(file, encoding)

    def encoding_of(self, file: InputFile) -> str | None:
        """Return the encoding of a file; None where it cannot be decoded, "" for one that is not text."""
        if file.kind in BINARY:
            return ""
        if file.path not in self._encodings:
            given = known_encoding(self.encoding) if self.encoding else None
            self._encodings[file.path] = find_encoding(file.path, given)
        return self._encodings[file.path]

    def _require_lenient(self, skipped: Skipped) -> None:
        if self.strict:
            raise UserError(f"{skipped.where}: {skipped.reason}; fix or move it, or leave out --strict.")

    def describe(self) -> dict[str, str]:
        """Return the name, the hash of all files and, where one is not UTF-8, the number of files by encoding."""
        folder, paths = self.files[0].inside, [file.path for file in self.files]
        named_by_folder = folder and (len(paths) > 5 or any(f.kind in TEXT and not self.lines for f in self.files))
        counts = Counter(name for file in self.files if (name := self.encoding_of(file)))
        listed = ", ".join(f"{name} {n}" for name, n in sorted(counts.items()))
        return {
            "name": folder.resolve().name if folder and named_by_folder else ", ".join(path.name for path in paths),
            "licence": "not stated",
            "input_sha256": input_hash(paths, folder),
            **({"encodings": listed} if counts.keys() - {"utf-8", "utf-8-sig"} else {}),
        }


def _line_documents(file: InputFile, encoding: str) -> Iterator[RawDocument]:
    """Yield a document per line, with the id "file/line". TABs in a line separate its sentences."""
    for number, line in numbered_lines(file.path, encoding):
        sentences = tuple(line.strip().split("\t"))
        yield RawDocument(
            id=f"{file.part}/{number}",
            text=sentences if len(sentences) > 1 else sentences[0],
            where=f"{file.path}:{number}",
            split=file.split,
            part=file.part,
        )


def _file_document(file: InputFile, encoding: str) -> RawDocument:
    """Return the document of a file laid out as [SPLIT/][LABEL/]FILE.txt; its id is the path without extension."""
    *folders, _ = Path(file.part).parts
    labels = folders[1:] if folders and split_name(folders[0]) else folders
    return RawDocument(
        id=file.part,
        text="".join(read_text_lines(file.path, encoding)),
        where=str(file.path),
        label="/".join(labels) or None,
        split=file.split,
        group={"folder": "/".join(folders) or "."},
    )

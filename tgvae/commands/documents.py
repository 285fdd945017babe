"""Documents from files, folders and standard input, one after the other; and how far an output file has come."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from data_prep.corpora.base import RawDocument, Skipped
from data_prep.corpora.files import TABLES, input_file
from data_prep.corpora.rows import TableCorpus
from data_prep.settings import Fields
from tgvae.commands.generate import read_text
from tgvae.errors import UserError

Item = TypeVar("Item")


class Document(NamedTuple):
    """A text and its name: the path of its file, or the id of its row."""

    id: str
    text: str


def read_documents(inputs: Iterable[str], fields: Fields) -> Iterator[Document]:
    """The documents of all inputs in order; of tables only a row at a time is in memory.

    Args:
        inputs: tables (.jsonl, .csv, .parquet; .gz), folders of .txt files, other files as a text each, and ``-``
            for a text on standard input.
        fields: columns of tables.

    Raises:
        UserError: an input cannot be read, or a row has no text field.
    """
    for name in inputs:
        path = Path(name)
        if name == "-":
            yield Document(name, sys.stdin.read())
        elif path.is_dir():
            yield from _folder(path)
        elif name.removesuffix(".gz").endswith(TABLES):
            yield from map(_row, TableCorpus((input_file(path),), fields).documents())
        else:
            yield Document(name, read_text(path))


def _folder(folder: Path) -> Iterator[Document]:
    files = sorted(folder.rglob("*.txt"))
    if not files:
        raise UserError(f"{folder}: no .txt file in this folder")
    yield from (Document(str(file), read_text(file)) for file in files)


def _row(row: RawDocument | Skipped) -> Document:
    if isinstance(row, Skipped):  # its text is null
        return Document(row.id, "")
    return Document(row.id, row.text if isinstance(row.text, str) else "\n\n".join(row.text))


def windows(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items, ``size`` at a time."""
    iterator = iter(items)
    while window := list(islice(iterator, size)):
        yield window


class Written(NamedTuple):
    """Whole lines that an output file holds already, and the last of them."""

    lines: int
    last: str


def keep_whole(path: Path, block: int) -> Written:
    """What is in an output file that may have been cut anywhere; a part of a block at its end is removed.

    Args:
        path: the file; it may be missing.
        block: lines that are kept together or not at all.
    """
    if not path.exists():
        return Written(0, "")
    count = read = whole = 0
    last = b""
    with path.open("rb+") as file:
        for line in file:
            read += len(line)
            count += line.endswith(b"\n")
            if line.endswith(b"\n") and count % block == 0:
                whole, last = read, line
        file.truncate(whole)
    return Written(count - count % block, last.decode("utf-8"))

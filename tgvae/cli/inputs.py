"""Documents from files, folders and standard input. All inputs are found first, then read as a stream."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from data_prep.corpora.base import RawDocument, Skipped
from data_prep.corpora.files import TABLES, find_texts, input_file, kind_of
from data_prep.corpora.text import FileCorpus
from data_prep.settings import Fields
from tgvae.data.tokenizers import clean_text, split_sentences
from tgvae.errors import UserError, path_suggestion

Item = TypeVar("Item")
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table."""

    text: str = "text"
    id: str = "id"


class Document(NamedTuple):
    """A text and its id: the path of its file, or the id of its row."""

    id: str
    text: str
    sentences: tuple[str, ...] | None = None
    """The sentences of the text, where a table gives their boundaries."""


def find_inputs(names: Iterable[str]) -> list[str]:
    """Return the files to read, in order, without reading them.

    Args:
        names: tables (.jsonl, .csv, .parquet; .gz), folders of .txt files (.gz), other files (.gz) with one text each,
            and ``-`` for a text on standard input.

    Raises:
        UserError: an input does not exist, a folder has no text, or a file cannot be opened.
    """
    found = []
    for name in names:
        try:
            found += _find(name)
        except OSError as error:
            raise UserError(f"{name:.200}: cannot be read ({error.strerror})") from error
    return found


def _find(name: str) -> list[str]:
    path = Path(name)
    if name == STANDARD_INPUT:
        return [name]
    files = [name]
    if path.is_dir():
        files = [str(file.path) for file in find_texts(path)]
        if not files:
            raise UserError(f"{path}: no .txt file in this folder")
    elif _is_table(name):
        input_file(path)
    elif not path.exists():
        hint = path_suggestion(path) or "; give one, or - for standard input"
        raise UserError(f"{path}: no such file or folder{hint}")
    for file in filter(Path.is_file, map(Path, files)):  # not pipes, which can be opened only once
        file.open("rb").close()
    return files


def require_not_input(out: Path, names: Iterable[str], files: Iterable[str]) -> None:
    """Raises UserError if an output is one of the input files, or inside an input folder."""
    target = out.resolve()
    taken = [name for name in names if Path(name).is_dir() and target.is_relative_to(Path(name).resolve())]
    taken += [file for file in files if file != STANDARD_INPUT and out.exists() and out.samefile(file)]
    if taken:
        raise UserError(f"{out}: is the input {taken[0]} or inside it; choose another --out")


def read_documents(files: Iterable[str], fields: Fields) -> Iterator[Document]:
    """Yield the documents of files in order; tables are read row by row.

    Args:
        files: from ``find_inputs``.
        fields: columns of tables; the column of splits is ignored.

    Raises:
        UserError: a file is damaged, or a row has no text field.
    """
    for name in files:
        if _is_table(name):
            table = replace(input_file(Path(name)), split="test")  # so that a column `split` is not validated
            yield from map(_row, FileCorpus((table,), fields=fields).documents())
        else:
            yield Document(name, _read(name))


def sentences_of(document: Document, language: str) -> list[str]:
    """Return the cleaned sentences of a document; those that a table gives are kept as in preparation."""
    if document.sentences is None:
        return split_sentences(clean_text(document.text), language)
    cleaned = (" ".join(clean_text(sentence).split()) for sentence in document.sentences)
    return [sentence for sentence in cleaned if sentence]


def _is_table(name: str) -> bool:
    return kind_of(name) in TABLES


def _row(row: RawDocument | Skipped) -> Document:
    if isinstance(row, Skipped):  # the text is null
        return Document(row.id, "")
    return (
        Document(row.id, row.text) if isinstance(row.text, str) else Document(row.id, "\n\n".join(row.text), row.text)
    )


def _read(name: str) -> str:
    try:
        if name == STANDARD_INPUT:
            return sys.stdin.read()
        with gzip.open(name) if name.endswith(".gz") else open(name, "rb") as file:
            return file.read().decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{name}: cannot be read as UTF-8 text ({error})") from error


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of ``size`` items; itertools has this since Python 3.12."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch

"""Paired line files of headline corpora: one document per line, its summary in the same line of another file.

train.article.txt         documents; valid and test likewise, and with .filter: valid.article.filter.txt
train.title.txt           the headline of each
input.txt                 a test set with several references, as DUC-2004
task1_ref0.txt            the first reference of each; task1_ref1.txt and so on hold further ones
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import ClassVar

from data_prep.corpora.base import RawDocument, Skipped, split_name
from data_prep.corpora.encoding import find_encoding
from data_prep.corpora.files import InputFile, checked_splits, input_hash
from data_prep.corpora.tables import numbered_lines
from tgvae.data.tokenizers import clean_text
from tgvae.errors import UserError

_HEADLINES = re.compile(r"(\w+)\.(article|title)(\.filter)?")
_REFERENCE = re.compile(r"task1_ref([0-9])")
_TEST_SET, _DOCUMENTS = "input", -1

Group = dict[int, InputFile]
"""Files that belong together, by the number of the reference that they hold; -1: the documents."""


@dataclass(frozen=True)
class PairedFiles:
    """A file of documents, and the files of their references."""

    documents: InputFile
    references: tuple[Path, ...]


@dataclass(frozen=True)
class PairedCorpus:
    """Files in which the same line belongs to the same document, in a folder or its subfolders."""

    folder: Path
    files: tuple[PairedFiles, ...]
    left_out: tuple[Skipped, ...] = ()
    group_by: ClassVar[None] = None
    given_splits: ClassVar[frozenset[str]] = frozenset()

    def documents(self) -> Iterator[RawDocument | Skipped]:
        """Yield lines in order; the id is "file/line". Further references are `reference_1`, ... in the metadata.

        A blank line is no reference. Raises UserError, at the latest after the last line, where files
        that belong together have different numbers of lines.
        """
        yield from self.left_out
        for paired in self.files:
            file = paired.documents
            for number, (text, summary, *more) in enumerate(_rows(file.path, *paired.references), 1):
                cleaned = {f"reference_{n}": clean_text(line) for n, line in enumerate(more, 1)}
                yield RawDocument(
                    id=f"{file.stem}/{number}",
                    text=text,
                    where=f"{file.path}:{number}",
                    summary=summary,
                    split=file.split,
                    part=file.stem,
                    metadata={name: reference for name, reference in cleaned.items() if reference},
                )

    def describe(self) -> dict[str, str]:
        """Return the names of the files of documents, and the hash of these and their references."""
        names = [paired.documents.path.relative_to(self.folder).as_posix() for paired in self.files]
        paths = [path for paired in self.files for path in (paired.documents.path, *paired.references)]
        hashed = input_hash(paths, self.folder)
        return {"name": ", ".join(names), "licence": "not stated", "input_sha256": hashed}


def _rows(*paths: Path) -> Iterator[tuple[str, ...]]:
    """Yield the same line of every file, line by line."""
    for lines in zip_longest(*map(_lines, paths)):
        if None in lines:
            counts = ", ".join(f"{path}: {sum(1 for _ in _lines(path))}" for path in paths)
            raise UserError(
                f"Different numbers of lines, but the same line is the same document; make them equal ({counts})."
            )
        yield tuple(line.strip() for _, line in lines)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    if (encoding := find_encoding(path)) is None:
        raise UserError(f"{path}: no text in a known encoding; convert it, for example with iconv -t UTF-8.")
    return numbered_lines(path, encoding)


def find_pairs(folder: Path, texts: Iterable[InputFile]) -> list[PairedFiles]:
    """Return the .txt files of a folder that are paired by their names; none in an ordinary folder.

    As elsewhere, files of the train split alone are a corpus to be split. Raises UserError where a file
    lacks its partner, where two are the same split, or where there is no train split.
    """
    groups = _grouped(texts)
    if all(name == _TEST_SET and set(group) == {_DOCUMENTS} for (_, name), group in groups.items()):
        return []
    paired = [_paired(parent, name, group) for (parent, name), group in groups.items()]
    splits: dict[str | None, Path] = {}
    for file in (files.documents for files in paired):
        if (other := splits.setdefault(file.split, file.path)) != file.path:
            raise UserError(f"{file.path}: {other} is the {file.split} split already; move one out of {folder}.")
    if "train" not in splits:
        raise UserError(
            f"{folder}: no train.article.txt, and a corpus cannot be prepared without training documents; "
            "add it, or put these files into the folder that has it."
        )
    documents = checked_splits([files.documents for files in paired])
    return [replace(files, documents=file) for files, file in zip(paired, documents, strict=True)]


def _grouped(texts: Iterable[InputFile]) -> dict[tuple[Path, str], Group]:
    """Group the files named as in this module's docstring by folder and stem of their documents."""
    groups: dict[tuple[Path, str], Group] = {}
    for file in texts:
        headlines, reference = _HEADLINES.fullmatch(file.stem), _REFERENCE.fullmatch(file.stem)
        if headlines and (split := split_name(headlines[1])):
            name = file.stem.replace(".title", ".article")
            number = 0 if headlines[2] == "title" else _DOCUMENTS
        elif reference or file.stem == _TEST_SET:
            name, split = _TEST_SET, "test"
            number = int(reference[1]) if reference else _DOCUMENTS
        else:
            continue
        group = groups.setdefault((file.path.parent, name), {})
        if number in group:
            raise UserError(f"{file.path}: has the same role as {group[number].path.name}; remove one of the two.")
        group[number] = replace(file, split=split)
    return groups


def _paired(folder: Path, name: str, group: Group) -> PairedFiles:
    """Return documents and references in order. Raises UserError for a missing file."""
    for number in range(_DOCUMENTS, max(0, *group) + 1):
        if number not in group:
            reference = f"task1_ref{number}" if name == _TEST_SET else name.replace(".article", ".title")
            missing = folder / f"{name if number == _DOCUMENTS else reference}.txt"
            there = group[min(group)].path.name
            raise UserError(
                f"{missing}: no such file, plain or .gz, but {there} belongs with it; add the one or remove the other."
            )
    return PairedFiles(group[_DOCUMENTS], tuple(group[number].path for number in range(len(group) - 1)))

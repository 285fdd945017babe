"""Documents, skipped documents, and the protocol of a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

Scalar = str | int | float | bool

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}


@dataclass(frozen=True)
class RawDocument:
    """A document as found. `where` is named in messages: "file:line"."""

    id: str
    text: str | tuple[str, ...]
    """The text, or its sentences where the corpus gives their boundaries."""
    where: str
    title: str | None = None
    label: str | None = None
    summary: str | None = None
    split: str | None = None
    """train, valid or test where the corpus says so."""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    part: str = ""
    """The file or split of the corpus that the document is from; ids are distinct within a part."""
    repeats: bool = False
    """Whether an earlier document has the same text."""
    unread_date: str = ""
    """Column and value of a date that is in no known form."""
    group: Mapping[str, str] = field(default_factory=dict)
    """Values to group by that are not stored, by name: the address of a passage."""


@dataclass(frozen=True)
class Skipped:
    """A document that was left out, and why."""

    id: str
    where: str
    reason: str


class Corpus(Protocol):
    """A source of documents, read as a stream and always in the same order."""

    @property
    def group_by(self) -> str | None:
        """The field whose documents share a split unless the user chooses another."""

    @property
    def given_splits(self) -> frozenset[str]:
        """The splits that its parts are named after, as far as that is known before it is read."""

    def documents(self) -> Iterator[RawDocument | Skipped]:
        """Yield every document. Raises UserError where the input cannot be read."""

    def describe(self) -> dict[str, str]:
        """Return name, licence, citation and version, for the manifest."""


def split_name(name: str) -> str | None:
    """Return train, valid or test for the usual names of splits ("dev", "validation"), None for any other name."""
    return _SPLIT_NAMES.get(name.lower())


def printable(text: str) -> str:
    """Return the text with lone surrogates, which UTF-8 cannot encode, as escapes such as \\ud800."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")

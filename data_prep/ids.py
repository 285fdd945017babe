"""No id twice, in little memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from data_prep.corpora.base import Corpus, RawDocument, Skipped
from tgvae.errors import UserError

RECENT = 100_000
"""Hashes kept in a set before they become a sorted run."""


class Seen:
    """Which ids there have been: 64-bit hashes in sorted runs, 8 bytes each, merged as they grow in number."""

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._runs: list[NDArray[np.uint64]] = []

    def add(self, identity: str) -> bool:
        """Add an id; True where its hash was there before."""
        hashed = int.from_bytes(hashlib.sha256(identity.encode("utf-8", "surrogatepass")).digest()[:8])
        if hashed in self._recent or any(_holds(run, np.uint64(hashed)) for run in self._runs):
            return True
        self._recent.add(hashed)
        if len(self._recent) >= RECENT:
            run = np.sort(np.fromiter(self._recent, np.uint64, len(self._recent)))
            while self._runs and len(self._runs[-1]) <= len(run):
                run = np.sort(np.concatenate([self._runs.pop(), run]))
            self._runs.append(run)
            self._recent.clear()
        return False


def _holds(run: NDArray[np.uint64], hashed: np.uint64) -> bool:
    at = np.searchsorted(run, hashed)
    return bool(at < len(run) and run[at] == hashed)


def check_ids(corpus: Corpus) -> Iterator[RawDocument | Skipped]:
    """The documents of a corpus as they are. Raises UserError where two share an id.

    Where hashes are equal the corpus is read again, so that the ids are compared and the first place is named.
    """
    seen = Seen()
    for number, document in enumerate(corpus.documents()):
        if seen.add(document.id):
            first, place = next((i, d.where) for i, d in enumerate(corpus.documents()) if d.id == document.id)
            if first < number:
                raise UserError(
                    f"{document.where}: id '{document.id}' belongs to {place} already; "
                    "make ids unique, or name another column with --fields.id."
                )
        yield document

"""Make ids distinct."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from data_prep.corpora.base import Corpus, RawDocument, Skipped
from tgvae.errors import UserError


def text_hash(text: str) -> int:
    """Return 64 bits of the SHA-256 of a text."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8])


def unique_ids(corpus: Corpus) -> Iterator[RawDocument | Skipped]:
    """Yield the documents of a corpus with distinct ids; memory holds a hash of each id.

    Ids that restart in each file or split are common ("0", "1", ... in train and in test): an id that an earlier part
    of the corpus has already becomes "part/id".

    Raises:
        UserError: an id occurs twice in the same part.
    """
    part: str | None = None
    before: set[int] = set()  # hashes of the ids of earlier parts, as they are after prefixing
    here: set[int] = set()  # hashes of the ids of this part, as the corpus gives them
    renamed: set[int] = set()
    for number, document in enumerate(corpus.documents()):
        if isinstance(document, Skipped):
            yield document
            continue
        if document.part != part:
            before |= here | renamed
            part, here, renamed = document.part, set(), set()
        given = text_hash(document.id)
        if given in here:
            _require_other_id(corpus, document, number)
        here.add(given)
        if given in before:
            document = replace(document, id=f"{document.part}/{document.id}")
            renamed.add(text_hash(document.id))
        yield document


def _require_other_id(corpus: Corpus, document: RawDocument, number: int) -> None:
    """Raise UserError naming the earlier document with this id, unless only the hashes of two ids are equal."""
    for earlier, other in enumerate(corpus.documents()):
        if earlier == number:
            return
        if other.id == document.id and getattr(other, "part", None) == document.part:
            raise UserError(
                f"{document.where}: id '{document.id}' belongs to {other.where} already; make ids unique, name another "
                "column with --fields.id, or number the rows with --fields.id none."
            )

"""Assign documents to train, valid and test, by themselves or in groups.

A document goes where the SHA-256 of seed and id puts it, so its split never depends on other documents. Documents of
one group (passages of an address, articles of a journal) share a split, or held-out text would be of known sources.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from data_prep.corpora.base import Corpus, RawDocument, Skipped
from data_prep.ids import text_hash
from data_prep.settings import PrepareSettings
from tgvae.data.schema import SPLITS
from tgvae.errors import UserError, suggestion

NO_GROUPS = "none"
TOLERANCE = 0.1
"""How far valid and test may be from their share, relative to it, before further groups are tried."""


def hash_position(seed: int, key: str) -> float:
    """Return a number in [0, 1), uniform over keys."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_by_hash(key: str, settings: PrepareSettings) -> str:
    """Return the split of a key by its hash position: train comes first, then valid, then test."""
    position = hash_position(settings.seed, key)
    train, valid, _ = settings.splits
    return SPLITS[(position >= train) + (position >= train + valid)]


def split_groups(sizes: Mapping[str, int], shares: Sequence[float], seed: int) -> dict[str, str]:
    """Assign groups to splits such that each split gets about its share of the documents.

    Groups are taken in the order of their hashes. First valid and then test takes each group that brings it closer to
    its share, until it is within ``TOLERANCE`` of that; train keeps the rest. A group larger than half the share is
    taken only where smaller ones do not suffice, so that a split mostly has several. The hash alone would not do: of
    82 addresses with 14 to 272 passages, 5 % are about four, so a split could end up with none or with three times
    its share.

    Args:
        sizes: documents of each group.
        shares: of train, valid and test.
        seed: of the order.

    Examples:
        >>> split_groups({"a": 50, "b": 5, "c": 5, "d": 40}, (0.9, 0.05, 0.05), seed=0)
        {'a': 'train', 'b': 'test', 'c': 'valid', 'd': 'train'}
    """
    order = sorted(sizes, key=lambda group: (hash_position(seed, group), group))
    total = sum(sizes.values())
    splits = dict.fromkeys(sizes, SPLITS[0])
    for split, share in zip(SPLITS[1:], shares[1:], strict=True):
        target, filled = share * total, 0
        free = [group for group in order if splits[group] == SPLITS[0]]
        for group in sorted(free, key=lambda group: sizes[group] > target / 2):
            if abs(filled - target) <= TOLERANCE * target:
                break
            if abs(filled + sizes[group] - target) < abs(filled - target):
                splits[group] = split
                filled += sizes[group]
        if target > 0 and not filled and len(free) > 1:  # every group is larger than twice the target
            splits[min(free, key=sizes.__getitem__)] = split
    return splits


@dataclass
class Splitter:
    """Assign the split of every document.

    Attributes:
        group_by: the field that groups documents, or "none".
        splits: split of each group.
        texts: split of each text so far, by its hash.
        valid_share: share of the train split that becomes valid, where the corpus gives train and test alone.
    """

    settings: PrepareSettings
    group_by: str = NO_GROUPS
    splits: dict[str, str] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    valid_share: float = 0.0

    @classmethod
    def of(cls, corpus: Corpus, documents: Iterable[RawDocument | Skipped], settings: PrepareSettings) -> Splitter:
        """Read the documents once to find groups and their sizes; without grouping nothing is read.

        Raises:
            UserError: no document has the field of the groups, or the corpus comes with splits.
        """
        group_by = settings.group_by or corpus.group_by or NO_GROUPS
        splitter = cls(settings, group_by)
        if {"train"} <= corpus.given_splits and "valid" not in corpus.given_splits:
            splitter.valid_share = settings.splits[1] / sum(settings.splits[:2])
        if group_by == NO_GROUPS:
            return splitter
        sizes: Counter[str] = Counter()
        known: dict[str, None] = {}
        for document in documents:
            if isinstance(document, RawDocument) and document.split is None:
                sizes[splitter.group_of(document)] += 1
                known |= dict.fromkeys(splitter.fields(document))
            elif isinstance(document, RawDocument):
                raise UserError(
                    f"{document.where}: the corpus says which split this document belongs to, so --group-by has no "
                    "effect; leave it out."
                )
        if sizes and group_by not in known:
            hint = suggestion(group_by, known) or f"; choose from {', '.join(known) or 'none'}"
            raise UserError(f"--group-by {group_by}: no document has this field{hint}.")
        splitter.splits = split_groups(sizes, settings.splits, settings.seed)
        return splitter

    def place(self, document: RawDocument) -> RawDocument | Skipped:
        """Return the document with its split, and whether it repeats the text of an earlier one.

        Texts are equal when their words are. Skipped: "duplicate", "duplicate in another split".
        """
        split = self.split_of(document)
        words = " ".join(document.text.split() if isinstance(document.text, str) else " ".join(document.text).split())
        hashed = text_hash(words)
        if not words or (first := self.texts.get(hashed)) is None:
            self.texts[hashed] = split
            return replace(document, split=split)
        if self.settings.duplicates == "skip":
            return Skipped(document.id, document.where, "duplicate")
        if self.settings.duplicates == "together" and first != split:
            moved = self.valid_share and {first, split} == {"train", "valid"}
            if not moved and (document.split or self.fields(document).get(self.group_by) is not None):
                return Skipped(document.id, document.where, "duplicate in another split")
            split = first
        return replace(document, split=split, repeats=True)

    def split_of(self, document: RawDocument) -> str:
        """Return the split that the corpus gives, else that of the document's group, else one by the hash of its id."""
        if document.split == "train" and hash_position(self.settings.seed, document.id) < self.valid_share:
            return "valid"
        if document.split is not None:
            return document.split
        if self.group_by == NO_GROUPS:
            return split_by_hash(document.id, self.settings)
        return self.splits[self.group_of(document)]

    def group_of(self, document: RawDocument) -> str:
        """Return the value of the field that groups documents; a document without it is a group of its own."""
        value = self.fields(document).get(self.group_by)
        return f"id:{document.id}" if value is None else f"group:{value}"

    def fields(self, document: RawDocument) -> dict[str, object]:
        """Return the fields that can group this document, by the names that the user knows."""
        columns = self.settings.fields
        named = {columns.label: document.label, columns.title: document.title, **document.metadata, **document.group}
        return {name: value for name, value in named.items() if value is not None}

    def group_counts(self) -> dict[str, int]:
        """Return the number of groups in each split."""
        counts = Counter(self.splits.values())
        return {split: counts[split] for split in SPLITS}

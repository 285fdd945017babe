"""Documents of a split with their summaries, and their batches.

Replaces ``Corpus`` for summarizers: its rows are pairs, where those of a corpus are sentences.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tgvae.data.batch import Documents, PairBatch
from tgvae.data.bow import BagOfWords, count_words
from tgvae.data.corpus import Corpus, length_batches
from tgvae.data.dataset import Ints, Rows, Unit, not_corrupted
from tgvae.data.extended_vocabulary import ExtendedVocabulary
from tgvae.data.schema import PreparedFolder
from tgvae.data.tokenizers import split_sentences
from tgvae.errors import UserError

Field = Literal["summary", "title"]
Target = Literal["auto", "summary", "title"]

AT_ONCE = 500
"""Documents read and encoded together."""


def target_field(folder: PreparedFolder, target: Target = "auto") -> Field:
    """Return the target column; ``auto`` is the one that more training documents have, in a tie the summary."""
    if target != "auto":
        return target
    train = folder.split("train")
    summaries, titles = (len(train) - train[name].null_count for name in ("summary", "title"))
    return "summary" if 0 < summaries >= titles else "title"


class Pairs:
    """The documents of a split that have a summary.

    Sources include sentences that are too long to be modelled alone. Summaries are split into sentences as documents
    are.

    Attributes:
        field: the column of the summaries.
        index: document of each pair with shape (P,).
        lengths: tokens of source and summary together, with shape (P,).
        cut: pairs whose document is longer than ``source_tokens`` and was cut.
        left_out: documents without a summary or without a token.
    """

    def __init__(self, corpus: Corpus, target: Target, source_tokens: int) -> None:
        self.corpus, self.folder, self.split, self.table = corpus, corpus.folder, corpus.split, corpus.table
        self.field = target_field(corpus.folder, target)
        self.vocabulary = ExtendedVocabulary(self.folder.tokenizer)
        self._sources: list[NDArray[np.int32]] = []
        self._targets: list[NDArray[np.int32]] = []
        documents, words, self.cut = [], [], 0
        for number, source, summary, count in _pairs(self.table, self.field, self.vocabulary, source_tokens):
            if source and summary:
                self._sources.append(np.array(source[:source_tokens], np.int32))
                self._targets.append(np.array([*summary, self.folder.tokenizer.eos_id], np.int32))
                documents.append(number)
                words.append(count + 1)
                self.cut += len(source) > source_tokens
        self.index, self._words = np.array(documents, np.int64), np.array(words, np.int64)
        rows = zip(self._sources, self._targets, strict=True)
        self.lengths = np.array([len(source) + len(target) for source, target in rows], np.int64)
        self.left_out = len(self.table) - len(documents)

    @property
    def documents(self) -> int:
        return self.corpus.documents

    def require_sentences(self) -> None:
        """Raise UserError if no document of the split has a summary."""
        if not len(self.lengths):
            raise UserError(
                f"{self.folder.path}: no document of the {self.split} split has a {self.field} to learn to write; "
                f"prepare again with --fields.{self.field} and the name of its column"
            )

    def rows(self, unit: Unit) -> Rows:
        """Return the documents, or the pairs as sentences. Raises UserError where there are none."""
        if unit != "sentence":
            return self.corpus.rows(unit)
        self.require_sentences()
        return Rows(unit, self.sentence_batches, self.gather, self.corpus.names, not_corrupted)

    def gather(self, index: Sequence[int] | Ints) -> PairBatch:
        """Return the pairs ``index``."""
        chosen, tokenizer = np.asarray(index), self.folder.tokenizer
        documents = self.gather_documents(self.index[chosen])
        targets = _padded([self._targets[i] for i in chosen], tokenizer.pad_id)
        inputs = targets.roll(1, 1).masked_fill(targets.roll(1, 1) == tokenizer.eos_id, tokenizer.pad_id)
        inputs[:, 0] = tokenizer.bos_id
        return PairBatch(
            documents=documents,
            inputs=inputs,
            targets=targets,
            lengths=torch.tensor([len(self._targets[i]) for i in chosen]),
            words=torch.from_numpy(self._words[chosen]),
            parent=torch.arange(len(chosen)),
            sentence_bow=BagOfWords.of(self._summary_bags[chosen]),
            context=documents.counts,
            source=_padded([self._sources[i] for i in chosen], tokenizer.pad_id),
            source_lengths=torch.tensor([len(self._sources[i]) for i in chosen]),
        )

    @cached_property
    def _summary_bags(self) -> csr_array:
        """Counts of topic words of every summary, (P, D)."""
        vocabulary = self.folder.topic_vocabulary
        texts = self.table[self.field].take(self.index).to_pylist()
        return count_words([vocabulary.encode_text(text) for text in texts], len(vocabulary))

    def gather_documents(self, index: Sequence[int] | Ints) -> Documents:
        """Return the documents ``index``, which may lack a summary."""
        return self.corpus.gather_documents(index)

    def sentence_batches(self, tokens: int, seed: int | None = None) -> list[Ints]:
        """Return batches of pairs of similar length and about ``tokens`` padded tokens, sources included.

        As in ``Corpus.sentence_batches``: shuffled with a ``seed``, by length without one.
        """
        self.require_sentences()
        return length_batches(self.lengths, tokens, seed)

    @property
    def description(self) -> str:
        return (
            f"{self.split}: {len(self.lengths):,} documents with a {self.field}, {self.left_out:,} without, "
            f"{self.cut:,} longer than the model reads and cut"
        )


def _pairs(
    table: pa.Table, field: Field, vocabulary: ExtendedVocabulary, source_tokens: int
) -> Iterator[tuple[int, list[int], list[int], int]]:
    """Yield number, source, target and word count of documents with a summary; ``_beginning`` cuts long sources."""
    for numbers, documents, texts in _rows(table, field):
        sources = vocabulary.encode_sources([_beginning(sentences, source_tokens) for sentences in documents])
        seen = [source[:source_tokens] for source in sources]
        targets, words = vocabulary.encode_targets(list(map(split_sentences, texts)), seen)
        yield from zip(numbers, sources, targets, words, strict=True)


def _rows(table: pa.Table, field: Field) -> Iterator[tuple[list[int], list[list[str]], list[str]]]:
    """Yield numbers, sentences and summaries of documents that have one, a few at a time."""
    start = 0
    for batch in table.select(["sentences", field]).to_batches(max_chunksize=AT_ONCE):
        texts = batch[field].to_pylist()
        there = [i for i, text in enumerate(texts) if text]
        sentences = batch["sentences"].take(pa.array(there, pa.int64())).to_pylist()
        yield [start + i for i in there], sentences, [texts[i] for i in there]
        start += len(batch)


def _beginning(sentences: list[str], tokens: int) -> list[str]:
    """Return the first sentences that certainly have more than ``tokens`` tokens.

    An alphanumeric word between spaces has at least one token in any tokenizer.
    """
    words = accumulate(sum(map(str.isalnum, sentence.split())) for sentence in sentences)
    return sentences[: 1 + bisect_right(list(words), tokens)]


def _padded(rows: list[NDArray[np.int32]], pad_id: int) -> torch.Tensor:
    """Return padded rows with shape (B, longest)."""
    out = np.full((len(rows), max(map(len, rows))), pad_id, dtype=np.int64)
    for target, row in zip(out, rows, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(out)

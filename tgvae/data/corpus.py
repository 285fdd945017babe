"""A split of a prepared folder as arrays, and its batches.

Batches are a function of (seed, epoch), so a resumed run has the batches of an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from scipy.sparse import csr_array

from tgvae.data.batch import Batch, Documents, Passages
from tgvae.data.bow import BagOfWords, bag_matrix
from tgvae.data.corruption import Corruption, corrupt_sentences
from tgvae.data.dataset import Ints, Rows, Unit, not_corrupted, shuffled
from tgvae.data.schema import DOCUMENT, PreparedFolder
from tgvae.data.tokenizers import cut_words, word_tokenize
from tgvae.errors import UserError


class Corpus:
    """Documents of one split and their modelled sentences, which are those with tokens.

    Attributes:
        sentences: document of each modelled sentence, and its position there, with shape (N, 2).
        lengths: tokens of each modelled sentence, eos not counted, with shape (N,).
        table: the rows; by default those of the split.
        context: tokens of a passage, see ``passages``; 0 keeps every sentence alone.
    """

    def __init__(self, folder: PreparedFolder, split: str, table: pa.Table | None = None, context: int = 0) -> None:
        self.folder, self.split, self.context = folder, split, context
        self.table = folder.split(split) if table is None else table
        self._tokens = _Ragged(self.table["tokens"])
        self._words = _one_chunk(self.table["words"]).values.to_numpy()
        self._topic_words = _Ragged(self.table["topic_words"])
        lengths = self._tokens.lengths
        modelled = np.flatnonzero(lengths)
        parent = np.repeat(np.arange(self.documents), np.diff(self._tokens.rows))
        self.sentences = np.stack((parent[modelled], modelled - self._tokens.rows[parent[modelled]]), axis=1)
        self.lengths, self._modelled = lengths[modelled], modelled
        self._longest = folder.manifest["settings"]["max_sentence_words"]

    @classmethod
    def of_sentences(cls, folder: PreparedFolder, split: str, texts: Sequence[str]) -> Corpus:
        """Return other sentences, each as a document, in place of a split of the folder."""
        return cls.of_documents(folder, split, [[text] for text in texts])

    @classmethod
    def of_documents(
        cls, folder: PreparedFolder, split: str, documents: Sequence[Sequence[str]], longest: int | None = None
    ) -> Corpus:
        """Return other documents, given as cleaned sentences, in place of a split of the folder.

        Sentences of more than ``longest`` characters are not modelled; their words are in the bag of their document.
        """
        texts = [text for document in documents for text in document]
        kept = [text if longest is None or len(text) <= longest else "" for text in texts]
        columns: dict[str, list[Any]] = {
            "tokens": folder.tokenizer.encode_batch(kept),
            "topic_words": [folder.topic_vocabulary.encode_sentence(text) for text in texts],
            "words": [len(word_tokenize(text)) for text in kept],
        }
        ends = list(accumulate(map(len, documents), initial=0))
        rows: dict[str, list[Any]] = {
            name: [values[start:end] for start, end in pairwise(ends)] for name, values in columns.items()
        }
        rows |= {"id": list(map(str, range(len(documents)))), "sentences": list(map(list, documents))}
        missing = {name: [None] * len(documents) for name in DOCUMENT.names if name not in rows}
        return cls(folder, split, pa.table(rows | missing, schema=DOCUMENT))

    @cached_property
    def bags(self) -> csr_array:
        """Counts of topic words of every document, with shape (documents, D), for statistics; kept in memory."""
        return self._document_bags(np.arange(self.documents))

    def _document_bags(self, documents: Ints) -> csr_array:
        first, end = (self._topic_words.rows[documents + i] for i in (0, 1))
        return self._bags(self._topic_words.starts[first], self._topic_words.starts[end])

    def _sentence_bags(self, sentences: Ints) -> csr_array:
        """Return bags of sentences, numbered over all sentences of the split."""
        return self._bags(self._topic_words.starts[sentences], self._topic_words.starts[sentences + 1])

    def _bags(self, first: Ints, end: Ints) -> csr_array:
        """Return counts of the topic words between each first position and its end, with shape (len(first), D)."""
        lengths = end - first
        starts = np.concatenate(([0], np.cumsum(lengths)))
        places = np.arange(starts[-1]) + np.repeat(first - starts[:-1], lengths)
        return bag_matrix(self._topic_words.values[places], starts, len(self.folder.topic_vocabulary))

    description = ""

    @cached_property
    def passages(self) -> Ints:
        """The first modelled sentence of every passage, and the number of sentences at the end.

        A passage holds the modelled sentences of a document in order. It ends with the document, or before it would
        have more than ``context`` tokens.
        """
        firsts, tokens, document = [], 0, -1
        for i, (parent, length) in enumerate(zip(self.sentences[:, 0].tolist(), self.lengths.tolist(), strict=True)):
            tokens += length
            if parent != document or tokens > self.context:
                firsts.append(i)
                tokens, document = length, parent
        return np.array([*firsts, len(self.lengths)], dtype=np.int64)

    @property
    def documents(self) -> int:
        return len(self.table)

    def require_documents(self) -> None:
        """Raise UserError if the split is empty."""
        if not self.documents:
            raise UserError(f"{self.folder.path}: the {self.split} split is empty; prepare again with other --splits")

    def require_sentences(self) -> None:
        """Raise UserError if no sentence of the split can be modelled."""
        if not len(self.lengths):
            raise UserError(
                f"{self.folder.path}: the {self.split} split has no sentence to model; "
                "prepare again with more documents or a larger max_sentence_words"
            )

    def rows(self, unit: Unit) -> Rows:
        """Return the documents or the modelled sentences. Raises UserError where there are none."""
        if unit == "document":
            self.require_documents()
            return Rows(unit, self.document_batches, self.gather_documents, self.names, not_corrupted)
        if unit == "sentence":
            self.require_sentences()
            return Rows(unit, self.sentence_batches, self.gather, self.names, self.corrupt)
        raise UserError(f"{self.folder.path}: a corpus of text has no {unit}s")

    def names(self, documents: Ints) -> list[str]:
        """Ids of documents."""
        return list(self.table["id"].take(documents).to_pylist())

    def corrupt(self, batch: Batch, corruption: Corruption) -> Batch:
        """The batch with its sentences corrupted, as the encoder is to see them."""
        ids = self.folder.tokenizer
        noisy = corrupt_sentences(batch.targets, batch.lengths, corruption, unk_id=ids.unk_id, pad_id=ids.pad_id)
        return replace(batch, noisy=noisy)

    def text(self, sentence: int) -> str:
        """Return the cleaned text of a modelled sentence, without the words beyond the maximum length."""
        document, position = self.sentences[sentence]
        text = str(self.table["sentences"][int(document)][int(position)].as_py())
        kept = int(self._words[self._modelled[sentence]])
        if kept < self._longest:
            return text
        words = word_tokenize(text)
        return text if len(words) == kept else cut_words(text, words, kept)

    @cached_property
    def texts(self) -> list[str]:
        """``text`` of every modelled sentence."""
        return [self.text(i) for i in range(len(self.lengths))]

    def gather_documents(self, index: Sequence[int] | Ints) -> Documents:
        """Return the documents ``index``."""
        rows = np.array(index, dtype=np.int64)
        return Documents(BagOfWords.of(self._document_bags(rows)), torch.from_numpy(rows))

    def gather(self, index: Sequence[int] | Ints) -> Batch:
        """Return the modelled sentences ``index`` with their documents."""
        rows = np.asarray(index)
        chosen, lengths = self._modelled[rows], self.lengths[rows] + 1
        documents, parent = np.unique(self.sentences[rows, 0], return_inverse=True)
        own, bags, tokenizer = self._sentence_bags(chosen), self._document_bags(documents), self.folder.tokenizer
        tokens = self._tokens.padded(chosen, lengths.max(), tokenizer.pad_id)
        targets = tokens.copy()
        targets[np.arange(len(rows)), lengths - 1] = tokenizer.eos_id
        inputs = np.roll(tokens, 1, axis=1)  # the last column is padding, except where a sentence has its eos
        inputs[:, 0] = tokenizer.bos_id
        return Batch(
            documents=Documents(BagOfWords.of(bags), torch.from_numpy(documents)),
            inputs=torch.from_numpy(inputs),
            targets=torch.from_numpy(targets),
            lengths=torch.from_numpy(lengths),
            words=torch.from_numpy(self._words[chosen].astype(np.int64) + 1),
            parent=torch.from_numpy(parent),
            sentence_bow=BagOfWords.of(own),
            context=BagOfWords.of(bags[parent] - own),
            passages=self._gather_passages(rows) if self.context else None,
        )

    def _gather_passages(self, sentences: Ints) -> Passages:
        """The passages of some modelled sentences, each passage once."""
        number = np.searchsorted(self.passages, sentences, side="right") - 1
        wanted, row = np.unique(number, return_inverse=True)
        # A sentence that is not modelled has no tokens, so those of a passage are contiguous.
        begin = self._tokens.starts[self._modelled[self.passages[wanted]]]
        end = self._tokens.starts[self._modelled[self.passages[wanted + 1] - 1] + 1]
        place = begin[:, None] + np.arange((end - begin).max())
        tokens = np.where(
            place < end[:, None], self._tokens.values.take(place, mode="clip"), self.folder.tokenizer.pad_id
        )
        first = np.full((len(wanted), 1), self.folder.tokenizer.bos_id)
        return Passages(
            tokens=torch.from_numpy(np.concatenate((first, tokens), axis=1).astype(np.int64)),
            row=torch.from_numpy(row),
            start=torch.from_numpy(self._tokens.starts[self._modelled[sentences]] - begin[row]),
        )

    def sentence_batches(self, tokens: int, seed: int | None = None) -> list[Ints]:
        """Indices of sentences, each batch of like length and at most ``tokens`` padded tokens.

        With a ``seed`` sentences are shuffled, then sorted by length within stretches of about a hundred
        batches; without one they come by length, each once, for evaluation. With ``context`` the same holds for
        passages, so that each is read once.
        """
        self.require_sentences()
        if not self.context:
            return length_batches(self.lengths, tokens, seed)
        lengths = np.add.reduceat(self.lengths, self.passages[:-1])
        return [
            np.concatenate([np.arange(self.passages[i], self.passages[i + 1]) for i in batch])
            for batch in length_batches(lengths, tokens, seed)
        ]

    def document_batches(self, size: int, seed: int | None = None) -> list[Ints]:
        """Return indices of documents in batches of ``size``; shuffled if a ``seed`` is given."""
        self.require_documents()
        return shuffled(self.documents, size, seed)

    def each_documents(self, size: int = 256) -> Iterator[Documents]:
        """Yield every document once, in order."""
        return (self.gather_documents(index) for index in self.document_batches(size))


class _Ragged:
    """A column of type list<list<int32>> as flat arrays: items are integers, without a copy per row."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        array = _one_chunk(column)
        self.rows = array.offsets.to_numpy().astype(np.int64)
        self.starts = array.values.offsets.to_numpy().astype(np.int64)
        self.values = array.values.values.to_numpy()

    @property
    def lengths(self) -> Ints:
        return np.diff(self.starts)

    def padded(self, index: Ints, width: int, pad: int) -> Ints:
        """Return items as rows, filled with ``pad`` after their end, with shape (len(index), width)."""
        place = self.starts[index, None] + np.arange(width)
        values = self.values.take(place, mode="clip")  # clip: beyond the last item there are no values
        return np.where(place < self.starts[index + 1, None], values, pad).astype(np.int64)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def length_batches(lengths: Ints, tokens: int, seed: int | None) -> list[Ints]:
    """Return batches of rows of similar length, of at most ``tokens`` padded tokens; see ``sentence_batches``."""
    if seed is None:
        return _cut(np.argsort(lengths, kind="stable"), lengths, tokens)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(lengths))
    stretch = max(1, 100 * tokens // int(lengths.mean() + 1))
    parts = (order[i : i + stretch] for i in range(0, len(order), stretch))
    batches = [b for part in parts for b in _cut(part[np.argsort(lengths[part], kind="stable")], lengths, tokens)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _cut(order: Ints, lengths: Ints, tokens: int) -> list[Ints]:
    """Split an order by ascending length where one more row would exceed the budget of padded tokens."""
    batches, start = [], 0
    for end in range(1, len(order)):
        if (end + 1 - start) * (lengths[order[end]] + 1) > tokens:
            batches.append(order[start:end])
            start = end
    return [*batches, order[start:]]

"""The two passes over a corpus, a shard at a time: clean and count, then encode.

Pass one turns a chunk of raw documents into a shard file of sentences and words and returns counts.
Pass two, when the vocabularies are known, turns a shard into rows of the prepared folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_prep.clean import CleanDocument, clean_document
from data_prep.corpora.base import RawDocument, Skipped
from data_prep.settings import PrepareSettings
from tgvae.data.languages import WordRules
from tgvae.data.schema import DOCUMENT, SPLITS
from tgvae.data.tokenizers import SentenceTokenizer, WordTokenizer, cut_words
from tgvae.data.vocabulary import TopicVocabulary

MAX_TOKENS_PER_WORD = 8
"""A sentence with more tokens than this times max_sentence_words is no prose, and is not modelled."""

_SHARD = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("split", "id", "title", "summary", "label", "metadata")),
        pa.field("sentences", pa.list_(pa.string())),
        pa.field("texts", pa.list_(pa.string())),  # of each sentence, what the sentence model sees
        pa.field("words", pa.list_(pa.list_(pa.string()))),
    ]
)


@dataclass(frozen=True)
class Chunk:
    """A few raw documents, each with its split, and the shard file that they become."""

    documents: list[RawDocument | Skipped]
    shard: Path
    settings: PrepareSettings
    rules: WordRules


@dataclass
class Counts:
    """What pass one learns; document frequencies, words and sentences are those of the train split.

    Documents and those that repeat an earlier one are counted by split.
    """

    documents: Counter[str] = field(default_factory=Counter)
    document_frequency: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)
    unread_dates: Counter[str] = field(default_factory=Counter)
    sentences: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    def add_training(self, sentences: list[str], modelled: list[list[str]], rules: WordRules) -> None:
        """Count the topic words of a training document, and the words of its modelled sentences."""
        self.document_frequency.update({word for sentence in sentences for word in rules.words(sentence)})
        self.sentences += sum(map(bool, modelled))
        for words in modelled:
            self.words.update(words)

    def add(self, other: Counts) -> None:
        """Add the counts of a later chunk."""
        self.documents += other.documents
        self.repeats += other.repeats
        self.unread_dates += other.unread_dates
        self.document_frequency.update(other.document_frequency)
        self.words.update(other.words)
        self.sentences += other.sentences
        self.skipped += other.skipped


def count_chunk(chunk: Chunk) -> Counts:
    """Pass one: write the shard, return the counts."""
    counts = Counts()
    rows: list[dict[str, Any]] = []
    for raw in chunk.documents:
        if isinstance(raw, Skipped):
            counts.skipped.append(raw)
            continue
        document = clean_document(raw, chunk.settings, chunk.rules)
        if isinstance(document, Skipped):
            counts.skipped.append(document)
            continue
        modelled = modelled_words(document.words, chunk.settings)
        split = raw.split or SPLITS[0]
        counts.documents[split] += 1
        counts.repeats[split] += raw.repeats
        if raw.unread_date:
            counts.unread_dates[raw.unread_date] += 1
        if split == "train":
            counts.add_training(document.sentences, modelled, chunk.rules)
        rows.append({"split": split, "texts": modelled_texts(document, modelled), **vars(document)})
    with pa.OSFile(str(chunk.shard), "wb") as sink, pa.ipc.new_file(sink, _SHARD) as writer:
        writer.write(pa.RecordBatch.from_pylist(rows, schema=_SHARD))
    return counts


def modelled_words(sentences: list[list[str]], settings: PrepareSettings) -> list[list[str]]:
    """Return the words of each sentence that the sentence model sees: all, the first ones, or none."""
    limit = settings.max_sentence_words
    keep = limit if settings.long_sentences == "cut" else 0
    return [words if len(words) <= limit else words[:keep] for words in sentences]


def modelled_texts(document: CleanDocument, modelled: list[list[str]]) -> list[str]:
    """Return the text of `modelled_words`; "" for a sentence that is not modelled."""
    return [
        sentence if len(few) == len(words) else cut_words(sentence, words, len(few))
        for sentence, words, few in zip(document.sentences, document.words, modelled, strict=True)
    ]


def read_shard(shard: Path, columns: Sequence[str] = tuple(_SHARD.names)) -> list[dict[str, Any]]:
    """Return the rows of a shard."""
    with pa.memory_map(str(shard)) as source:
        return pa.ipc.open_file(source).read_all().select(columns).to_pylist()


def training_texts(shards: Iterable[Path]) -> Iterator[str]:
    """Yield every modelled sentence of the train split, in order."""
    for shard in shards:
        for row in read_shard(shard, ("split", "texts")):
            if row["split"] == "train":
                yield from filter(None, row["texts"])


@dataclass(frozen=True)
class Encoder:
    """Pass two: turn the words of a shard into ids."""

    tokenizer: SentenceTokenizer
    topic_vocabulary: TopicVocabulary
    settings: PrepareSettings

    def __call__(self, shard: Path) -> dict[str, pa.RecordBatch]:
        """Return the rows of the shard as a record batch of DOCUMENT for each split that has some."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in read_shard(shard):
            rows.setdefault(row["split"], []).append(self._encode(row))
        return {split: pa.RecordBatch.from_pylist(rows[split], schema=DOCUMENT) for split in SPLITS if split in rows}

    def _encode(self, row: dict[str, Any]) -> dict[str, Any]:
        modelled = modelled_words(row["words"], self.settings)
        if isinstance(self.tokenizer, WordTokenizer):
            tokens = [self.tokenizer.encode_words(words) for words in modelled]
        else:
            tokens = self.tokenizer.encode_batch(row["texts"])
        most = MAX_TOKENS_PER_WORD * self.settings.max_sentence_words
        tokens = [ids if len(ids) <= most else [] for ids in tokens]
        return {
            **{name: row[name] for name in DOCUMENT.names if name in row},
            "tokens": tokens,
            "topic_words": [self.topic_vocabulary.encode_sentence(sentence) for sentence in row["sentences"]],
            "words": [len(words) if ids else 0 for words, ids in zip(modelled, tokens, strict=True)],
        }

"""The two passes over a corpus, a shard at a time: clean and count, then encode.

Pass one turns a chunk of raw documents into a shard file of sentences and words and returns counts.
Pass two, when the vocabularies are known, turns a shard into rows of the prepared folder.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_prep.clean import CleanDocument, clean_document, cut_words
from data_prep.corpora.base import RawDocument, Skipped
from data_prep.settings import PrepareSettings
from tgvae.data.schema import DOCUMENT, SPLITS, TOPIC_WORDS
from tgvae.data.tokenizers import SentenceTokenizer, WordTokenizer, load_tokenizer
from tgvae.data.vocabulary import TopicVocabulary, bag_words

MAX_TOKENS_PER_WORD = 8
"""A sentence with more tokens than this times max_sentence_words is no prose, and is not modelled."""

_SHARD = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("split", "id", "title", "summary", "label", "metadata")),
        pa.field("sentences", pa.list_(pa.string())),
        pa.field("words", pa.list_(pa.list_(pa.string()))),
    ]
)


@dataclass(frozen=True)
class Chunk:
    """A few raw documents and the shard file that they become."""

    documents: list[RawDocument | Skipped]
    shard: Path
    settings: PrepareSettings


@dataclass
class Counts:
    """What pass one learns; document frequencies, words and sentences are those of the train split."""

    documents: Counter[str] = field(default_factory=Counter)
    document_frequency: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    sentences: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        """Add the counts of a later chunk."""
        self.documents += other.documents
        self.document_frequency.update(other.document_frequency)
        self.words.update(other.words)
        self.sentences += other.sentences
        self.skipped += other.skipped


def split_of(document: RawDocument, settings: PrepareSettings) -> str:
    """The split that the corpus gives, else one drawn by the SHA-256 of seed and id."""
    if document.split is not None:
        return document.split
    digest = hashlib.sha256(f"{settings.seed}:{document.id}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    train, valid, _ = settings.splits
    return SPLITS[(position >= train) + (position >= train + valid)]


def count_chunk(chunk: Chunk) -> Counts:
    """Pass one: write the shard, return the counts."""
    counts = Counts()
    rows: list[dict[str, Any]] = []
    for raw in chunk.documents:
        if isinstance(raw, Skipped):
            counts.skipped.append(raw)
            continue
        document = clean_document(raw, chunk.settings)
        if isinstance(document, Skipped):
            counts.skipped.append(document)
            continue
        split = split_of(raw, chunk.settings)
        counts.documents[split] += 1
        rows.append({"split": split, **vars(document)})
        if split == "train":
            _count_document(document, chunk.settings, counts)
    with pa.OSFile(str(chunk.shard), "wb") as sink, pa.ipc.new_file(sink, _SHARD) as writer:
        writer.write(pa.RecordBatch.from_pylist(rows, schema=_SHARD))
    return counts


def _count_document(document: CleanDocument, settings: PrepareSettings, counts: Counts) -> None:
    counts.document_frequency.update({word for words in document.words for word in bag_words(words)})
    modelled = modelled_words(document.words, settings)
    counts.sentences += sum(map(bool, modelled))
    if settings.tokenizer == "words":
        for words in modelled:
            counts.words.update(words)


def modelled_words(sentences: list[list[str]], settings: PrepareSettings) -> list[list[str]]:
    """The words of each sentence that the sentence model sees: all, the first ones, or none."""
    limit = settings.max_sentence_words
    keep = limit if settings.long_sentences == "cut" else 0
    return [words if len(words) <= limit else words[:keep] for words in sentences]


def modelled_texts(sentences: list[str], words: list[list[str]], settings: PrepareSettings) -> list[str]:
    """The text of `modelled_words`; "" for a sentence not modelled."""
    kept = modelled_words(words, settings)
    return [
        text if len(few) == len(all_words) else cut_words(text, all_words, len(few))
        for text, all_words, few in zip(sentences, words, kept, strict=True)
    ]


def read_shard(shard: Path) -> list[dict[str, Any]]:
    """The rows of a shard."""
    with pa.memory_map(str(shard)) as source:
        return pa.ipc.open_file(source).read_all().to_pylist()


def training_texts(shards: list[Path], settings: PrepareSettings) -> Iterator[str]:
    """Every modelled sentence of the train split, in order."""
    for shard in shards:
        for row in read_shard(shard):
            if row["split"] == "train":
                yield from filter(None, modelled_texts(row["sentences"], row["words"], settings))


@lru_cache(maxsize=1)
def _vocabularies(folder: Path) -> tuple[SentenceTokenizer, TopicVocabulary]:
    return load_tokenizer(folder), TopicVocabulary.load(folder / TOPIC_WORDS)


@dataclass(frozen=True)
class EncodeTask:
    """A shard, and the folder that holds the vocabularies."""

    shard: Path
    folder: Path
    settings: PrepareSettings


def encode_shard(task: EncodeTask) -> dict[str, pa.RecordBatch]:
    """Pass two: the rows of the shard as a record batch of DOCUMENT for each split that has some."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in read_shard(task.shard):
        rows.setdefault(row.pop("split"), []).append(_encode_row(row, task))
    return {
        split: pa.RecordBatch.from_pylist(rows[split], schema=DOCUMENT) for split in SPLITS if split in rows
    }


def _encode_row(row: dict[str, Any], task: EncodeTask) -> dict[str, Any]:
    tokenizer, topic_vocabulary = _vocabularies(task.folder)
    kept = modelled_words(row["words"], task.settings)
    if isinstance(tokenizer, WordTokenizer):
        tokens = [tokenizer.encode_words(words) for words in kept]
    else:
        tokens = tokenizer.encode_batch(modelled_texts(row["sentences"], row["words"], task.settings))
    most = MAX_TOKENS_PER_WORD * task.settings.max_sentence_words
    tokens = [ids if len(ids) <= most else [] for ids in tokens]
    return {
        **row,
        "tokens": tokens,
        "topic_words": [topic_vocabulary.encode(words) for words in row["words"]],
        "words": [len(words) if ids else 0 for words, ids in zip(kept, tokens, strict=True)],
    }

"""Made-up prepared folders of any size: documents of an LDA whose topics are Zipf laws over words in another order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tgvae.data.schema import DOCUMENT, FORMAT, MANIFEST, SPLITS, TOPIC_WORDS, arrow_file, file_hash
from tgvae.data.tokenizers import SPECIALS, WordTokenizer
from tgvae.data.vocabulary import TopicVocabulary

TOPICS = 50
HELD_OUT = 64  # documents of valid and of test
AT_ONCE = 20_000  # documents written together, so that memory does not grow with their number
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Shape:
    """Sizes of a made-up corpus.

    Attributes:
        documents: of the training split.
        sentences: a document.
        length: tokens a sentence, eos included.
        words: topic words a sentence.
        vocabulary: V, tokens with the four specials.
        topic_words: D.
    """

    documents: int
    sentences: int = 5
    length: int = 24
    words: int = 20
    vocabulary: int = 8000
    topic_words: int = 8000


def write_folder(path: Path, shape: Shape, seed: int = 0) -> Path:
    """A prepared folder of that shape; the same seed gives the same files."""
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    orders = np.stack([rng.permutation(shape.topic_words) for _ in range(TOPICS)]).astype(np.int32)
    for split, documents in zip(SPLITS, (shape.documents, HELD_OUT, HELD_OUT), strict=True):
        with pa.OSFile(str(path / arrow_file(split)), "wb") as file, pa.ipc.new_file(file, DOCUMENT) as writer:
            for first in range(0, documents, AT_ONCE):
                writer.write_table(_documents(shape, first, min(AT_ONCE, documents - first), orders, rng))
    tokens = WordTokenizer([f"w{i}" for i in range(shape.vocabulary - len(SPECIALS))]).save(path)
    TopicVocabulary([f"t{i}" for i in range(shape.topic_words)]).save(path / TOPIC_WORDS)
    files = {name: file_hash(path / name) for name in (tokens.name, TOPIC_WORDS, *map(arrow_file, SPLITS))}
    manifest = {
        "format": FORMAT,
        "source": {"name": "made up", "licence": "none"},
        "settings": {"max_sentence_words": shape.length},
        "counts": {},
        "skipped": {},
        "versions": {},
        "files": files,
    }
    (path / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return path


def _documents(shape: Shape, first: int, count: int, orders: Ints, rng: np.random.Generator) -> pa.Table:
    """Rows of ``count`` documents."""
    sentences = count * shape.sentences
    tokens = zipf(sentences * (shape.length - 1), shape.vocabulary - len(SPECIALS), rng) + len(SPECIALS)
    theta = rng.dirichlet(np.full(TOPICS, 0.1), count).cumsum(1)
    draws = rng.random((count, shape.sentences * shape.words))
    topic = (draws[:, :, None] > theta[:, None, :-1]).sum(-1, dtype=np.int8).ravel()
    words = orders[topic, zipf(len(topic), shape.topic_words, rng)]
    columns = {
        "id": pa.array(np.arange(first, first + count).astype(str)),
        "sentences": _lists(pa.array([""] * sentences), shape.sentences),
        "tokens": _lists(_lists(pa.array(tokens.astype(np.int32)), shape.length - 1), shape.sentences),
        "topic_words": _lists(_lists(pa.array(words), shape.words), shape.sentences),
        "words": _lists(pa.array(np.full(sentences, shape.length - 1, dtype=np.int32)), shape.sentences),
    }
    nothing = pa.nulls(count, pa.string())
    return pa.table([columns.get(name, nothing) for name in DOCUMENT.names], schema=DOCUMENT)


def zipf(count: int, size: int, rng: np.random.Generator) -> Ints:
    """Draws from 0 to size - 1 with p(r) proportional to 1 / (r + 2.7), Mandelbrot's form for words of English."""
    cumulative = np.cumsum(1 / (np.arange(size) + 2.7))
    return np.searchsorted(cumulative / cumulative[-1], rng.random(count)).astype(np.int32)


def _lists(values: pa.Array, each: int) -> pa.ListArray:
    """Values cut into lists of ``each``."""
    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(values) + 1, each), pa.int32()), values)

"""Ids for words that the tokenizer lacks, so that a model can copy them from its source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tgvae.data.tokenizers import SentenceTokenizer, WordTokenizer, detokenize, word_tokenize

_UNKNOWN = re.compile(r"(?<!\S)(?:unk|<unk>)(?!\S)", re.IGNORECASE)
_SIGN = "\0"  # stands for such a word: a cleaned text has none, and word_tokenize leaves it whole


class OpenVocabulary:
    """The ids of a tokenizer, 0 to V - 1, and from V on those of the words that sources hold besides.

    A tokenizer with byte fallback lacks no word, so nothing is added and copying is of its own pieces.
    UNK or <unk> between blanks, in either case, is what some corpora have in place of a rare word: it is
    the tokenizer's unk, even where the tokenizer knows it as a word, and so is never written or copied.

    Attributes:
        words: the words that have the ids V, V + 1, ...
    """

    def __init__(self, tokenizer: SentenceTokenizer) -> None:
        self.tokenizer = tokenizer
        self.words: list[str] = []
        self._ids: dict[str, int] = {}

    def encode_source(self, sentences: Sequence[str]) -> list[int]:
        """Tokens of a document's cleaned sentences, one after the other; new words get ids."""
        return [i for ids in self._encode(sentences, grow=True) for i in ids]

    def encode_target(self, text: str, source: Iterable[int]) -> list[int]:
        """Tokens of a cleaned text; a word that the tokenizer lacks is unk unless ``source`` holds it."""
        size, there = len(self.tokenizer), set(source)
        (ids,) = self._encode([text], grow=False)
        return [i if i < size or i in there else self.tokenizer.unk_id for i in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Readable text, without white space but single blanks."""
        size = len(self.tokenizer)
        if not isinstance(self.tokenizer, WordTokenizer):
            unk = self.tokenizer.pieces[self.tokenizer.unk_id]
            text = self.tokenizer.decode(ids).replace(unk, f" {unk}")  # subwords set no blank before it
        elif max(ids, default=0) < size:
            text = self.tokenizer.decode(ids)
        else:
            text = detokenize([self.tokenizer.pieces[i] if i < size else self.words[i - size] for i in ids])
        return " ".join(text.split())

    def _encode(self, texts: Sequence[str], grow: bool) -> list[list[int]]:
        tokenizer = self.tokenizer
        if not isinstance(tokenizer, WordTokenizer):
            parts = [tokenizer.encode_batch(_UNKNOWN.split(text)) for text in texts]
            return [[i for ids in row for i in (tokenizer.unk_id, *ids)][1:] for row in parts]
        texts = [_UNKNOWN.sub(_SIGN, text) for text in texts]
        rows = [word_tokenize(text.lower() if tokenizer.lowercase else text) for text in texts]
        return [
            [self._id(word, i, grow) for word, i in zip(row, tokenizer.encode_words(row), strict=True)] for row in rows
        ]

    def _id(self, word: str, known: int, grow: bool) -> int:
        if known != self.tokenizer.unk_id or word == _SIGN:
            return known
        if grow and word not in self._ids:
            self._ids[word] = len(self.tokenizer) + len(self.words)
            self.words.append(word)
        return self._ids.get(word, known)

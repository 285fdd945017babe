"""Ids for words of the source that the tokenizer lacks, so that a model can copy them (See et al. 2017)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice

from tgvae.data.tokenizers import SentenceTokenizer, WordTokenizer, detokenize, word_tokenize

_UNKNOWN = re.compile(r"(?<!\S)(?:unk|<unk>)(?!\S)", re.IGNORECASE)
_SIGN = "\0"  # replaces such a word: cleaned text does not contain it, and word_tokenize keeps it whole


class ExtendedVocabulary:
    """The ids of a tokenizer, 0 to V - 1, and further ids for words of the sources that it lacks.

    A tokenizer with byte fallback lacks no word, so nothing is added and copying is of its pieces. UNK or `<unk>`
    between spaces, in either case, replaces rare words in some corpora: it is encoded as the tokenizer's unk, even if
    it is in the vocabulary, and so is never generated or copied. All white space counts as a space.

    Attributes:
        words: the words that have the ids V, V + 1, ...

    Examples:
        >>> from tgvae.data.tokenizers import WordTokenizer
        >>> vocabulary = ExtendedVocabulary(WordTokenizer(["the", "army", "US"]))
        >>> vocabulary.encode_source(["the army of Zog"]), vocabulary.words
        ([4, 5, 7, 8], ['of', 'Zog'])
        >>> vocabulary.decode([8, 4])
        'Zog the'
    """

    def __init__(self, tokenizer: SentenceTokenizer) -> None:
        self.tokenizer = tokenizer
        self.words: list[str] = []
        self._ids: dict[str, int] = {}

    def encode_source(self, sentences: Sequence[str]) -> list[int]:
        """Return the tokens of a document's cleaned sentences, concatenated; new words get ids."""
        return self.encode_sources([sentences])[0]

    def encode_sources(self, documents: Sequence[Sequence[str]]) -> list[list[int]]:
        """Return the tokens of every document; faster than one at a time."""
        return self._encode(documents, grow=True)

    def encode_targets(
        self, summaries: Sequence[Sequence[str]], sources: Sequence[Iterable[int]]
    ) -> tuple[list[list[int]], list[int]]:
        """Return the tokens of every summary's cleaned sentences, concatenated, and the number of words.

        A word that the tokenizer lacks is unk unless the summary's source has it. Words are those of `word_tokenize`,
        but UNK or `<unk>` is one word.
        """
        size, unk = len(self.tokenizer), self.tokenizer.unk_id
        rows = zip(self._encode(summaries, grow=False), map(set, sources), strict=True)
        targets = [[i if i < size or i in there else unk for i in ids] for ids, there in rows]
        if isinstance(self.tokenizer, WordTokenizer):
            return targets, [len(ids) for ids in targets]
        return targets, [sum(len(_words(text)) for text in sentences) for sentences in summaries]

    def decode(self, ids: Sequence[int]) -> str:
        """Return readable text with single spaces."""
        size = len(self.tokenizer)
        if not isinstance(self.tokenizer, WordTokenizer):
            unk = self.tokenizer.pieces[self.tokenizer.unk_id]
            text = self.tokenizer.decode(ids).replace(unk, f" {unk}")  # subword decoding leaves out the space before it
        elif max(ids, default=0) < size:
            text = self.tokenizer.decode(ids)
        else:
            text = detokenize([self.tokenizer.pieces[i] if i < size else self.words[i - size] for i in ids])
        return " ".join(text.split())

    def _encode(self, texts: Sequence[Sequence[str]], grow: bool) -> list[list[int]]:
        """Return the tokens of every text, given as sentences, which are encoded in one call."""
        rows = iter(self._encode_sentences([sentence for sentences in texts for sentence in sentences], grow))
        return [[i for ids in islice(rows, len(sentences)) for i in ids] for sentences in texts]

    def _encode_sentences(self, sentences: list[str], grow: bool) -> list[list[int]]:
        tokenizer = self.tokenizer
        if isinstance(tokenizer, WordTokenizer):
            words = (_words(text.lower() if tokenizer.lowercase else text) for text in sentences)
            pairs = (zip(row, tokenizer.encode_words(row), strict=True) for row in words)
            return [[self._id(word, known, grow) for word, known in row] for row in pairs]
        parts = [_UNKNOWN.split(" ".join(text.split())) for text in sentences]  # line ends would become pieces
        rows = iter(tokenizer.encode_batch([part for row in parts for part in row]))
        return [[i for ids in islice(rows, len(row)) for i in (tokenizer.unk_id, *ids)][1:] for row in parts]

    def _id(self, word: str, known: int, grow: bool) -> int:
        if known != self.tokenizer.unk_id or word == _SIGN:
            return known
        if grow and word not in self._ids:
            self._ids[word] = len(self.tokenizer) + len(self.words)
            self.words.append(word)
        return self._ids.get(word, known)


def _words(sentence: str) -> list[str]:
    return word_tokenize(_UNKNOWN.sub(_SIGN, sentence))

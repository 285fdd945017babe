"""The bag-of-words vocabulary: which words a topic may speak of, and their ids."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import lru_cache
from pathlib import Path

from tgvae.data.tokenizers import clean_text, read_words, split_sentences, word_tokenize
from tgvae.files import write_text


@lru_cache(maxsize=200_000)
def bag_word(token: str) -> str | None:
    """The lower-cased token if it can be a topic word, else None.

    A topic word is made of letters (and their combining marks) alone, at least three of them, or two
    where the first is outside the Latin script. UNK, which some corpora have in place of rare words, is none.

    Examples:
        >>> bag_word("Army"), bag_word("3rd"), bag_word("of")
        ('army', None, None)
    """
    word = token.lower()
    if word == "unk" or len(word) < (3 if word[:1] < "\u0250" else 2):
        return None
    return word if all(unicodedata.category(c)[0] in "LM" for c in word) else None


def bag_words(tokens: Iterable[str]) -> list[str]:
    """Candidate topic words among the tokens of `word_tokenize`, in running order with repeats.

    Examples:
        >>> bag_words(["The", "U.S.", "army", "has", "4", "tanks", "."])
        ['the', 'army', 'has', 'tanks']
    """
    return [word for token in tokens if (word := bag_word(token)) is not None]


class TopicVocabulary:
    """Topic words and their ids (the position in `words`).

    Examples:
        "the" is in more than half of ten documents, "rare" in fewer than two:

        >>> frequency = {"the": 10, "army": 4, "school": 3, "rare": 1}
        >>> vocabulary = TopicVocabulary.build(frequency, 10, size=100, min_count=2, max_share=0.5)
        >>> vocabulary.words, vocabulary.encode_text("The army left school. The army!")
        (['army', 'school'], [0, 1, 0])
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._ids = {word: i for i, word in enumerate(self.words)}

    @classmethod
    def build(
        cls,
        document_frequency: Mapping[str, int],
        documents: int,
        *,
        size: int,
        min_count: int,
        max_share: float,
        drop_most_frequent: float = 0.0,
        stop_words: Set[str] = frozenset(),
    ) -> TopicVocabulary:
        """The `size` words found in most documents, ties by alphabet.

        Left out: stop words, words in fewer than `min_count` documents or in more than the share
        `max_share` of them, and of all other words the share `drop_most_frequent` that is in most documents
        (rounded up). May be empty.
        """
        most = max_share * documents
        usable = (w for w, n in document_frequency.items() if n <= most and w not in stop_words)
        by_frequency = sorted(usable, key=lambda w: (-document_frequency[w], w))
        dropped = math.ceil(drop_most_frequent * len(by_frequency))
        return cls([w for w in by_frequency[dropped:] if document_frequency[w] >= min_count][:size])

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Ids of the tokens that are topic words, in running order with repeats; others are skipped."""
        return [i for token in tokens if (i := self._ids.get(token.lower())) is not None]

    def encode_text(self, text: str) -> list[int]:
        """Ids of the topic words of a raw text, cleaned, split and tokenised as in preparation."""
        sentences = split_sentences(clean_text(text))
        return [i for sentence in sentences for i in self.encode(word_tokenize(sentence))]

    def save(self, path: Path) -> None:
        """Write a word a line, id = line number from 0."""
        write_text(path, "".join(f"{word}\n" for word in self.words))

    @classmethod
    def load(cls, path: Path) -> TopicVocabulary:
        """Read what `save` wrote. Raises UserError as ``read_words``."""
        return cls(read_words(path))

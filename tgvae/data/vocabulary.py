"""The bag-of-words vocabulary: the words that topics use, and their ids."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict
from pathlib import Path

from tgvae.config_io import from_json, read_json
from tgvae.data.languages import WordRules
from tgvae.data.tokenizers import clean_text, read_words, split_sentences, word_tokenize
from tgvae.files import write_text


class TopicVocabulary:
    """Topic words and their ids (the position in `words`).

    Attributes:
        words: in the order of their ids.
        rules: how they are found in a text; None for vocabularies of November 2026 and before, whose words are Treebank
            tokens in lower case.

    Examples:
        "the" is in more than half of ten documents, "rare" in fewer than two:

        >>> frequency = {"the": 10, "army": 4, "school": 3, "rare": 1}
        >>> vocabulary = TopicVocabulary.build(frequency, 10, size=100, min_count=2, max_share=0.5)
        >>> vocabulary.words, vocabulary.encode_text("The army left school. The army!")
        (['army', 'school'], [0, 1, 0])
    """

    def __init__(self, words: Sequence[str], rules: WordRules | None = None) -> None:
        self.words, self.rules = list(words), rules
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
        rules: WordRules | None = None,
    ) -> TopicVocabulary:
        """Return the vocabulary of the `size` words found in most documents, ties by alphabet.

        Left out: stop words, words in fewer than `min_count` documents or in more than the share
        `max_share` of them, and of all other words the share `drop_most_frequent` that is in most documents
        (rounded up). May be empty.
        """
        most = max_share * documents
        usable = (w for w, n in document_frequency.items() if n <= most and w not in stop_words)
        by_frequency = sorted(usable, key=lambda w: (-document_frequency[w], w))
        dropped = math.ceil(drop_most_frequent * len(by_frequency))
        return cls([w for w in by_frequency[dropped:] if document_frequency[w] >= min_count][:size], rules)

    @property
    def language(self) -> str:
        """The language of the corpus, by name."""
        return self.rules.language if self.rules else "english"

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return the ids of the tokens that are or hold topic words, in running order with repeats."""
        if self.rules is None:
            return [i for token in tokens if (i := self._ids.get(token.lower())) is not None]
        return [i for token in tokens for i in self._known(self.rules.chunk_words(token))]

    def encode_sentence(self, sentence: str) -> list[int]:
        """Return the ids of the topic words of a cleaned sentence, in running order with repeats."""
        if self.rules is None:
            return self.encode(word_tokenize(sentence))
        return self._known(self.rules.words(sentence))

    def _known(self, words: Iterable[str]) -> list[int]:
        return [i for word in words if (i := self._ids.get(word)) is not None]

    def encode_text(self, text: str) -> list[int]:
        """Return the ids of the topic words of a raw text, cleaned and split as in preparation."""
        return [
            i for sentence in split_sentences(clean_text(text), self.language) for i in self.encode_sentence(sentence)
        ]

    def save(self, path: Path) -> list[Path]:
        """Write one word per line, id = line number from 0, and the rules to a .json next to it. Return the paths."""
        write_text(path, "".join(f"{word}\n" for word in self.words))
        rules = path.with_suffix(".json")
        rules.unlink(missing_ok=True)
        if self.rules is None:
            return [path]
        write_text(rules, json.dumps(asdict(self.rules), indent=2) + "\n")
        return [path, rules]

    @classmethod
    def load(cls, path: Path) -> TopicVocabulary:
        """Read what `save` wrote. Raises UserError where a file is damaged, or as ``read_words``."""
        rules = path.with_suffix(".json")
        if not rules.exists():
            return cls(read_words(path))
        return cls(read_words(path), from_json(WordRules, read_json(rules, "prepare the corpus again"), str(rules)))

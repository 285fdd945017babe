"""Settings of preparation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tgvae.data.languages import language_name
from tgvae.errors import UserError


@dataclass(frozen=True)
class Fields:
    """Names of the columns of a table (jsonl, csv, parquet, Hub) that hold each part of a document."""

    text: str = "text"
    title: str = "title"
    label: str = "label"
    summary: str = "summary"
    id: str = "id"
    split: str = "split"


@dataclass(frozen=True)
class PrepareSettings:
    """How a corpus becomes a prepared folder. Raises UserError for values that cannot work.

    Examples:
        >>> PrepareSettings(vocabulary_size=4000, splits=(0.8, 0.1, 0.1)).tokenizer
        'sentencepiece'
        >>> PrepareSettings(splits=(0.8, 0.1))
        Traceback (most recent call last):
        tgvae.errors.UserError: splits are (0.8, 0.1); give three shares of train, valid, test that sum to 1.
    """

    fields: Fields = field(default_factory=Fields)
    encoding: str | None = None
    """Encoding of the text files, such as windows-1252; None: found for each file."""
    strict: bool = False
    """Refuse a corpus with files that cannot be read, instead of listing them in skipped.jsonl."""
    language: str | None = None
    """Language of the text, by name or code: it chooses sentences, words and stop words. None: detected."""
    stop_words: str | None = None
    """None: a list for the language, for English a short one. Else "large" for the list of the package stop-words,
    "none", a language, or a file with words separated by blanks, commas or line ends."""
    lemmatize: bool = False
    """Replace topic words by their lemmas: child for children. Sentences stay as they are."""
    topic_vocabulary_size: int = 5000
    min_document_frequency: int = 5
    """Topic words occur in at least this many training documents..."""
    max_document_frequency: float = 0.5
    """...and in at most this share of them."""
    drop_most_frequent: float = 0.0
    """Share of the topic words left out after that, those of most documents first (0.001: one in a thousand)."""
    tokenizer: Literal["sentencepiece", "words", "base"] = "sentencepiece"
    """Pieces or words learned from the corpus, or the pieces of a pretrained base model that the corpus uses."""
    base: str = "smollm2"
    """For tokenizer "base": a name (see `tgvae download`), a folder, a GGUF file, or OWNER/NAME on the Hub."""
    vocabulary_size: int = 8000
    """Size of the sentence vocabulary, specials and byte pieces included."""
    min_word_count: int = 5
    """For tokenizer "words": rarer words become unk."""
    lowercase: bool = False
    max_sentence_words: int = 40
    long_sentences: Literal["skip", "cut"] = "skip"
    """What becomes of longer sentences; either way all their words stay in the bag of words."""
    min_document_words: int = 10
    max_document_words: int | None = None
    long_documents: Literal["skip", "cut"] = "skip"
    """What becomes of longer documents; when cut, the rest is gone for the bag of words too."""
    splits: tuple[float, float, float] = (0.9, 0.05, 0.05)
    """Shares of train, valid and test, where the corpus does not come with splits."""
    group_by: str | None = None
    """Field whose documents always share a split, such as author or source; none: split by document.
    Passages of sotu are grouped by address unless you choose otherwise."""
    duplicates: Literal["together", "skip", "keep"] = "together"
    """Documents that repeat the text of an earlier one. together: they share its split, and one that cannot (its group
    or the corpus says otherwise) is left out. skip: all are left out. keep: they may be in any split."""
    seed: int = 0
    since: int | None = None
    """For sotu: addresses of this year and later."""
    limit: int | None = None
    """Only the first documents (of each split, where the corpus has some), for trials."""

    def __post_init__(self) -> None:
        if self.language is not None:
            object.__setattr__(self, "language", language_name(self.language))
        at_least_one = (
            "topic_vocabulary_size",
            "min_document_frequency",
            "min_word_count",
            "max_sentence_words",
        )
        for name in (*at_least_one, "limit", "max_document_words"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} is {value}; it must be at least 1.")
        if self.vocabulary_size < 300:
            raise UserError(f"vocabulary_size is {self.vocabulary_size}; it must be at least 300.")
        if not 0 < self.max_document_frequency <= 1:
            raise UserError(f"max_document_frequency is {self.max_document_frequency}; it is a share in (0, 1].")
        if not 0 <= self.drop_most_frequent < 1:
            raise UserError(f"drop_most_frequent is {self.drop_most_frequent}; it is a share in [0, 1).")
        shares = self.splits
        if len(shares) != 3 or min(shares) < 0 or shares[0] == 0 or abs(sum(shares) - 1) > 1e-6:
            raise UserError(f"splits are {shares}; give three shares of train, valid, test that sum to 1.")


PAPER = PrepareSettings(
    tokenizer="words",
    lowercase=True,
    min_word_count=10,
    vocabulary_size=100_000,
    max_sentence_words=30,
    long_sentences="cut",
    max_document_words=300,
    long_documents="cut",
    topic_vocabulary_size=100_000,
    min_document_frequency=100,
    max_document_frequency=1.0,
    drop_most_frequent=0.001,
)
"""The preprocessing of Wang et al. 2019 (after Lau et al. 2017), whose corpora have tens of thousands of documents."""

RECIPES = {"default": PrepareSettings(), "paper": PAPER}

SETTINGS_BEFORE = {"group_by": "none", "duplicates": "keep"}
"""Values of settings that older manifests do not hold, where these differ from today's defaults."""


def stored_settings(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in a manifest; those of an older one with the values that were meant then."""
    found = SETTINGS_BEFORE | manifest["settings"]
    if "stop_words" not in manifest and found.get("stop_words") is None:
        found["stop_words"] = "large"
    return found

"""Stop words, and the two vocabularies from the counts of pass one."""

from __future__ import annotations

import random
import runpy
from importlib.metadata import distribution
from pathlib import Path

from data_prep.corpora.encoding import find_encoding, read_text_lines
from data_prep.settings import PrepareSettings
from data_prep.shards import Counts, training_texts
from tgvae.data.base_models import find_base
from tgvae.data.languages import CODES, WordRules, language_name, lower
from tgvae.data.tokenizers import BaseTokenizer, SentencePieceTokenizer, SentenceTokenizer, WordTokenizer, clean_text
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.errors import UserError, path_suggestion, suggestion

TOKENIZER_SENTENCES = 200_000
"""The most sentences that sentencepiece learns from."""


_CONTENT = {
    *("bill", "cry", "describe", "detail", "empty", "fill", "fire", "interest", "mill", "serious", "sincere"),
    *("system", "thick", "thin"),
}
"""Words of scikit-learn's list that a topic can be about."""


def load_stop_words(settings: PrepareSettings, rules: WordRules) -> tuple[str, frozenset[str]]:
    """Return the name of the list of stop words, and its words in lower case with their lemmas.

    For English it is scikit-learn's list of 318 words without those that topics are about; for other languages that of
    the package stop-words, which for English has 1,333, "system" and "computer" among them.

    Raises:
        UserError: the name is neither a list nor a file that can be read.
    """
    name = settings.stop_words
    if name == "none":
        return "none", frozenset()
    if name is None and rules.language == "english":
        source, words = "scikit-learn (english), without words of content", _english_words()
    elif name in (None, "large") or name in CODES or name in CODES.values():
        language = rules.language if name in (None, "large") else language_name(str(name))
        source, words = f"stop-words ({language})", frozenset(_package_words(language, required=name is not None))
    else:
        source, words = str(name), read_stop_words(Path(str(name)))
    found = {lower(word, rules.language) for word in words}
    return source, frozenset(found.union(*(rules.chunk_words(word) for word in words)))


def _english_words() -> frozenset[str]:
    """Return scikit-learn's list without importing scikit-learn, which takes a second and 100 MB."""
    path = distribution("scikit-learn").locate_file("sklearn/feature_extraction/_stop_words.py")
    return frozenset(runpy.run_path(str(path))["ENGLISH_STOP_WORDS"] - _CONTENT)


def _package_words(language: str, required: bool) -> list[str]:
    import stop_words

    if language in stop_words.AVAILABLE_LANGUAGES:
        return list(stop_words.get_stop_words(language))
    if required:
        known = ", ".join(stop_words.AVAILABLE_LANGUAGES)
        raise UserError(f"No stop words for {language}; --stop-words takes a file, none, or one of {known}.")
    return []


def read_stop_words(path: Path) -> frozenset[str]:
    """Return the words of a file, separated by blanks, commas or line ends; after # comes a comment.

    Raises:
        UserError: there is no such file, or it is no text.
    """
    if not path.is_file():
        known = ("none", "large", *CODES)
        hint = suggestion(str(path), known) or path_suggestion(path) or "; it takes a file, none, large, or a language"
        raise UserError(f"--stop-words {path}: no such list or file{hint}.")
    if (encoding := find_encoding(path)) is None:
        raise UserError(f"{path}: the file of stop words is no text in a known encoding; convert it to UTF-8.")
    lines = (line.partition("#")[0] for line in read_text_lines(path, encoding))
    return frozenset(word for line in lines for word in clean_text(line.replace(",", " ").replace(";", " ")).split())


def build_topic_vocabulary(
    counts: Counts, settings: PrepareSettings, stop_words: frozenset[str], rules: WordRules
) -> TopicVocabulary:
    """Return the bag-of-words vocabulary of the train split. Raises UserError where it has fewer than two words."""
    documents = counts.documents["train"]
    vocabulary = TopicVocabulary.build(
        counts.document_frequency,
        documents,
        size=settings.topic_vocabulary_size,
        min_count=settings.min_document_frequency,
        max_share=settings.max_document_frequency,
        drop_most_frequent=settings.drop_most_frequent,
        stop_words=stop_words,
        rules=rules,
    )
    if not counts.document_frequency:
        raise UserError(
            "No training document has a word of three letters or more; where a script sets no blanks between words, "
            "as Chinese does, name it with --language, or set them first."
        )
    if len(vocabulary) < 2:
        raise UserError(
            f"Fewer than two topic words are in at least {settings.min_document_frequency} and at most "
            f"{settings.max_document_frequency:.0%} of the {documents} training documents; lower "
            "--min-document-frequency, raise --max-document-frequency, or give more documents."
        )
    return vocabulary


def build_tokenizer(shards: list[Path], counts: Counts, settings: PrepareSettings) -> SentenceTokenizer:
    """Return the sentence tokenizer of the train split; sentencepiece learns from a sample of its sentences."""
    if settings.tokenizer == "words":
        if max(counts.words.values(), default=0) < settings.min_word_count:
            raise UserError(
                f"No word occurs {settings.min_word_count} times in the training sentences; lower --min-word-count."
            )
        return WordTokenizer.build(counts.words, settings.min_word_count, settings.vocabulary_size)
    texts = training_texts(shards)
    if settings.tokenizer == "base":  # all sentences: a piece that is left out would be spelt in smaller ones
        return BaseTokenizer.fit(texts, find_base(settings.base))
    if counts.sentences > TOKENIZER_SENTENCES:
        chosen = set(random.Random(settings.seed).sample(range(counts.sentences), TOKENIZER_SENTENCES))
        texts = (text for i, text in enumerate(texts) if i in chosen)
    return SentencePieceTokenizer.train(texts, settings.vocabulary_size)

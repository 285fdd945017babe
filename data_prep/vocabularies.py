"""From the counts of pass one to the two vocabularies."""

from __future__ import annotations

import random
from pathlib import Path

from data_prep.settings import PrepareSettings
from data_prep.shards import Counts, training_texts
from tgvae.data.base_models import find_base
from tgvae.data.tokenizers import BaseTokenizer, SentencePieceTokenizer, SentenceTokenizer, WordTokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.errors import UserError

TOKENIZER_SENTENCES = 200_000
"""Sentencepiece learns from at most so many sentences."""


def load_stop_words(settings: PrepareSettings) -> frozenset[str]:
    """Lower-cased stop words of the settings: of a language (package stop-words), a file, or none.

    Raises UserError for a name that is neither a language nor a UTF-8 file.
    """
    name = settings.stop_words or settings.language
    if name == "none":
        return frozenset()
    if Path(name).is_file():
        try:
            return frozenset(Path(name).read_text(encoding="utf-8").lower().split())
        except UnicodeDecodeError as error:
            raise UserError(f"{name}: the file of stop words is not UTF-8 ({error}).") from error
    import stop_words

    if name not in stop_words.AVAILABLE_LANGUAGES:
        known = ", ".join(stop_words.AVAILABLE_LANGUAGES)
        raise UserError(f"No stop words for '{name}'; --stop-words takes a file, none, or one of {known}.")
    return frozenset(word.lower() for word in stop_words.get_stop_words(name))


def build_topic_vocabulary(counts: Counts, settings: PrepareSettings, stop_words: frozenset[str]) -> TopicVocabulary:
    """The bag-of-words vocabulary of the train split. Raises UserError where it has fewer than two words."""
    documents = counts.documents["train"]
    vocabulary = TopicVocabulary.build(
        counts.document_frequency,
        documents,
        size=settings.topic_vocabulary_size,
        min_count=settings.min_document_frequency,
        max_share=settings.max_document_frequency,
        drop_most_frequent=settings.drop_most_frequent,
        stop_words=stop_words,
    )
    if not counts.document_frequency:
        raise UserError(
            "No training document has a word of three letters or more; where a script sets no blanks "
            "between words, as Chinese does, set them first."
        )
    if len(vocabulary) < 2:
        raise UserError(
            f"Fewer than two topic words are in at least {settings.min_document_frequency} and at most "
            f"{settings.max_document_frequency:.0%} of the {documents} training documents; lower "
            "--min-document-frequency, raise --max-document-frequency, or give more documents."
        )
    return vocabulary


def build_tokenizer(shards: list[Path], counts: Counts, settings: PrepareSettings) -> SentenceTokenizer:
    """The sentence tokenizer of the train split; sentencepiece learns from a sample of its sentences."""
    if settings.tokenizer == "words":
        if max(counts.words.values(), default=0) < settings.min_word_count:
            raise UserError(
                f"No word is {settings.min_word_count} times in the training sentences; lower --min-word-count."
            )
        return WordTokenizer.build(counts.words, settings.min_word_count, settings.vocabulary_size)
    texts = training_texts(shards)
    if settings.tokenizer == "base":  # all sentences: a piece that is left out would be spelt in smaller ones
        return BaseTokenizer.fit(texts, find_base(settings.base))
    if counts.sentences > TOKENIZER_SENTENCES:
        chosen = set(random.Random(settings.seed).sample(range(counts.sentences), TOKENIZER_SENTENCES))
        texts = (text for i, text in enumerate(texts) if i in chosen)
    return SentencePieceTokenizer.train(texts, settings.vocabulary_size)

"""One raw document to clean sentences and their words, or the reason to leave it out."""

from __future__ import annotations

import json
from dataclasses import dataclass

from data_prep.corpora.base import RawDocument, Skipped
from data_prep.settings import PrepareSettings
from tgvae.data.languages import WordRules, lower
from tgvae.data.tokenizers import clean_text, cut_words, split_sentences, word_tokenize


@dataclass(frozen=True)
class CleanDocument:
    """A document ready to be counted and encoded; `words` are the words and marks of each sentence."""

    id: str
    title: str | None
    summary: str | None
    label: str | None
    metadata: str
    sentences: list[str]
    words: list[list[str]]


def clean_document(document: RawDocument, settings: PrepareSettings, rules: WordRules) -> CleanDocument | Skipped:
    """Clean, split and tokenise. Skipped: "empty", "no letters", "too short" or "too long"."""
    given = document.text if isinstance(document.text, tuple) else (document.text,)
    parts = [part for text in given if (part := clean_text(text))]
    reason = None if parts else "empty"
    if parts and not any(c.isalpha() for part in parts for c in part):
        reason = "no letters"
    if reason:
        return Skipped(document.id, document.where, reason)
    if isinstance(document.text, tuple):
        sentences = [" ".join(part.split()) for part in parts]
    else:
        sentences = split_sentences(parts[0], rules.language)
    if settings.lowercase:
        sentences = [lower(sentence, rules.language) for sentence in sentences]
    words = [rules.tokens(sentence) or word_tokenize(sentence) for sentence in sentences]
    length = sum(map(len, words))
    if length < settings.min_document_words:
        return Skipped(document.id, document.where, "too short")
    if settings.max_document_words is not None and length > settings.max_document_words:
        if settings.long_documents == "skip":
            return Skipped(document.id, document.where, "too long")
        sentences, words = first_words(sentences, words, settings.max_document_words)
    return CleanDocument(
        id=document.id,
        title=_clean_optional(document.title),
        summary=_clean_optional(document.summary),
        label=_clean_optional(document.label),
        metadata=json.dumps(dict(document.metadata), sort_keys=True),
        sentences=sentences,
        words=words,
    )


def _clean_optional(text: str | None) -> str | None:
    return clean_text(text) or None if text else None


def first_words(sentences: list[str], words: list[list[str]], length: int) -> tuple[list[str], list[list[str]]]:
    """Return the first `length` words of a document: its first sentences, the last of them cut."""
    kept: list[list[str]] = []
    for sentence in words:
        kept.append(sentence[:length])
        length -= len(kept[-1])
        if length == 0:
            break
    texts = [
        sentence if len(few) == len(every) else cut_words(sentence, every, len(few))
        for sentence, every, few in zip(sentences, words, kept, strict=False)
    ]
    return texts, kept

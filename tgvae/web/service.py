"""What the API computes, without HTTP: each function takes the model and a request and returns a response.

Shapes: T topics, N words.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tgvae.config_io import require_range
from tgvae.data.bow import BagOfWords, count_words
from tgvae.data.tokenizers import clean_text, split_sentences, word_tokenize
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.distributions import safe_log
from tgvae.errors import UserError
from tgvae.models.base import Capability, Model
from tgvae.models.summarization import SummaryResult
from tgvae.web.schemas import (
    DocumentRequest,
    DocumentTopics,
    GenerateRequest,
    InterpolateRequest,
    Sentences,
    SummarizeRequest,
    TextSpan,
    TopicShare,
)

GUIDANCE_FIELDS = {"topic", "mixture", "like", "strength"}


def generate(model: Model, request: GenerateRequest) -> Sentences:
    """Raises UserError if the model cannot do it, or there is no such topic."""
    generator, settings = _require(model, Capability.GENERATION), request.decode.settings
    if Capability.GUIDANCE in model.capabilities:
        options = request.model_dump(include=GUIDANCE_FIELDS | {"num", "seed"})
        return Sentences(generator.generate(**options, settings=settings))
    if request.model_fields_set & GUIDANCE_FIELDS:
        _require(model, Capability.GUIDANCE)
    return Sentences(generator.generate(request.num, settings, request.seed))


def interpolate(model: Model, request: InterpolateRequest) -> Sentences:
    """Raises UserError if the model has no latent of sentences, or a sentence has no word."""
    generator, settings = _require(model, Capability.LATENT), request.decode.settings
    return Sentences(generator.interpolate(request.start, request.end, request.num, settings, request.seed))


def summarize(model: Model, request: SummarizeRequest) -> SummaryResult:
    """Raises UserError if the model cannot summarize, or there is no such topic."""
    summarizer = _require(model, Capability.SUMMARIES)
    result: SummaryResult = summarizer.summarize_documents(
        [request.text], request.num, request.topic, strength=request.strength, seed=request.seed
    )[0]
    return result


@torch.no_grad()
def infer_topics(model: Model, request: DocumentRequest) -> DocumentTopics:
    """Infer the topics of a document and of each of its words.

        p(i | w, d) ∝ t_i beta_{i,w},  t at the posterior mean

    This is exact for a mixture of topics and an approximation for a product of experts.

    Raises:
        UserError: the model has no topics, or the text no word of the topic vocabulary.
    """
    topical = _require(model, Capability.TOPICS)
    paragraphs = [
        [
            span
            for sentence in split_sentences(paragraph, topical.vocabulary.language)
            for span in split_at_words(sentence, topical.vocabulary)
        ]
        for paragraph in clean_text(request.text).split("\n\n")
    ]
    ids = [i for paragraph in paragraphs for _, i in paragraph if i is not None]
    if not ids:
        raise UserError("no word of this text is in the topic vocabulary; use a text similar to the training documents")
    proportions = topic_proportions(topical, ids)
    best = (safe_log(proportions).unsqueeze(-1) + topical.topic.log_beta[:, ids]).softmax(0).max(0)
    words = iter(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    spans = [[TextSpan(text) if i is None else TextSpan(text, *next(words)) for text, i in part] for part in paragraphs]
    order = proportions.argsort(descending=True, stable=True).tolist()
    return DocumentTopics([TopicShare(i, float(proportions[i])) for i in order], spans)


def topic_proportions(model: Any, ids: list[int]) -> Tensor:
    """Return topic proportions (T,) of a document given as ids of topic words; of an empty one, those at g = 0."""
    proportions: Tensor = model.topic.theta(BagOfWords.of(count_words([ids], len(model.vocabulary))).to(model.device))
    return proportions[0]


def split_at_words(sentence: str, vocabulary: TopicVocabulary) -> Iterator[tuple[str, int | None]]:
    """Yield the sentence and a final blank in parts: words of the vocabulary with their id, other text with None."""
    done = end = 0
    for word in word_tokenize(sentence):
        start = sentence.find(word, end)
        if start < 0:  # the tokenizer rewrites quotation marks
            continue
        end = start + len(word)
        for i in vocabulary.encode([word])[:1]:
            yield sentence[done:start], None
            yield sentence[start:end], i
            done = end
    yield sentence[done:] + " ", None


def _require(model: Model, capability: Capability) -> Any:
    """Return the model, typed to allow the methods of the capability. Raises UserError if it does not have it."""
    if capability not in model.capabilities:
        raise UserError(f"a {model.kind} does not support {capability}; serve a run of another recipe")
    return model


@dataclass(frozen=True)
class Limits:
    """Limits on all requests together; ``schemas`` limits each request.

    Raises:
        UserError: a limit would reject every request.
    """

    at_once: int = 1
    """Requests that use the model at the same time."""
    waiting: int = 8
    """Requests that may wait for the model; others are rejected with status 429."""
    seconds: float = 20.0
    """Maximum waiting time."""
    body: int = 500_000
    """Maximum size of a request in bytes."""

    def __post_init__(self) -> None:
        require_range(self, 1, 100, "at_once")
        require_range(self, 0, 1000, "waiting")
        require_range(self, 0, threading.TIMEOUT_MAX, "seconds")
        require_range(self, 1, 2**31, "body")


class BusyError(Exception):
    """Too many requests are waiting, or this one has waited too long."""


class ModelSlots:
    """Semaphore that limits the requests that use the model, and those that wait for it."""

    def __init__(self, limits: Limits) -> None:
        self._seconds = limits.seconds
        self._present = threading.BoundedSemaphore(limits.at_once + limits.waiting)
        self._running = threading.BoundedSemaphore(limits.at_once)

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Wait for a free slot and hold it. Raises BusyError."""
        if not self._present.acquire(blocking=False):
            raise BusyError
        try:
            if not self._running.acquire(timeout=self._seconds):
                raise BusyError
            try:
                yield
            finally:
                self._running.release()
        finally:
            self._present.release()

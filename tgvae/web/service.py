"""From requests to answers: what the page's API says, without HTTP.

Shape legend: T topics, N words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tgvae.data.bow import BagOfWords, count_words
from tgvae.data.tokenizers import clean_text, split_sentences, word_tokenize
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.distributions import safe_log
from tgvae.errors import UserError
from tgvae.evaluation.generation import Writer
from tgvae.evaluation.topics import WithTopics, has_topics
from tgvae.models.base import Model
from tgvae.models.sentence import LatentSentenceModel
from tgvae.models.summarization import SummaryGenerator, SummaryResult
from tgvae.models.text_generation import Sentence
from tgvae.models.tgvae import TGVAE
from tgvae.web import requests


@dataclass(frozen=True)
class Sentences:
    """Sentences, in order."""

    sentences: list[Sentence]


@dataclass(frozen=True)
class Share:
    """A topic's number, and its share of a document."""

    topic: int
    share: float


@dataclass(frozen=True)
class Piece:
    """A stretch of a text: a topic word with the topic that it most likely comes from, or what is between such words.

    Attributes:
        topic: argmax_i p(i | word, document); None between topic words.
        share: that probability.
    """

    text: str
    topic: int | None = None
    share: float | None = None


@dataclass(frozen=True)
class Reading:
    """A document: its topics by falling share, and its text, cleaned, as pieces a paragraph."""

    topics: list[Share]
    paragraphs: list[list[Piece]]


def abilities(model: Model) -> list[str]:
    """What can be asked of a model: names of endpoints, and ``mixture`` where topics can steer."""
    can = {
        "topics": has_topics(model),
        "generate": isinstance(model, Writer),
        "mixture": isinstance(model, TGVAE),
        "between": isinstance(model, LatentSentenceModel),
        "document": has_topics(model),
        "summarize": isinstance(model, SummaryGenerator),
    }
    return [name for name, able in can.items() if able]


def generate(model: Model, wish: requests.Generate) -> Sentences:
    """Sentences. Raises UserError where the model cannot, or as ``TGVAE.generate``."""
    if not isinstance(model, Writer):
        raise UserError(f"a {model.kind} does not write sentences; serve a run of tgvae or sentence-vae")
    settings = wish.decode.settings
    if isinstance(model, TGVAE):
        chosen = wish.model_dump(include={"topic", "mixture", "like", "num", "strength", "seed"})
        return Sentences(model.generate(**chosen, settings=settings))
    if wish.model_fields_set & {"topic", "mixture", "like", "strength"}:
        raise UserError(f"a {model.kind} cannot be steered by topic; serve a run of tgvae")
    return Sentences(model.generate(wish.num, settings, wish.seed))


def between(model: Model, wish: requests.Between) -> Sentences:
    """The walk. Raises UserError where the model has no latent of sentences, or a sentence no word."""
    if not isinstance(model, LatentSentenceModel):
        raise UserError(f"a {model.kind} has no latent of sentences; serve a run of tgvae or sentence-vae")
    return Sentences(model.interpolate(wish.start, wish.end, wish.num, wish.decode.settings, wish.seed))


def summarize(model: Model, wish: requests.Summarize) -> SummaryResult:
    """Summaries. Raises UserError where the model cannot, or as ``SummaryGenerator.digest``."""
    if not isinstance(model, SummaryGenerator):
        raise UserError(f"a {model.kind} cannot summarize; serve a run of the recipe summarizer")
    return model.digest([wish.text], wish.num, wish.topic, strength=wish.strength, seed=wish.seed)[0]


@torch.no_grad()
def read(model: Model, wish: requests.Document) -> Reading:
    """The topics of a document and of its words.

        p(i | w, d) ∝ t_i beta_{i,w},  t at the posterior mean

    exact for a mixture of topics; for a product of experts a picture of it.

    Raises:
        UserError: a model without topics, or a text without topic words.
    """
    if not has_topics(model):
        raise UserError(f"a {model.kind} has no topics; serve a run of tgvae or topic")
    paragraphs = [
        [piece for sentence in split_sentences(paragraph) for piece in pieces(sentence, model.vocabulary)]
        for paragraph in clean_text(wish.text).split("\n\n")
    ]
    ids = [i for paragraph in paragraphs for _, i in paragraph if i is not None]
    if not ids:
        raise UserError("none of these words is in the topic vocabulary; give a text of the corpus's kind")
    shares = topics_of(model, ids)
    each = (safe_log(shares).unsqueeze(-1) + model.topic.log_beta[:, ids]).softmax(0).max(0)
    found = iter(zip(each.indices.tolist(), each.values.tolist(), strict=True))
    marked = [[Piece(text) if i is None else Piece(text, *next(found)) for text, i in part] for part in paragraphs]
    order = shares.argsort(descending=True, stable=True).tolist()
    return Reading([Share(i, float(shares[i])) for i in order], marked)


def topics_of(model: WithTopics, ids: list[int]) -> Tensor:
    """Topic proportions (T,) of a document given by the ids of its topic words; of an empty one those at g = 0."""
    return model.topic.theta(BagOfWords.of(count_words([ids], len(model.vocabulary))).to(model.device))[0]


def pieces(sentence: str, vocabulary: TopicVocabulary) -> Iterator[tuple[str, int | None]]:
    """The sentence and a blank, cut into topic words with their ids and what is between them, without any."""
    shown = end = 0
    for word in word_tokenize(sentence):
        start = sentence.find(word, end)
        if start < 0:  # a quotation mark, which the tokenizer writes in another way
            continue
        end = start + len(word)
        for i in vocabulary.encode([word]):
            yield sentence[shown:start], None
            yield sentence[start:end], i
            shown = end
    yield sentence[shown:] + " ", None

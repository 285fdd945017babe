"""What notebooks show of a model: its topics and generated texts as HTML tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tgvae.errors import UserError
from tgvae.formatting import Table
from tgvae.models.base import Capability, Model


@dataclass(frozen=True)
class Topic:
    """A topic: its row in beta, counted from 0, and its most probable words with p(word | topic)."""

    number: int
    words: tuple[str, ...]
    probabilities: tuple[float, ...]


class Topics(tuple[Topic, ...]):
    """The topics of a model in order, shown by notebooks as a table."""

    def _repr_html_(self) -> str:
        rows = [(str(topic.number), ", ".join(topic.words)) for topic in self]
        return Table(("topic", "words"), rows).to_html(inline_style=True)


def topics(model: Model, words: int = 10) -> Topics:
    """Return the topics of a model with their most probable words. Shares and coherence would need the data.

    Raises:
        UserError: the model has no topics.

    Examples:
        >>> from tgvae.data.tokenizers import WordTokenizer
        >>> from tgvae.data.vocabulary import TopicVocabulary
        >>> from tgvae.models.topic import TopicConfig, TopicModel
        >>> words = ["army", "school"]
        >>> model = TopicModel(TopicConfig(topics=2), WordTokenizer(words), TopicVocabulary(words))
        >>> [sorted(topic.words) for topic in topics(model)]
        [['army', 'school'], ['army', 'school']]
    """
    if Capability.TOPICS not in model.capabilities:
        raise UserError(f"a {model.kind} has no topics; give a model of the kind tgvae or topic")
    topical: Any = model
    best = topical.topic.log_beta.detach().exp().sort(dim=1, descending=True, stable=True)
    rows = zip(best.values[:, :words].tolist(), best.indices[:, :words].tolist(), strict=True)
    return Topics(
        Topic(number, tuple(topical.vocabulary.words[i] for i in ids), tuple(probabilities))
        for number, (probabilities, ids) in enumerate(rows)
    )

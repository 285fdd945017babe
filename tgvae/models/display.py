"""What notebooks show of a model: its topics, and the sentences that it writes, as tables. All text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol, TypeVar

from tgvae.errors import UserError
from tgvae.models.base import Model, TextModel
from tgvae.models.topic import TopicNetwork


class Written(Protocol):
    """Text from a model; see ``Sentence`` and ``Summary``."""

    @property
    def text(self) -> str: ...

    @property
    def log_prob(self) -> float: ...


T = TypeVar("T", bound=Written)


class Texts(list[T]):
    """A list of sentences or summaries that notebooks show as a table, with their log p in nats."""

    def _repr_html_(self) -> str:
        return table(("text", "log p, nats"), ((row.text, f"{row.log_prob:.1f}") for row in self))


@dataclass(frozen=True)
class Topic:
    """A topic: its row in beta, counted from 0, and its words, most probable first, with p(word | topic)."""

    number: int
    words: tuple[str, ...]
    probabilities: tuple[float, ...]


class Topics(tuple[Topic, ...]):
    """The topics of a model in order, shown by notebooks as a table."""

    def _repr_html_(self) -> str:
        return table(("topic", "words"), ((str(topic.number), ", ".join(topic.words)) for topic in self))


def topics(model: Model, words: int = 10) -> Topics:
    """The topics of a model with their most probable words; without data, so without shares and coherence.

    Raises:
        UserError: the model has no topics.

    Examples:
        Of random weights; any run with topics will do:

        >>> from tgvae.data.tokenizers import WordTokenizer
        >>> from tgvae.data.vocabulary import TopicVocabulary
        >>> from tgvae.models.topic import TopicConfig, TopicModel
        >>> words = ["army", "school"]
        >>> model = TopicModel(TopicConfig(topics=2), WordTokenizer(words), TopicVocabulary(words))
        >>> [sorted(topic.words) for topic in topics(model)]
        [['army', 'school'], ['army', 'school']]
    """
    core = getattr(model, "topic", None)
    if not isinstance(model, TextModel) or not isinstance(core, TopicNetwork):
        raise UserError(f"a {model.kind} has no topics; give a model of the kind tgvae or topic")
    best = core.log_beta.detach().exp().sort(dim=1, descending=True, stable=True)
    rows = zip(best.values[:, :words].tolist(), best.indices[:, :words].tolist(), strict=True)
    return Topics(
        Topic(number, tuple(model.vocabulary.words[i] for i in ids), tuple(probabilities))
        for number, (probabilities, ids) in enumerate(rows)
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table of text, aligned to the left."""
    titles = "".join(f'<th scope="col" style="text-align: left">{escape(title)}</th>' for title in head)
    cells = (
        "".join(f'<td style="text-align: left; white-space: pre-wrap">{escape(cell)}</td>' for cell in row)
        for row in rows
    )
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"

"""HTML tables for notebooks: topics in order, sentences with their log probability, all text escaped."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

import tgvae
from tests.conftest import HOSTILE_TEXTS
from tgvae.data.schema import PreparedFolder
from tgvae.errors import UserError
from tgvae.evaluation.topics import top_words
from tgvae.models.display import Topic, Topics
from tgvae.models.sentence import LanguageModel, SentenceConfig
from tgvae.models.text_generation import Sentence, Texts
from tgvae.models.topic import TopicConfig, TopicModel


class Cells(HTMLParser):
    """Cells of a table, one list per row, and the names of all tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.rows[-1][-1] += data


@pytest.mark.parametrize("likelihood", ["mixture", "product"])
def test_topics_are_the_rows_of_beta(prepared: PreparedFolder, likelihood: str) -> None:
    model = TopicModel.from_data(TopicConfig(topics=4, hidden_size=8, likelihood=likelihood), prepared).eval()
    found = tgvae.topics(model, words=6)
    beta = model.topic.log_beta.detach().exp().numpy()
    assert [topic.number for topic in found] == [0, 1, 2, 3]
    for topic, row, best in zip(found, beta, top_words(beta, 6), strict=True):
        assert topic.words == tuple(model.vocabulary.words[w] for w in best)
        np.testing.assert_allclose(topic.probabilities, row[best], rtol=1e-6)


def test_more_words_than_the_vocabulary_returns_all(prepared: PreparedFolder) -> None:
    model = TopicModel.from_data(TopicConfig(topics=1, hidden_size=8), prepared).eval()
    (topic,) = tgvae.topics(model, words=10**6)
    assert sorted(topic.words) == sorted(model.vocabulary.words)
    assert sum(topic.probabilities) == pytest.approx(1, abs=1e-4)


def test_a_model_without_topics_is_rejected(prepared: PreparedFolder) -> None:
    model = LanguageModel.from_data(SentenceConfig(embedding_size=4, hidden_size=4, flow_length=0), prepared)
    with pytest.raises(UserError, match="language-model has no topics"):
        tgvae.topics(model)


def test_topics_are_a_table() -> None:
    found = Topics([Topic(0, HOSTILE_TEXTS, (0.2,) * 5), Topic(1, ("war", "peace"), (0.6, 0.4))])
    shown = Cells(found._repr_html_())
    assert shown.rows == [["topic", "words"], ["0", ", ".join(HOSTILE_TEXTS)], ["1", "war, peace"]]
    assert shown.tags == {"table", "thead", "tbody", "tr", "th", "td"}


def test_sentences_are_a_list_and_a_table() -> None:
    written = [Sentence(text, -12.345, True) for text in HOSTILE_TEXTS]
    found = Texts(written)
    assert found == written
    shown = Cells(found._repr_html_())
    assert shown.rows == [["text", "log p, nats"], *([text, "-12.3"] for text in HOSTILE_TEXTS)]
    assert "script" not in shown.tags


def test_no_sentences_are_a_table_without_rows() -> None:
    assert Cells(Texts()._repr_html_()).rows == [["text", "log p, nats"]]

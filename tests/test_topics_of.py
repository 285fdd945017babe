"""Topics of texts: the same proportions wherever a document is read, and topics named by number or words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import made_up_documents, named_documents
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.errors import UserError
from tgvae.evaluation.topics import theta
from tgvae.models.base import Capability, load
from tgvae.models.tgvae import TGVAE
from tgvae.models.topic import TopicConfig, TopicModel
from tgvae.web.schemas import DocumentRequest
from tgvae.web.service import infer_topics


@pytest.fixture(params=["tgvae", "summarizer", "mixture", "product"])
def kind(
    request: pytest.FixtureRequest, prepared: PreparedFolder, titled: PreparedFolder
) -> tuple[Any, Corpus, dict[str, str]]:
    """A model with topics, its training documents, and their texts by id."""
    if request.param == "summarizer":
        model: Any = load(request.getfixturevalue("summarizer_run"))
        return model, Corpus(titled, "train"), {d["id"]: d["text"] for d in named_documents(400)}
    texts = {d["id"]: d["text"] for d in made_up_documents(200)}
    if request.param == "tgvae":
        return request.getfixturevalue("guided"), Corpus(prepared, "train"), texts
    torch.manual_seed(0)
    config = TopicConfig(topics=4, word_embedding_size=8, hidden_size=16, likelihood=request.param)
    return TopicModel.from_data(config, prepared).eval(), Corpus(prepared, "train"), texts


def test_document_has_the_same_topics_as_in_training_and_on_the_page(kind: tuple[Any, Corpus, dict[str, str]]) -> None:
    model, corpus, texts = kind
    assert Capability.TOPICS in model.capabilities
    documents = [texts[name] for name in corpus.names(np.arange(corpus.documents))]
    found = model.topics_of(documents)
    assert found.shape == (corpus.documents, model.topic.size)
    torch.testing.assert_close(found, torch.from_numpy(theta(model, corpus)), rtol=1e-5, atol=1e-6)
    for row in (0, 1, -1):
        torch.testing.assert_close(model.topics_of(documents[row]), found[row], rtol=1e-5, atol=1e-6)
        shown = infer_topics(model, DocumentRequest(text=documents[row])).topics
        assert {share.topic: pytest.approx(share.share, abs=1e-6) for share in shown} == dict(
            enumerate(found[row].tolist())
        )


def test_texts_without_topic_words(guided: TGVAE) -> None:
    found = guided.topics_of(["", "Xyzzy!", "The army was near."])
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], guided.topic.proportions(torch.zeros(guided.topic.size)))
    assert not torch.allclose(found[0], found[2])
    assert guided.topics_of([]).shape == (0, guided.topic.size)
    with pytest.raises(UserError, match="in the topic vocabulary"):
        guided.topics_of("Xyzzy!")


def test_mixtures_accept_the_keys_of_json(guided: TGVAE) -> None:
    assert guided.normalized_mixture({"0": 1, "2": 3}).tolist() == guided.normalized_mixture({0: 1, 2: 3}).tolist()
    assert guided.generate(mixture={"1": 1}, num=2) == guided.generate(topic=1, num=2)
    for wrong in ("3", "-1", "army", "1.0", "9" * 5000):
        with pytest.raises(UserError, match="this model has topics 0 to 2"):
            guided.normalized_mixture({wrong: 1})


def test_prior_of_a_product_has_its_own_scale(prepared: PreparedFolder) -> None:
    model = TopicModel.from_data(TopicConfig(topics=4, likelihood="product", concentration=0.01), prepared).eval()
    g = torch.randn(100_000, 4) * model.topic.prior_scale
    assert model.topic.prior_scale > 5
    torch.testing.assert_close(model.prior_topic_proportions(), g.softmax(-1).mean(0), atol=0.05, rtol=0)


def test_topic_models_find_topics_by_words(prepared: PreparedFolder) -> None:
    model = TopicModel.from_data(TopicConfig(topics=4), prepared).eval()
    army = model.vocabulary.words.index("army")
    assert model.find_topic("army") == int(model.topic.log_beta[:, army].argmax())

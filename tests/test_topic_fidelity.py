"""Metrics of guidance and topics against counting by hand."""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import pytest
import torch

from tests.conftest import THEMES
from tests.test_models import JOINT
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.errors import UserError
from tgvae.evaluation.topic_fidelity import (
    InferredTopicFidelity,
    LabelFidelity,
    TopicSamples,
    generate_for_every_topic,
    generated_fidelity,
)
from tgvae.evaluation.topics import lda_topics, nearest_sentences, top_words
from tgvae.generation.decode import DecodeSettings, decode
from tgvae.models import consistency
from tgvae.models.consistency import relaxed_bags, token_words, topic_consistency
from tgvae.models.tgvae import TGVAE
from tgvae.training.config import Phase, TrainConfig
from tgvae.training.loop import train
from tgvae.training.topic_init import init_topics


@pytest.fixture(scope="module")
def model(prepared: PreparedFolder, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> TGVAE:
    """A joint model with a trained topic model, and a decoder that knows nothing."""
    torch.manual_seed(0)
    model = TGVAE(JOINT, prepared.tokenizer, prepared.topic_vocabulary)
    init_topics(model.topic, corpus.bags, seed=0)
    phase = Phase("document", epochs=15, batch=32, learning_rate=5e-3)
    corpora = {"train": corpus, "valid": Corpus(prepared, "valid")}
    train(model, corpora, TrainConfig({"topics": phase}, device="cpu"), tmp_path_factory.mktemp("run"))
    return model.eval()


def test_fidelity_is_counted_right(model: TGVAE, prepared: PreparedFolder) -> None:
    held_out = Corpus(prepared, "test")
    texts = ["soldier army battle", "bread soup", "12 ?"]
    found = [int(model.topics_of(text).argmax()) for text in texts[:2]]
    asked = TopicSamples(torch.tensor([found[0], (found[1] + 1) % 4, (found[1] + 1) % 4]), texts)
    expected = {found[0]: [1.0], (found[1] + 1) % 4: [0.0, 0.0]}
    if found[0] == (found[1] + 1) % 4:
        expected = {found[0]: [1.0, 0.0, 0.0]}
    by_hand = np.mean([np.mean(hits) for hits in expected.values()])
    assert generated_fidelity(model, asked) == pytest.approx(by_hand), "a hit, a miss, and no topic word"

    hits: dict[int, list[bool]] = {}
    for i, (document, _) in enumerate(held_out.sentences):
        own = model.counts([held_out.text(i)])
        around = torch.from_numpy(held_out.bags[[document]].toarray()) - own.dense()
        if around.sum() > 0:
            topic = int(model.topic(around).argmax())
            hits.setdefault(topic, []).append(bool(own.sizes > 0 and model.topic(own).argmax() == topic))
    measured = InferredTopicFidelity(model, held_out).fidelity(asked)
    assert measured.natural == pytest.approx(np.mean([np.mean(h) for h in hits.values()]), abs=1e-6)
    assert measured.generated == pytest.approx(by_hand)
    assert measured.chance == 1 / 4


def test_classifier_knows_the_label_of_a_topic(model: TGVAE, prepared: PreparedFolder, corpus: Corpus) -> None:
    """Sentences made of a topic's own theme are hits, those of another theme are misses."""
    top = top_words(model.topic.log_beta.detach().numpy(), 5)
    themes = []
    for words in top:
        counts = Counter(theme for w in words for theme, known in THEMES.items() if model.vocabulary.words[w] in known)
        themes.append(counts.most_common(1)[0][0])
    right = [" ".join(THEMES[theme][:4]) for theme in themes]
    names = sorted(THEMES)
    wrong = [" ".join(THEMES[names[names.index(theme) - 1]][:4]) for theme in themes]
    held_out = Corpus(prepared, "test")
    topics = torch.arange(len(top))
    judge = LabelFidelity(model, corpus, held_out)
    assert judge.fidelity(TopicSamples(topics, right)).generated == 1
    assert judge.fidelity(TopicSamples(topics, wrong)).generated == 0
    deaf = judge.fidelity(TopicSamples(topics, [right[0]] * 4))
    assert deaf.chance == pytest.approx(deaf.generated), "a writer that never listens hits by chance alone"
    assert 0 < judge.natural <= 1


def test_every_topic_is_asked_equally(model: TGVAE) -> None:
    asked = generate_for_every_topic(model, per_topic=3, seed=1)
    assert Counter(asked.topics.tolist()) == dict.fromkeys(range(4), 3)
    assert asked.texts == generate_for_every_topic(model, per_topic=3, seed=1).texts


def test_strength_moves_latents_from_what_is_common(model: TGVAE) -> None:
    weights = torch.eye(4)
    common = model.prior(model.prior_topic_proportions()).mean
    torch.manual_seed(0)
    one = model.sample_latents(weights)
    torch.manual_seed(0)
    two = model.sample_latents(weights, strength=2.0)
    torch.testing.assert_close(two - common, 2 * (one - common))
    torch.manual_seed(0)
    torch.testing.assert_close(model.sample_latents(weights, strength=0.0), common.expand(4, -1))


def test_nearest_sentences_by_brute_force(model: TGVAE, corpus: Corpus) -> None:
    beta = model.topic.log_beta.exp().detach().double().numpy()
    share = corpus.bags.sum(0) + 1.0
    share = share / share.sum()
    batch = corpus.gather(np.arange(len(corpus.lengths)))
    own = batch.sentence_bow.dense().double().numpy()
    score = own @ (np.log(beta) - np.log(share)).T / (own.sum(1, keepdims=True) + 2)
    for topic, texts in enumerate(nearest_sentences(model, corpus, 2)):
        best = np.sort(score[:, topic])[-2:]
        found = [score[[corpus.text(i) for i in range(len(score))].index(text), topic] for text in texts]
        assert sorted(found) == pytest.approx(best, abs=1e-4)
    assert nearest_sentences(model, corpus, 0) == [[], [], [], []]


def test_lda_finds_planted_themes_and_repeats(corpus: Corpus) -> None:
    beta = lda_topics(corpus.bags, 3, seed=1, iterations=100)
    assert beta.sum(1) == pytest.approx(1, abs=1e-4)
    words = corpus.folder.topic_vocabulary.words
    planted = {frozenset(known) for known in THEMES.values()}
    found = {next(p for p in planted if words[row[0]] in p) for row in top_words(beta, 1)}
    assert found == planted
    assert (lda_topics(corpus.bags, 3, seed=1, iterations=100) == beta).all()


def test_lda_without_its_package_says_what_to_install(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tomotopy", None)
    with pytest.raises(UserError, match=r"pip install 'tgvae\[baselines\]'"):
        lda_topics(corpus.bags, 3, seed=1, iterations=1)


def test_relaxed_bags_count_the_words_of_the_tokens(
    model: TGVAE, prepared: PreparedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With argmax in place of the noisy draw they are the topic words of the greedy sentence."""

    def argmax(logits: torch.Tensor, temperature: float, hard: bool) -> torch.Tensor:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).float()

    monkeypatch.setattr(consistency, "gumbel_softmax", argmax)
    tokenizer, vocabulary, decoder = prepared.tokenizer, prepared.topic_vocabulary, model.sentence.decoder
    words = token_words(tokenizer, vocabulary)
    assert (words >= 0).sum() >= 20, "most words of the made-up corpus are tokens"
    z = 3 * torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    ends = {"bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id}
    bags = relaxed_bags(decoder, z, words, len(vocabulary), **ends, length=9, temperature=1.0, hard=True)
    settings = DecodeSettings("greedy", max_length=9)
    greedy = decode(decoder, decoder.start(z), **ends, pad_id=tokenizer.pad_id, settings=settings)
    for bag, ids in zip(bags, greedy.ids, strict=True):
        expected = Counter(int(words[i]) for i in ids if i != tokenizer.pad_id and words[i] >= 0)
        assert {i: int(n) for i, n in enumerate(bag) if n} == expected


def test_consistency_reaches_the_writer_and_not_the_judge(model: TGVAE) -> None:
    bags = torch.rand(4, len(model.vocabulary), requires_grad=True)
    asked = torch.tensor([0, 1, 2, 3])
    loss = topic_consistency(model.topic, bags, asked)
    torch.testing.assert_close(loss, -model.topic(bags)[asked, asked].log())
    loss.sum().backward()
    assert bags.grad is not None
    assert bags.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.topic.parameters())


def test_more_topics_than_words_are_refused(model: TGVAE, corpus: Corpus) -> None:
    with pytest.raises(UserError, match="fewer topics"):
        init_topics(model.topic, corpus.bags[:, :3], seed=0)

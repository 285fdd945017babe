"""Quality of topics against gensim and by hand, and their agreement with labels."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gensim.corpora import Dictionary
from gensim.models import CoherenceModel
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tgvae.data.corpus import Corpus
from tgvae.evaluation.coherence import npmi
from tgvae.evaluation.topics import (
    LabelAgreement,
    diversity,
    inverted_rbo,
    label_agreement,
    nearest_sentences,
    nmi,
    probe_accuracy,
    purity,
    theta,
    top_words,
    topic_quality,
    topics_in_use,
)
from tgvae.models.topic import TopicConfig, TopicModel

WORDS, TOPICS, TOP = 30, 4, 6


@pytest.fixture(scope="module")
def counts() -> NDArray[np.int64]:
    """A dense little corpus in which every pair of words meets at least once."""
    rng = np.random.default_rng(0)
    found = rng.poisson(rng.gamma(1.0, 0.8, size=(150, WORDS)))
    joint = (found > 0).T.astype(int) @ (found > 0)
    assert joint.min() > 0
    assert joint.max() < len(found)
    return found


@pytest.fixture(scope="module")
def top() -> NDArray[np.int64]:
    rng = np.random.default_rng(1)
    return np.stack([rng.permutation(WORDS)[:TOP] for _ in range(TOPICS)])


def test_npmi_is_gensims_with_whole_documents_as_windows(counts: NDArray[np.int64], top: NDArray[np.int64]) -> None:
    texts = [[f"w{w}" for w in range(WORDS) for _ in range(row[w])] for row in counts]
    oracle = CoherenceModel(
        topics=[[f"w{w}" for w in words] for words in top],
        texts=texts,
        dictionary=Dictionary(texts),
        coherence="c_npmi",
        window_size=10_000,
        processes=1,
    )
    expected = oracle.get_coherence_per_topic()
    assert np.ptp(expected) > 0.005
    np.testing.assert_allclose(npmi(top, csr_array(counts)), expected, atol=1e-8)


def test_npmi_is_a_count_of_documents(counts: NDArray[np.int64], top: NDArray[np.int64]) -> None:
    documents = [set(np.flatnonzero(row)) for row in counts]

    def p(*words: int) -> float:
        return sum(set(words) <= d for d in documents) / len(documents)

    expected = [
        np.mean([math.log(p(v, w) / (p(v) * p(w))) / -math.log(p(v, w)) for v, w in itertools.combinations(row, 2)])
        for row in top.tolist()
    ]
    np.testing.assert_allclose(npmi(top, csr_array(counts)), expected, rtol=1e-12)


def test_npmi_does_not_depend_on_the_order(counts: NDArray[np.int64], top: NDArray[np.int64]) -> None:
    rng = np.random.default_rng(2)
    expected = npmi(top, csr_array(counts))
    np.testing.assert_allclose(npmi(top, csr_array(rng.permutation(counts))), expected)
    np.testing.assert_allclose(npmi(rng.permutation(top, axis=1), csr_array(counts)), expected)
    np.testing.assert_allclose(npmi(top, csr_array(counts * 7)), expected)


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([[1, 0], [0, 1], [1, 0]], -1.0),  # never together
        ([[1, 1], [0, 0], [2, 3]], 1.0),  # always together
        ([[1, 1], [1, 1]], 1.0),  # in every document: the limit
        ([[1, 0], [2, 0]], -1.0),  # a word that no document holds
        ([[0, 0], [0, 0]], -1.0),  # no words at all
        ([[1, 1], [1, 0], [0, 1], [0, 0]], 0.0),  # independent
    ],
)
def test_npmi_at_its_limits(documents: list[list[int]], expected: float) -> None:
    (value,) = npmi(np.array([[0, 1]]), csr_array(np.array(documents)))
    assert value == pytest.approx(expected)


def test_top_words_are_the_most_probable_and_ties_go_by_id() -> None:
    beta = np.log(np.array([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]]))
    assert top_words(beta, 3).tolist() == [[1, 3, 2], [0, 1, 2]]


@pytest.mark.parametrize(
    ("top", "expected"),
    [([[0, 1], [2, 3]], 1.0), ([[0, 1], [1, 2]], 0.75), ([[0, 1], [1, 0]], 0.5), ([[5, 6]] * 4, 0.25)],
)
def test_diversity(top: list[list[int]], expected: float) -> None:
    assert diversity(np.array(top)) == expected


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ([[0, 1], [2, 3], [4, 5]], 1.0),  # nothing in common
        ([[4, 1], [4, 1]], 0.0),
        ([[0, 1], [1, 0]], 0.1),  # agreement 0, 1: 0.1 (0 + 0.9) + 0.81 = 0.9
        ([[0, 1], [0, 2]], 0.45),  # agreement 1, 1/2: 0.1 (1 + 0.45) + 0.405 = 0.55
        ([[0, 1], [0, 1], [2, 3]], 2 / 3),  # overlaps 1, 0, 0
        ([[0, 1, 2]], 1.0),  # one topic
    ],
)
def test_inverted_rbo_by_hand(top: list[list[int]], expected: float) -> None:
    assert inverted_rbo(np.array(top)) == pytest.approx(expected)


@pytest.mark.parametrize("p", [0.3, 0.9, 0.98])
def test_inverted_rbo_is_that_of_lists_that_go_on_agreeing(p: float) -> None:
    """RBO_ext is the endless sum (1 - p) sum_d p^(d-1) A_d whose agreement stays at A_N after the last rank."""
    rng = np.random.default_rng(4)
    top = np.stack([rng.permutation(15)[:8] for _ in range(5)])

    def overlap(a: list[int], b: list[int]) -> float:
        agreement = [len(set(a[:d]) & set(b[:d])) / d for d in range(1, len(a) + 1)]
        return (1 - p) * sum(p**d * agreement[min(d, len(a) - 1)] for d in range(3000))

    expected = 1 - np.mean([overlap(a, b) for a, b in itertools.combinations(top.tolist(), 2)])
    assert 0 < expected < 1
    assert inverted_rbo(top, p) == pytest.approx(expected)
    assert inverted_rbo(rng.permutation(top), p) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("main", "topics", "expected"),
    [
        ([0, 1, 2, 3], 4, 1.0),
        ([0, 0, 0, 0], 4, 0.25),
        ([0, 0, 3, 3], 4, 0.5),
        ([0] * 39 + [1], 4, 0.5),  # one of 40 is 0.1 / 4: just in use
        ([0] * 40 + [1], 4, 0.25),  # one of 41 is less
    ],
)
def test_topics_in_use(main: list[int], topics: int, expected: float) -> None:
    proportions = np.full((len(main), topics), 0.1)
    proportions[np.arange(len(main)), main] = 0.7
    assert topics_in_use(proportions) == expected


@pytest.fixture(scope="module")
def model(corpus: Corpus) -> TopicModel:
    torch.manual_seed(0)
    config = TopicConfig(topics=TOPICS, word_embedding_size=8, hidden_size=16)
    return TopicModel(config, corpus.folder.tokenizer, corpus.folder.topic_vocabulary)


def test_topic_quality_puts_the_figures_together(model: TopicModel, corpus: Corpus) -> None:
    model.train()
    quality = topic_quality(model, corpus, words=5)
    assert model.training
    top = top_words(model.topic.log_beta.detach().numpy(), 5)
    model.eval()
    with torch.no_grad():
        expected = model.topic.theta(torch.from_numpy(corpus.bags.toarray())).numpy()
    np.testing.assert_allclose(theta(model, corpus), expected, rtol=1e-5)
    np.testing.assert_allclose(quality.npmi, npmi(top, corpus.bags))
    np.testing.assert_allclose(quality.share, expected.mean(0), rtol=1e-5)
    assert quality.share.sum() == pytest.approx(1)
    assert (quality.diversity, quality.in_use) == (diversity(top), topics_in_use(expected))


@pytest.mark.parametrize("count", [0, 1, 7])
def test_nearest_sentences_are_those_of_largest_lift(model: TopicModel, corpus: Corpus, count: int) -> None:
    log_beta = model.topic.log_beta.detach().double().numpy()
    frequency = corpus.bags.sum(0) + 1.0
    lift = log_beta - np.log(frequency / frequency.sum())
    rows = corpus.table.to_pylist()
    found = nearest_sentences(model, corpus, count)
    assert [len(sentences) for sentences in found] == [count] * TOPICS
    for topic, sentences in enumerate(found):
        value = {
            row["sentences"][j]: sum(lift[topic, w] for w in row["topic_words"][j]) / (len(row["topic_words"][j]) + 2)
            for row in rows
            for j, tokens in enumerate(row["tokens"])
            if tokens
        }
        every = sorted((value[corpus.text(i)] for i in range(len(corpus.lengths))), reverse=True)
        np.testing.assert_allclose([value[s] for s in sentences], every[:count], rtol=1e-4)


def test_nearest_sentences_speak_of_the_topic(corpus: Corpus) -> None:
    """A topic of two words finds the sentences that hold them."""
    vocabulary = corpus.folder.topic_vocabulary
    log_beta = torch.full((1, len(vocabulary)), -12.0)
    log_beta[0, vocabulary.encode(["cheese", "flour"])] = -0.7
    stub = SimpleNamespace(topic=SimpleNamespace(log_beta=log_beta))
    (found,) = nearest_sentences(stub, corpus, 5)  # type: ignore[arg-type]
    assert all("cheese" in sentence or "flour" in sentence for sentence in found)


NAMES = ("food", "space", "war")


def proportions(main: NDArray[np.int64], seed: int = 0, topics: int = 4) -> NDArray[np.float32]:
    """Topic proportions with a clear main topic, with shape (documents, topics)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(main), topics)) + 6 * np.eye(topics)[main]
    return (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)


def named(numbers: NDArray[np.int64]) -> list[str]:
    return [NAMES[i] for i in numbers]


@pytest.mark.parametrize(
    ("clusters", "labels", "expected"),
    [
        ([0, 0, 0, 1, 1, 1], "aabbbc", 4 / 6),  # two of a, two of b
        ([0, 0, 1, 1], "aabb", 1.0),
        ([5, 5, 2, 2], "bbaa", 1.0),
        ([0, 0, 0, 0], "aabc", 0.5),  # one cluster: the share of the commonest label
        ([0, 1, 2, 3], "aabc", 1.0),  # a cluster each
        ([7], "a", 1.0),
    ],
)
def test_purity_by_hand(clusters: list[int], labels: str, expected: float) -> None:
    assert purity(clusters, list(labels)) == pytest.approx(expected)


def test_purity_counts_the_commonest_label_of_every_cluster() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        clusters, labels = rng.integers(0, 5, size=40), named(rng.integers(0, 3, size=40))
        held = {c: Counter(n for d, n in zip(clusters, labels, strict=True) if d == c) for c in clusters}
        assert purity(clusters, labels) == pytest.approx(sum(max(h.values()) for h in held.values()) / 40)


def test_purity_needs_documents() -> None:
    with pytest.raises(ValueError, match="at least one document"):
        purity([], [])


def test_nmi_is_mutual_information_over_mean_entropy() -> None:
    """Clusters aab|b: I = H(label) - H(label | cluster) with entropies in nats worked out by hand."""
    third = -(2 / 3) * math.log(2 / 3) - (1 / 3) * math.log(1 / 3)
    quarter = -(3 / 4) * math.log(3 / 4) - (1 / 4) * math.log(1 / 4)
    expected = (math.log(2) - 3 / 4 * third) / ((math.log(2) + quarter) / 2)
    assert nmi([0, 0, 0, 1], list("aabb")) == pytest.approx(expected)


def test_nmi_does_not_depend_on_names_or_order() -> None:
    rng = np.random.default_rng(1)
    numbers = rng.integers(0, 3, size=60)
    clusters = np.where(rng.random(60) < 0.7, numbers, rng.integers(0, 4, size=60))
    found, order = nmi(clusters, named(numbers)), rng.permutation(60)
    assert 0.1 < found < 0.9
    assert nmi(np.array([9, 4, 0, 2])[clusters], named((numbers + 1) % 3)) == pytest.approx(found)
    assert nmi(clusters[order], named(numbers[order])) == pytest.approx(found)


@pytest.mark.parametrize(
    ("clusters", "labels", "expected"),
    [([0, 0, 1, 1], "aabb", 1.0), ([0, 0, 0, 0], "aabb", 0.0), ([0, 1, 0, 1], "aabb", 0.0), ([0, 0], "aa", 1.0)],
)
def test_nmi_at_its_limits(clusters: list[int], labels: str, expected: float) -> None:
    assert nmi(clusters, list(labels)) == pytest.approx(expected)


@pytest.fixture(scope="module")
def numbers() -> NDArray[np.int64]:
    """Labels of 400 documents, 0 in half of them."""
    return np.random.default_rng(2).choice(3, size=400, p=[0.5, 0.25, 0.25])


def test_a_probe_reads_labels_that_the_topics_tell_apart(numbers: NDArray[np.int64]) -> None:
    train, test = proportions(numbers), proportions(numbers[:90], seed=1)
    assert probe_accuracy(train, named(numbers), test, named(numbers[:90])) == (1.0, 90)


def test_a_probe_reads_ratios_among_small_shares(numbers: NDArray[np.int64]) -> None:
    """One topic takes most of every document, how much differs; the label is which of the others is larger."""

    def skewed(labels: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
        rng = np.random.default_rng(seed)
        ratios = np.exp(3 * np.eye(3)[labels] + 0.3 * rng.normal(size=(len(labels), 3)))
        small = ratios * 10 ** rng.uniform(-7, -2, size=(len(labels), 1))
        return np.concatenate((small, 1 - small.sum(1, keepdims=True)), axis=1)

    accuracy, _ = probe_accuracy(skewed(numbers, 0), named(numbers), skewed(numbers, 1), named(numbers))
    assert accuracy > 0.99


def test_a_probe_of_shuffled_labels_is_near_the_majority(numbers: NDArray[np.int64]) -> None:
    shuffled = named(np.random.default_rng(3).permutation(numbers))
    tested = np.random.default_rng(4).permutation(numbers)
    found = label_agreement(proportions(numbers), shuffled, proportions(numbers, seed=1), named(tested))
    assert found.majority == pytest.approx((numbers == 0).mean())
    assert abs(found.probe - found.majority) < 0.07
    assert found.nmi < 0.05


def test_documents_without_a_label_are_left_out(numbers: NDArray[np.int64]) -> None:
    known = np.random.default_rng(5).random(400) < 0.6
    train, test = proportions(numbers), proportions(numbers, seed=1)
    some = [n if k else None for n, k in zip(named(numbers), known, strict=True)]
    found = label_agreement(train, some, test, some)
    rest = named(numbers[known])
    assert found == label_agreement(train[known], rest, test[known], rest)
    assert found.documents == known.sum()


def test_a_label_that_training_has_not_seen_is_a_miss(numbers: NDArray[np.int64]) -> None:
    main = np.array([1, 2, 0, 0])
    names = [*named(main[:3]), "sport"]
    accuracy, documents = probe_accuracy(proportions(numbers), named(numbers), proportions(main, seed=1), names)
    assert (accuracy, documents) == (0.75, 4)


def test_proportions_of_nought_are_finite() -> None:
    hard = np.eye(3)[[0, 1, 2] * 10]
    assert probe_accuracy(hard, named(hard.argmax(1)), hard, named(hard.argmax(1))) == (1.0, 30)


def test_agreement_by_hand() -> None:
    """Test documents: main topics 0, 0, 1, 1 (the last label is war); the commonest training label is food."""
    main = np.array([0, 0, 0, 1, 1])
    found = label_agreement(proportions(main), named(main), proportions(main[1:]), ["food", "food", "space", "war"])
    assert found == LabelAgreement(0.75, found.nmi, 0.75, 0.5, 4)
    assert found.nmi == nmi([0, 0, 1, 1], ["food", "food", "space", "war"])


@pytest.mark.parametrize(
    ("train", "test"), [(["a", "a"], ["a", "b"]), (["a", None], ["a", "b"]), (["a", "b"], [None, None])]
)
def test_too_few_labels(train: list[str | None], test: list[str | None]) -> None:
    even = np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match="at least two labels"):
        probe_accuracy(even, train, even, test)

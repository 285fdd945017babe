"""Topics beside gold labels: hand-worked clusterings, a separable corpus, a shuffled one."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from tgvae.evaluation.topics import LabelAgreement, label_agreement, nmi, probe_accuracy, purity

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

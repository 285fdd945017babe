"""Do topics follow gold labels? The main topic of documents as a clustering, and a probe that reads proportions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tgvae.distributions import safe_log

Floats = NDArray[np.floating]
Labels = Sequence[str | None]


@dataclass(frozen=True)
class LabelFigures:
    """Agreement of topics with the labels of held-out documents.

    Attributes:
        purity: of the main topic of documents.
        nmi: normalised mutual information of main topic and label.
        probe: accuracy of a classifier that sees topic proportions alone.
        majority: share of the commonest training label, the mark to read ``probe`` beside.
        documents: held-out documents with a label, over which all are counted.
    """

    purity: float
    nmi: float
    probe: float
    majority: float
    documents: int


def purity(clusters: Sequence[int] | NDArray[np.integer], labels: Sequence[str]) -> float:
    """Share of the documents whose label is the commonest one of their cluster.

    1 when every document has a cluster of its own: compare numbers for the same number of topics only.

    Raises:
        ValueError: there are no documents.

    Examples:
        >>> purity([0, 0, 0, 1], ["war", "war", "health", "health"])  # (2 + 1) / 4
        0.75
    """
    if not len(labels):
        raise ValueError("purity needs at least one document")
    return float(contingency_matrix(labels, clusters).max(0).sum() / len(labels))


def nmi(clusters: Sequence[int] | NDArray[np.integer], labels: Sequence[str]) -> float:
    """Mutual information of cluster and label over the mean of their entropies, in [0, 1] (scikit-learn's).

    1 when both are constant, 0 when one is.

    Examples:
        >>> round(nmi([0, 0, 1, 1], ["war", "war", "health", "health"]), 4)
        1.0
    """
    return float(normalized_mutual_info_score(labels, clusters))


def probe_accuracy(
    train_theta: Floats, train_labels: Labels, test_theta: Floats, test_labels: Labels
) -> tuple[float, int]:
    """Accuracy on the test documents of a logistic regression of the label on log theta, and how many they are.

    On log theta because proportions lie on a simplex: ratios between topics tell documents apart, also among
    topics of small share. Columns are standardised by the training documents. Documents without a label
    are left out of both splits; a label that training has not seen is a miss.

    Args:
        train_theta: topic proportions of the training documents, with shape (documents, T).
        train_labels: a label for each of them, or None.
        test_theta: proportions of the test documents.
        test_labels: their labels.

    Raises:
        ValueError: fewer than two labels to train on, or no test document has one.

    Examples:
        >>> import numpy as np
        >>> shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]])
        >>> labels = ["war", "war", "health", "health"]
        >>> accuracy, documents = probe_accuracy(shares, labels, shares, ["war", None, "health", "tax"])
        >>> round(accuracy, 4), documents  # one has no label, one a label not seen before
        (0.6667, 3)
    """
    seen, tested = _labelled(train_labels), _labelled(test_labels)
    names = [str(train_labels[i]) for i in seen]
    if len(set(names)) < 2 or not len(tested):
        raise ValueError("a probe needs at least two labels to train on and a document with a label to test")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe.fit(_log(train_theta[seen]), names)
    hits = probe.predict(_log(test_theta[tested])) == np.array([test_labels[i] for i in tested])
    return float(hits.mean()), len(tested)


def agreement(train_theta: Floats, train_labels: Labels, test_theta: Floats, test_labels: Labels) -> LabelFigures:
    """The figures of test documents from topic proportions with shape (documents, T). Raises as the probe does."""
    probe, documents = probe_accuracy(train_theta, train_labels, test_theta, test_labels)
    tested = _labelled(test_labels)
    labels = [str(test_labels[i]) for i in tested]
    main = test_theta[tested].argmax(1)
    counts = Counter(label for label in train_labels if label is not None)
    commonest = min(counts, key=lambda label: (-counts[label], label))
    majority = labels.count(commonest) / documents
    return LabelFigures(purity(main, labels), nmi(main, labels), probe, majority, documents)


def _labelled(labels: Labels) -> NDArray[np.int64]:
    return np.array([i for i, label in enumerate(labels) if label is not None], dtype=np.int64)


def _log(proportions: Floats) -> Floats:
    return safe_log(torch.from_numpy(proportions)).numpy()

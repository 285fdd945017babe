"""Initialisation of topics and word embeddings from co-occurrence in the corpus.

Word vectors are singular vectors of the positive pointwise mutual information of words in documents (Levy & Goldberg
2014). Topics start at k-means centres of these vectors, so every topic begins with words that do occur together.
"""

from __future__ import annotations

from typing import cast
from warnings import catch_warnings

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.extmath import randomized_svd

from tgvae.errors import UserError
from tgvae.models.topic import MixtureTopics

Floats = NDArray[np.float32]
SHRINK = 2.0  # co-occurrences that halve a PMI: pairs seen once or twice are noise
SHARPNESS = 10.0  # norm of a topic embedding: its closest words have e^10 times the weight of unrelated ones


def init_topics(topic: MixtureTopics, bags: csr_array, seed: int) -> None:
    """Initialise the embeddings and the background of ``topic`` from document counts with shape (documents, D).

    Raises:
        UserError: more topics than topic words.
    """
    topics, size = topic.topics.shape
    if topics > bags.shape[1]:
        raise UserError(f"{topics} topics, but only {bags.shape[1]} topic words: ask for fewer topics")
    words = word_vectors(bags, size, seed)
    frequency = bags.sum(0)
    with catch_warnings(action="ignore", category=ConvergenceWarning):  # words in all documents have equal vectors
        clusters = KMeans(topics, n_init=3, random_state=seed).fit(words, sample_weight=np.sqrt(frequency))
    centres = SHARPNESS * _unit(clusters.cluster_centers_)
    background = np.log(np.maximum(frequency, 1) / frequency.sum()).astype(np.float32)
    topic.start_from(torch.from_numpy(words), torch.from_numpy(centres), torch.from_numpy(background))


def word_vectors(bags: csr_array, size: int, seed: int) -> Floats:
    """Return unit word vectors with shape (D, size) from document counts; zero-padded where D < size."""
    pmi = positive_pmi(bags)
    rank = min(size, min(pmi.shape) - 1)
    left, singular, _ = randomized_svd(pmi, rank, random_state=seed)
    vectors = np.zeros((pmi.shape[0], size), dtype=np.float32)
    vectors[:, :rank] = left * np.sqrt(singular)
    return _unit(vectors)


def positive_pmi(bags: csr_array) -> csr_array:
    """Return max(0, log p(v, w) / p(v) p(w)) over documents, shrunk for small counts, with zero diagonal, (D, D)."""
    present = cast(csr_array, (bags > 0).astype(np.float32))
    share = present.sum(0) / present.shape[0]
    pairs = (present.T @ present).tocoo()
    row, column = pairs.coords
    pmi = np.log(pairs.data / present.shape[0] / (share[row] * share[column]))
    value = np.where(row == column, 0.0, np.maximum(pmi, 0.0) * pairs.data / (pairs.data + SHRINK))
    matrix = csr_array((value.astype(np.float32), (row, column)), shape=pairs.shape)
    matrix.eliminate_zeros()
    return matrix


def _unit(rows: NDArray[np.floating]) -> Floats:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(norm, 1e-6)).astype(np.float32)

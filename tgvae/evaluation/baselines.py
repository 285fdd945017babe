"""Latent Dirichlet allocation, the mark that every topic figure is read beside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tgvae.errors import UserError


def lda_topics(bags: csr_array, topics: int, seed: int, iterations: int = 500) -> NDArray[np.float64]:
    """Word distributions of LDA by collapsed Gibbs sampling (tomotopy's defaults), with shape (T, D).

    Args:
        bags: counts of the training documents with shape (documents, D).
        topics: T.
        seed: of the sampler, which runs in one thread: the same seed gives the same topics.
        iterations: Gibbs sweeps.

    Raises:
        UserError: tomotopy is not installed.
    """
    try:
        import tomotopy
    except ImportError:
        raise UserError("LDA needs tomotopy: pip install 'tgvae[baselines]', or leave out --lda") from None
    model = tomotopy.LDAModel(k=topics, seed=seed)
    for row in range(bags.shape[0]):
        part = slice(bags.indptr[row], bags.indptr[row + 1])
        words = np.repeat(bags.indices[part], bags.data[part].astype(int))
        if len(words):
            model.add_doc([str(word) for word in words])
    model.train(iterations, workers=1)
    beta = np.zeros((topics, bags.shape[1]))
    columns = [int(word) for word in model.used_vocabs]
    for topic in range(topics):
        beta[topic, columns] = model.get_topic_word_dist(topic)
    return beta

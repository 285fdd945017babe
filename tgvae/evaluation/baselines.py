"""Latent Dirichlet allocation, the mark that every topic figure is read beside."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tgvae.errors import UserError
from tgvae.progress import step


@step("training LDA")
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
    model = gibbs_sampler(bags, topics, seed)
    model.train(iterations, workers=1)
    return word_distributions(model, bags.shape[1])


def gibbs_sampler(bags: csr_array, topics: int, seed: int) -> Any:
    """tomotopy's LDA over documents with words, not yet trained; arguments and errors are those of ``lda_topics``."""
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
    return model


def word_distributions(model: Any, size: int) -> NDArray[np.float64]:
    """p(w | topic) of a sampler over a vocabulary of ``size`` words, with shape (T, D)."""
    beta = np.zeros((model.k, size))
    columns = [int(word) for word in model.used_vocabs]
    for topic in range(model.k):
        beta[topic, columns] = model.get_topic_word_dist(topic)
    return beta

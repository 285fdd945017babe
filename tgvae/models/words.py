"""Likelihoods of bags of words given topic proportions: a mixture of topics, and a product of experts.

The words are a sequence without order, so there is no multinomial coefficient: log p(d) = sum_w n_w log p(w | t).
Shape legend: S samples, U documents, D bag-of-words vocabulary, T topics. Log-probabilities are in nats.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from tgvae.distributions import safe_log
from tgvae.trace import Trace


class TopicMixture(Distribution):
    """p(w | t) = sum_i t_i beta_{i,w}, formed only for the words that a document holds.

    Args:
        t: with shape (S, U, T).
        log_beta: log p(w | topic i) with shape (T, D).

    Examples:
        Half of a topic of one word and half of a topic of another; each word is there once:

        >>> import torch
        >>> from tgvae.data.bow import BagOfWords, count_words
        >>> words = TopicMixture(torch.tensor([[[0.5, 0.5]]]), torch.eye(2).log())
        >>> round(words.log_prob(BagOfWords.of(count_words([[0, 1]], size=2))).item(), 4)  # 2 log 1/2
        -1.3863
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, t: Tensor, log_beta: Tensor) -> None:
        self.t, self.log_beta, self.beta = t, log_beta, log_beta.exp()
        super().__init__(t.shape[:-1], log_beta.shape[-1:], validate_args=False)

    def log_prob(self, value: Any) -> Tensor:
        """``value``: the ``BagOfWords`` of U documents; returns shape (S, U)."""
        by_word = self.beta.T.contiguous()  # what the bags look up stands together
        return torch.stack([value.total(safe_log(value.entries(t, by_word))) for t in self.t])


def mixture_of(trace: Trace) -> TopicMixture:
    """The likelihood of documents in the trace of a model with a mixture of topics: it holds t and beta."""
    words = trace.observed["words"].dist
    assert isinstance(words, TopicMixture)
    return words


class ExpertProduct(Distribution):
    """p(w | t) = softmax(scores)_w: experts that have added up their scores of every word.

    Args:
        scores: with shape (S, U, D).
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores
        super().__init__(scores.shape[:-1], scores.shape[-1:], validate_args=False)

    def log_prob(self, value: Any) -> Tensor:
        """``value``: the ``BagOfWords`` of U documents; returns shape (S, U)."""
        held = self.scores.log_softmax(-1)[:, value.rows, value.words]
        return torch.stack([value.total(log_p) for log_p in held])

"""Are the topics any good? Coherence, diversity, use. Report the three together: each alone can mislead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray

from tgvae.data.corpus import Corpus
from tgvae.evaluation.coherence import npmi
from tgvae.evaluation.likelihood import evaluating
from tgvae.models.base import Model
from tgvae.models.summarizer import Summarizer
from tgvae.models.tgvae import TGVAE
from tgvae.models.topic import TopicModel
from tgvae.progress import step, track

Floats = NDArray[np.floating]
WithTopics = TGVAE | TopicModel | Summarizer


@dataclass(frozen=True)
class TopicQuality:
    """Metrics of a set of topics.

    Attributes:
        npmi: coherence of each topic with shape (T,).
        diversity: share of distinct words among the top 10 of all topics.
        share: mean proportion of each topic over documents with shape (T,).
        in_use: share of the topics that are the main topic of at least 0.1 / T of the documents.
    """

    npmi: Floats
    diversity: float
    share: Floats
    in_use: float


def has_topics(model: Model) -> TypeGuard[WithTopics]:
    """Whether there are topics: a summarizer may have none."""
    return isinstance(model, TGVAE | TopicModel) or (isinstance(model, Summarizer) and model.guided)


def top_words(beta: Floats, count: int = 10) -> NDArray[np.int64]:
    """Ids of the most probable words of each topic, best first, with shape (T, count).

    Examples:
        >>> import numpy as np
        >>> top_words(np.array([[0.1, 0.7, 0.2]]), count=2).tolist()
        [[1, 2]]
    """
    return np.argsort(-beta, axis=1, kind="stable")[:, :count]


def diversity(top: NDArray[np.int64]) -> float:
    """Share of distinct words among the top words of all topics (Dieng et al. 2020).

    Examples:
        >>> import numpy as np
        >>> diversity(np.array([[0, 1], [1, 2]]))  # 3 words in 4 places
        0.75
    """
    return len(np.unique(top)) / top.size


def inverted_rbo(top: NDArray[np.int64], p: float = 0.9) -> float:
    """How different topics are: 1 - mean rank-biased overlap of their pairs (Terragni et al. 2021).

    The extrapolated overlap of two lists of the same length N without ties (Webber et al. 2010, RBO_ext): with
    A_d the share of the best d words that two topics have in common,

        RBO = A_N p^N + (1 - p) / p * sum_{d=1}^N A_d p^d,

    so the same words in the same order give 0, no word in common 1, and early ranks weigh most. A single
    topic, which has no pair, counts 1.

    Args:
        top: word ids, best first, with shape (T, N).
        p: persistence in (0, 1): the smaller, the more the first ranks weigh.

    Examples:
        >>> import numpy as np
        >>> same, apart = np.array([[0, 1], [0, 1]]), np.array([[0, 1], [2, 3]])
        >>> [round(abs(inverted_rbo(top)), 4) for top in (same, apart)]
        [0.0, 1.0]
    """
    topics, words = top.shape
    if topics < 2:
        return 1.0
    _, place = np.unique(top, return_inverse=True)
    place = place.reshape(top.shape)
    held = np.zeros((topics, place.max() + 1))
    overlap = np.zeros((topics, topics))
    for d in range(1, words + 1):
        held[np.arange(topics), place[:, d - 1]] = 1
        agreement = held @ held.T / d
        overlap += (1 - p) / p * agreement * p**d
    overlap += agreement * p**words
    return float(1 - overlap[np.triu_indices(topics, 1)].mean())


def topics_in_use(theta: Floats) -> float:
    """Share of the topics that are the main topic of at least 0.1 / T of the documents, theta (documents, T).

    Examples:
        Three topics, of which none of the documents is mainly about the last:

        >>> import numpy as np
        >>> round(topics_in_use(np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]])), 4)
        0.6667
    """
    documents, topics = theta.shape
    main = np.bincount(theta.argmax(1), minlength=topics)
    return float((main >= 0.1 * documents / topics).mean())


def theta(model: WithTopics, corpus: Corpus) -> Floats:
    """Topic proportions of every document at the posterior mean, with shape (documents, T)."""
    with evaluating(model, seed=0):
        rows = [model.topic.theta(d.counts.to(model.device)).cpu() for d in corpus.each_documents()]
    return torch.cat(rows).numpy()


@step("measuring topics")
def topic_quality(model: WithTopics, corpus: Corpus, words: int = 10) -> TopicQuality:
    """Quality of a model's topics with ``corpus`` (usually the training split) as reference."""
    top = top_words(model.topic.log_beta.detach().cpu().numpy(), words)
    proportions = theta(model, corpus)
    return TopicQuality(npmi(top, corpus.bags), diversity(top), proportions.mean(0), topics_in_use(proportions))


def nearest_sentences(model: WithTopics, corpus: Corpus, count: int) -> list[list[str]]:
    """The ``count`` modelled sentences of the corpus that each topic explains best, as text; all if there are fewer.

    Best is the largest mean log p(w | topic) / p(w) over the topic words of the sentence, with two words
    of no evidence added so that short sentences do not win by one word.
    """
    log_beta = model.topic.log_beta.detach().cpu()
    share = torch.from_numpy(corpus.bags.sum(0) + 1.0).float()
    lift = log_beta - (share / share.sum()).log()
    count = min(count, len(corpus.lengths))
    best = torch.full((len(lift), count), -torch.inf)
    where = torch.zeros((len(lift), count), dtype=torch.long)
    for index in track(corpus.sentence_batches(16384) if count else [], "comparing sentences"):
        own = corpus.gather(index).sentence_bow
        score = (own @ lift.T / (own.sizes.unsqueeze(1) + 2)).T
        scores = torch.cat((best, score), dim=1)
        places = torch.cat((where, torch.from_numpy(index).expand(len(lift), -1)), dim=1)
        best, chosen = scores.topk(count, dim=1)
        where = places.gather(1, chosen)
    return [[corpus.text(i) for i in row] for row in where.tolist()]

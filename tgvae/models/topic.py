"""The neural topic model (Miao et al. 2017; Wang et al. 2019).

    g ~ N(0, I_T),   t = softmax(W g + b),   p(w | t) = sum_i t_i beta_{i,w},   beta_i = softmax(m + rho alpha_i)

A Gaussian-softmax model (Miao et al. 2017) whose topic-word logits are products of topic embeddings alpha
and word embeddings rho (Dieng et al. 2020), around the background m of all topics (Eisenstein et al. 2011).
All start from the corpus: rho from the PPMI-SVD of the training documents, alpha from k-means of rho, m
from the frequencies of the words. Without that start most topics die.
Shape legend: S samples, U documents, D bag-of-words vocabulary, T topics, R word embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgvae.data.batch import Batch, Documents
from tgvae.data.tokenizers import SentenceTokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.distributions import BagOfWords, diagonal_normal, log_of
from tgvae.models.base import Model
from tgvae.nn.heads import NormalHead, mlp
from tgvae.trace import Latent, Observed, Trace


@dataclass(frozen=True)
class TopicConfig:
    """Sizes of the topic model.

    Attributes:
        topics: T.
        word_embedding_size: R.
        hidden_size: width of the two ReLU layers of q(g | d).
        dropout: of these layers.
    """

    topics: int = 50
    word_embedding_size: int = 100
    hidden_size: int = 256
    dropout: float = 0.2


class TopicCore(nn.Module):
    """Inference network, topics and word distributions, without vocabularies: a part of TGVAE too."""

    def __init__(self, config: TopicConfig, vocabulary_size: int) -> None:
        super().__init__()
        t, r, h = config.topics, config.word_embedding_size, config.hidden_size
        self.encoder = mlp([vocabulary_size, h, h], config.dropout)
        self.head = NormalHead(h, t)
        self.mix = nn.Linear(t, t)
        nn.init.eye_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)
        self.words = nn.Parameter(torch.randn(vocabulary_size, r) * r**-0.5)
        self.topics = nn.Parameter(torch.randn(t, r))
        self.background = nn.Parameter(torch.zeros(vocabulary_size))

    @property
    def size(self) -> int:
        """T."""
        return len(self.topics)

    @property
    def log_beta(self) -> Tensor:
        """log beta with shape (T, D), every row a log-distribution over words."""
        return (self.background + self.topics @ self.words.T).log_softmax(-1)

    def posterior(self, counts: Tensor) -> torch.distributions.Independent:
        """q(g | d) from counts (U, D); a document without words gets the prior N(0, I)."""
        q = self.head(self.encoder(counts.log1p())).base_dist
        empty = (counts.sum(-1, keepdim=True) == 0).expand_as(q.loc)
        return diagonal_normal(q.loc.masked_fill(empty, 0.0), q.scale.masked_fill(empty, 1.0))

    def proportions(self, g: Tensor) -> Tensor:
        """t = softmax(W g + b) with shape (..., T)."""
        return self.mix(g).softmax(-1)

    def theta(self, counts: Tensor) -> Tensor:
        """Topic proportions of documents at the posterior mean, with shape (U, T)."""
        return self.proportions(self.posterior(counts).mean)

    forward = theta

    def trace(self, documents: Documents, samples: int = 1) -> Trace:
        q = self.posterior(documents.counts)
        g = q.rsample((samples,))
        beta = self.log_beta.exp()
        words = BagOfWords(log_of(self.proportions(g) @ beta))
        prior = diagonal_normal(torch.zeros_like(g[0, 0]), torch.ones_like(g[0, 0]))
        return Trace(
            {"g": Latent(q, prior, g, "document")},
            {"words": Observed(words, documents.counts, "document")},
            {"similarity": -diversity(beta).unsqueeze(0)},
        )

    @torch.no_grad()
    def start_from(self, word_vectors: Tensor, centres: Tensor, background: Tensor) -> None:
        """Start rho at ``word_vectors`` (D, R), alpha at ``centres`` (T, R) and m at ``background`` (D,)."""
        self.words.copy_(word_vectors)
        self.topics.copy_(centres)
        self.background.copy_(background)


def diversity(beta: Tensor) -> Tensor:
    """R = mean(a) - var(a), a(i,j) = arccos of the cosine of beta_i and beta_j (Xie et al. 2015), in radians.

    Zero for a single topic.
    """
    pairs = torch.triu_indices(len(beta), len(beta), offset=1, device=beta.device)
    if pairs.shape[1] == 0:
        return beta.new_zeros(())
    with torch.autocast(beta.device.type, enabled=False):  # in bfloat16 a cosine near 1 has no finite gradient
        rows = F.normalize(beta.float(), dim=-1)
        cosine = (rows @ rows.T)[pairs[0], pairs[1]].clamp(max=1 - 1e-6)
        angle = torch.arccos(cosine)
    return angle.mean() - angle.var(correction=0)


class TopicModel(Model):
    """The topic model alone, for documents."""

    kind = "topic"
    config_class = TopicConfig

    def __init__(self, config: TopicConfig, tokenizer: SentenceTokenizer, vocabulary: TopicVocabulary) -> None:
        super().__init__(config, tokenizer, vocabulary)
        self.topic = TopicCore(config, len(vocabulary))

    def trace(self, batch: Batch | Documents, samples: int = 1) -> Trace:
        return self.topic.trace(batch.documents if isinstance(batch, Batch) else batch, samples)

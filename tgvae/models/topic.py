"""Neural topic models: a mixture of topics (Miao et al. 2017; Wang et al. 2019), or a product of experts (ProdLDA).

    g ~ N(0, I_T),   t = softmax(W g + b),   p(w | t) = sum_i t_i beta_{i,w},   beta_i = softmax(m + rho alpha_i)

The mixture is a Gaussian-softmax model (Miao et al. 2017) whose topic-word logits are products of topic embeddings
alpha and word embeddings rho (Dieng et al. 2020), added to the background m of all topics (Eisenstein et al. 2011).
All start from the corpus: rho from the PPMI-SVD of the training documents, alpha from k-means of rho, m from the
word frequencies. Without that start most topics collapse.

The product is ProdLDA (Srivastava & Sutton 2017, arXiv 1703.01488), a baseline for documents alone:

    g ~ N(0, s^2 I_T),   t = softmax(g),   p(w | t) = softmax(m + BN(t B))

with unconstrained weights B, and batch norm BN here and in q(g | d). It starts at random: batch norm prevents collapse.

Words are a sequence without order, so no multinomial coefficient is counted: log p(d) = sum_w n_w log p(w | t).

Shape legend: S samples, U documents, D bag-of-words vocabulary, T topics, R word embedding, H hidden.
Log-probabilities are in nats.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, constraints

from tgvae.config_io import require_range
from tgvae.data.batch import Batch, Documents
from tgvae.data.bow import BagOfWords, count_words
from tgvae.data.tokenizers import SentenceTokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.distributions import diagonal_normal, safe_log
from tgvae.errors import UserError, closest
from tgvae.models.base import Capability, TextModel
from tgvae.nn.dropout import Dropout
from tgvae.nn.heads import BagLinear, NormalHead, mlp, scale_of
from tgvae.random import make_generator
from tgvae.trace import Latent, Observed, Trace

DIVERSITY_TOPICS = 128  # topics whose diversity a training step computes: all pairs would cost more than the rest of it
Mixture = Mapping[int, float] | Mapping[str, float]
"""Weights of topics by number; the numbers may be strings, as the keys of JSON objects are."""
MAX_WEIGHT = 1e30  # of a topic in a mixture: the sum must be finite in float32
MAX_SUGGESTIONS = 5  # unknown words for which a similar topic word is suggested
BATCH = 256  # texts whose bags of words are in memory at a time


@dataclass(frozen=True)
class TopicConfig:
    """Settings of the topic model.

    Attributes:
        topics: T.
        word_embedding_size: R, for a mixture; a product has an unconstrained weight per topic and word instead.
        hidden_size: width of the two ReLU layers of q(g | d).
        dropout: of these layers, and of t in a product.
        likelihood: p(w | t) as a ``mixture`` of topics, or as a ``product`` of experts (ProdLDA).
        concentration: alpha of the symmetric Dirichlet that the prior of t approximates, for a product; None is
            g ~ N(0, I). A mixture learns its prior of t through W and b.

    Raises:
        UserError: a size below 1, a dropout outside [0, 1), or a concentration that is not positive or is given for a
            mixture.
    """

    topics: int = 50
    word_embedding_size: int = 100
    hidden_size: int = 256
    dropout: float = 0.2
    likelihood: Literal["mixture", "product"] = "mixture"
    concentration: float | None = None

    def __post_init__(self) -> None:
        require_range(self, 1, math.inf, "topics", "word_embedding_size", "hidden_size")
        require_range(self, 0, 1, "dropout")
        if self.concentration is not None and self.likelihood == "mixture":
            raise UserError("a mixture learns its prior: leave out the concentration, or set likelihood to product")
        if self.concentration is not None and not 0 < self.concentration < math.inf:
            raise UserError(f"the concentration is {self.concentration}; it must be positive and finite")


class TopicInference(TextModel):
    """Abstract: a model with topics, which are named by number or by words and inferred from texts."""

    topic: TopicNetwork[Any]

    def one_hot_topic(self, topic: int | str) -> Tensor:
        """Return proportions (T,) that are 1 for one topic, given by number or by words."""
        number = topic if isinstance(topic, int) else self.find_topic(topic)
        return self.normalized_mixture({number: 1.0})

    def normalized_mixture(self, mixture: Mixture) -> Tensor:
        """Return proportions (T,) from weights by topic number; they need not sum to 1."""
        weights = torch.zeros(self.topic.size, device=self.device)
        for name, weight in mixture.items():
            number = int(name) if isinstance(name, str) and name.isdecimal() and len(name) < 10 else name
            if not isinstance(number, int) or not 0 <= number < len(weights):
                raise UserError(f"no topic {name}: this model has topics 0 to {len(weights) - 1}")
            if not 0 <= weight <= MAX_WEIGHT:
                raise UserError(f"the weight of topic {number} is {weight}; give a number from 0 to {MAX_WEIGHT:g}")
            weights[number] = weight
        if weights.sum() == 0:
            raise UserError("the mixture gives every topic the weight 0")
        return weights / weights.sum()

    @torch.no_grad()
    def find_topic(self, words: str) -> int:
        """Return the most probable topic given these words, under a uniform prior over topics."""
        ids = self._known_words(words)
        return int(self.topic.log_beta[:, ids].sum(-1).argmax())

    def topics_of(self, texts: str | Sequence[str]) -> Tensor:
        """Return topic proportions at the posterior mean: (T,) of a text, or (N, T) of a list of texts.

        They equal those of the same document in training. A text of a list without topic words gets the proportions of
        an empty document; for a single text that is an error.

        Raises:
            UserError: a single text has no topic word.
        """
        if isinstance(texts, str):
            return self.topics_of_ids([self._known_words(texts)])[0]
        return self.topics_of_ids([self.vocabulary.encode_text(text) for text in texts])

    @torch.no_grad()
    def topics_of_ids(self, documents: Sequence[Sequence[int]]) -> Tensor:
        """Return topic proportions (N, T) of documents given as ids of topic words."""
        parts = [self.topic.theta(self.bags(documents[i : i + BATCH])) for i in range(0, len(documents), BATCH)]
        return torch.cat(parts) if parts else torch.zeros(0, self.topic.size, device=self.device)

    def counts(self, texts: Sequence[str]) -> BagOfWords:
        """Return the bags of words of texts, (N, D)."""
        return self.bags([self.vocabulary.encode_text(text) for text in texts])

    def bags(self, documents: Sequence[Sequence[int]]) -> BagOfWords:
        """Return the bags of words of documents given as ids of topic words, (N, D)."""
        return BagOfWords.of(count_words(documents, len(self.vocabulary))).to(self.device)

    @torch.no_grad()
    def prior_topic_proportions(self) -> Tensor:
        """Return the mean topic proportions (T,) of the prior of g, by Monte Carlo."""
        g = self.topic.prior_scale * torch.randn(1000, self.topic.size, generator=make_generator(0))
        return self.topic.proportions(g.to(self.device)).mean(0)

    def _known_words(self, text: str) -> list[int]:
        ids = self.vocabulary.encode_text(text)
        if not ids:
            known = (closest(word, self.vocabulary.words) for word in text.split()[:MAX_SUGGESTIONS])
            near = ", ".join(dict.fromkeys(word for word in known if word is not None))
            hint = f"did you mean {near}?" if near else "try other words"
            raise UserError(f"none of the words of {text[:60]!r} is in the topic vocabulary; {hint}")
        return ids


class TopicModel(TopicInference):
    """The topic model alone, a mixture or a product, for documents.

    Examples:
        >>> from tgvae.data.bow import BagOfWords, count_words
        >>> from tgvae.data.tokenizers import WordTokenizer
        >>> from tgvae.data.vocabulary import TopicVocabulary
        >>> words = ["army", "school"]
        >>> model = TopicModel(TopicConfig(topics=2), WordTokenizer(words), TopicVocabulary(words)).eval()
        >>> shares = model.topic.theta(BagOfWords.of(count_words([[0, 0, 1], []], size=2)))
        >>> shares.shape, [round(x, 4) for x in shares.sum(-1).tolist()]
        (torch.Size([2, 2]), [1.0, 1.0])
    """

    topic: TopicNetwork[Any]
    kind = "topic"
    units = ("document",)
    config_class = TopicConfig

    def __init__(self, config: TopicConfig, tokenizer: SentenceTokenizer, vocabulary: TopicVocabulary) -> None:
        super().__init__(config, tokenizer, vocabulary)
        network = ProductOfExpertsTopics if config.likelihood == "product" else MixtureTopics
        self.topic = network(config, len(vocabulary))

    @classmethod
    def capabilities_of(cls, config: TopicConfig) -> frozenset[Capability]:
        return frozenset({Capability.TOPICS})

    def trace(
        self, batch: Batch | Documents, samples: int = 1, temperature: float = 1.0, latent_noise: float = 0.0
    ) -> Trace:
        return self.topic.trace(batch.documents if isinstance(batch, Batch) else batch, samples)


class TopicMixture(Distribution):
    """p(w | t) = sum_i t_i beta_{i,w}, computed only for the words that a document holds.

    Args:
        t: with shape (S, U, T).
        log_beta: log p(w | topic i) with shape (T, D).

    Examples:
        Two topics of one word each, in equal shares; the document holds each word once:

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
        """Return log p with shape (S, U) of ``value``, the ``BagOfWords`` of U documents."""
        by_word = self.beta.T.contiguous()  # the T values that the lookup of a word reads are adjacent in memory
        return torch.stack([value.total(safe_log(value.entries(t, by_word))) for t in self.t])


class ExpertProduct(Distribution):
    """p(w | t) = softmax(scores)_w, where scores are sums over experts.

    Args:
        scores: with shape (S, U, D).
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores
        super().__init__(scores.shape[:-1], scores.shape[-1:], validate_args=False)

    def log_prob(self, value: Any) -> Tensor:
        """Return log p with shape (S, U) of ``value``, the ``BagOfWords`` of U documents."""
        log_p = self.scores.log_softmax(-1)[:, value.rows, value.words]
        return torch.stack([value.total(sample) for sample in log_p])


W = TypeVar("W", bound=Distribution)


class TopicNetwork(nn.Module, ABC, Generic[W]):
    """Abstract: topics, their inference from bags of words, and the bound of documents, with g ~ N(0, s^2 I).

    ``W`` is the distribution of words given t.
    """

    prior_scale = 1.0

    def __init__(self, config: TopicConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.size = config.topics
        first = BagLinear(vocabulary_size, config.hidden_size)
        rest = mlp([config.hidden_size, config.hidden_size], config.dropout)
        self.encoder = nn.Sequential(first, nn.ReLU(), Dropout(config.dropout), *rest)

    @property
    @abstractmethod
    def log_beta(self) -> Tensor:
        """log p(w | topic i) with shape (T, D); every row is a log-distribution over words."""

    @abstractmethod
    def infer(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of q(g | d), each with shape (U, T), from features (U, H)."""

    @abstractmethod
    def proportions(self, g: Tensor) -> Tensor:
        """Return topic proportions t with shape (..., T)."""

    @abstractmethod
    def likelihood(self, t: Tensor) -> tuple[W, dict[str, Tensor]]:
        """Return p(w | t), and regularisers to minimise in addition to the bound."""

    def posterior(self, counts: BagOfWords | Tensor) -> Independent:
        """Return q(g | d) from counts (U, D); a document without words gets the prior N(0, s^2 I)."""
        loc, scale = self.infer(self.encoder(counts.log1p()))
        sizes = counts.sizes if isinstance(counts, BagOfWords) else counts.sum(-1)
        empty = (sizes.unsqueeze(1) == 0).expand_as(loc)
        return diagonal_normal(loc.masked_fill(empty, 0.0), scale.masked_fill(empty, self.prior_scale))

    def theta(self, counts: BagOfWords | Tensor) -> Tensor:
        """Return topic proportions of documents at the posterior mean, with shape (U, T)."""
        return self.proportions(self.posterior(counts).mean)

    forward = theta

    def trace(self, documents: Documents, samples: int = 1) -> Trace:
        return self.trace_with_words(documents, samples)[0]

    def trace_with_words(self, documents: Documents, samples: int) -> tuple[Trace, W]:
        """Return the trace of documents, and p(w | t), from which a guided model takes t and beta."""
        q = self.posterior(documents.counts)
        g = q.rsample((samples,))
        words, aux = self.likelihood(self.proportions(g))
        prior = diagonal_normal(torch.zeros_like(g[0, 0]), torch.full_like(g[0, 0], self.prior_scale))
        observed = {"words": Observed(words, documents.counts, "document")}
        return Trace({"g": Latent(q, prior, g, "document")}, observed, aux), words


class MixtureTopics(TopicNetwork[TopicMixture]):
    """A mixture of topics, alone or as a part of a guided model. Raises UserError for the settings of a product."""

    def __init__(self, config: TopicConfig, vocabulary_size: int) -> None:
        if config.likelihood != "mixture":
            raise UserError("only a mixture of topics can guide sentences: set topic.likelihood to mixture")
        super().__init__(config, vocabulary_size)
        t, r = config.topics, config.word_embedding_size
        self.head = NormalHead(config.hidden_size, t)
        self.mix = nn.Linear(t, t)
        nn.init.eye_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)
        self.words = nn.Parameter(torch.randn(vocabulary_size, r) * r**-0.5)
        self.topics = nn.Parameter(torch.randn(t, r))
        self.background = nn.Parameter(torch.zeros(vocabulary_size))

    @property
    def log_beta(self) -> Tensor:
        return (self.background + self.topics @ self.words.T).log_softmax(-1)

    def infer(self, h: Tensor) -> tuple[Tensor, Tensor]:
        q = self.head(h).base_dist
        return q.loc, q.scale

    def proportions(self, g: Tensor) -> Tensor:
        return self.mix(g).softmax(-1)

    def likelihood(self, t: Tensor) -> tuple[TopicMixture, dict[str, Tensor]]:
        words = TopicMixture(t, self.log_beta)
        beta = words.beta
        if self.training and self.size > DIVERSITY_TOPICS:
            beta = beta[torch.randperm(self.size, device=beta.device)[:DIVERSITY_TOPICS]]
        return words, {"similarity": -diversity(beta).unsqueeze(0)}

    @torch.no_grad()
    def start_from(self, word_vectors: Tensor, centres: Tensor, background: Tensor) -> None:
        """Start rho at ``word_vectors`` (D, R), alpha at ``centres`` (T, R) and m at ``background`` (D,)."""
        self.words.copy_(word_vectors)
        self.topics.copy_(centres)
        self.background.copy_(background)


class ProductOfExpertsTopics(TopicNetwork[ExpertProduct]):
    """ProdLDA (Srivastava & Sutton 2017): experts' scores of a word are added before the softmax."""

    def __init__(self, config: TopicConfig, vocabulary_size: int) -> None:
        super().__init__(config, vocabulary_size)
        t, h = config.topics, config.hidden_size
        if config.concentration is not None:
            self.prior_scale = laplace_scale(config.concentration, t)
        self.loc, self.log_variance = NormalisedLinear(h, t), NormalisedLinear(h, t)
        self.dropout = Dropout(config.dropout)
        self.experts = NormalisedLinear(t, vocabulary_size)

    @property
    def log_beta(self) -> Tensor:
        """log softmax(B / s), s^2 the mean running variance of t B: the experts as published, before batch norm.

        Dividing by each word's own deviation and adding m would give p(w | t) of a single topic exactly, but no
        document is near a single topic, and on wiki NPMI fell from .23 to .17. A common s keeps the sharpness.
        """
        return (self.experts.weight.T / self.experts.running_var.mean().sqrt()).log_softmax(-1)

    def infer(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.loc(h), scale_of(self.log_variance(h) / 2)

    def proportions(self, g: Tensor) -> Tensor:
        return g.softmax(-1)

    def likelihood(self, t: Tensor) -> tuple[ExpertProduct, dict[str, Tensor]]:
        return ExpertProduct(self.experts(self.dropout(t))), {}


class NormalisedLinear(nn.Module):
    """b + BN(W x) over the rows of x (..., N): batch norm with a learned shift and no learned scale.

    A single row has no variance, so even in training it is normalised by the running statistics.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(n_out, n_in)))
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.register_buffer("running_mean", torch.zeros(n_out))
        self.register_buffer("running_var", torch.ones(n_out))

    def forward(self, x: Tensor) -> Tensor:
        rows = F.linear(x, self.weight).float().flatten(0, -2)
        batch_statistics = self.training and len(rows) > 1
        shifted = F.batch_norm(rows, self.running_mean, self.running_var, bias=self.bias, training=batch_statistics)
        return shifted.unflatten(0, x.shape[:-1])


def laplace_scale(concentration: float, topics: int) -> float:
    """Return s of N(0, s^2 I), the Laplace approximation of a symmetric Dirichlet(alpha) in the softmax basis.

    s^2 = (1 - 2/T) / alpha + (1/T^2) sum_i 1 / alpha = (1 - 1/T) / alpha (Hennig et al. 2012; Srivastava &
    Sutton 2017). For T = 1, where the formula gives 0, s is 1: there is nothing to infer.

    Examples:
        >>> round(laplace_scale(concentration=0.1, topics=50) ** 2, 4)  # (1 - 1/50) / 0.1
        9.8
    """
    return math.sqrt((1 - 1 / topics) / concentration) if topics > 1 else 1.0


def diversity(beta: Tensor) -> Tensor:
    """Return R = mean(a) - var(a) in radians, a(i,j) the angle between beta_i and beta_j (Xie et al. 2015).

    Zero for a single topic.

    Examples:
        Topics without a common word are at right angles:

        >>> import torch
        >>> round(diversity(torch.eye(3)).item(), 4)  # pi / 2
        1.5708
    """
    pairs = torch.triu_indices(len(beta), len(beta), offset=1, device=beta.device)
    if pairs.shape[1] == 0:
        return beta.new_zeros(())
    with torch.autocast(beta.device.type, enabled=False):  # in bfloat16 a cosine near 1 has no finite gradient
        products = beta.float() @ beta.float().T
        length = products.diagonal().sqrt()
        cosine = products[pairs[0], pairs[1]] / (length[pairs[0]] * length[pairs[1]])
        angle = torch.arccos(cosine.clamp(max=1 - 1e-6))  # arccos has an infinite slope at 1
    return angle.mean() - angle.var(correction=0)

"""Topic guidance: sentences for a topic, a mixture or a document (Wang et al. 2019, arXiv 1903.07137).

Shape legend: N sentences, T topics, Z latent, D bag-of-words vocabulary.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tgvae.data.bow import BagOfWords, count_words
from tgvae.distributions import GaussianMixture
from tgvae.errors import UserError, closest
from tgvae.generation.decode import DecodeSettings
from tgvae.models.base import TextModel
from tgvae.models.text_generation import Sentence
from tgvae.models.topic import MixtureTopics
from tgvae.models.topic_prior import TopicPrior
from tgvae.random import make_generator

MAX_WEIGHT = 1e30  # of a topic in a mixture: the sum must be finite in float32
MAX_SUGGESTIONS = 5  # unknown words for which a similar topic word is suggested


class TopicInference(TextModel):
    """Abstract: a model with topics, which are named by number or by words and inferred from texts."""

    topic: MixtureTopics

    def one_hot_topic(self, topic: int | str) -> Tensor:
        """Return proportions (T,) that are 1 for one topic, given by number or by words."""
        number = topic if isinstance(topic, int) else self.find_topic(topic)
        return self.normalized_mixture({number: 1.0})

    def normalized_mixture(self, mixture: Mapping[int, float]) -> Tensor:
        """Return proportions (T,) from weights by topic number; they need not sum to 1."""
        weights = torch.zeros(self.topic.size, device=self.device)
        for number, weight in mixture.items():
            if not 0 <= number < len(weights):
                raise UserError(f"no topic {number}: this model has topics 0 to {len(weights) - 1}")
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

    @torch.no_grad()
    def topics_of(self, text: str) -> Tensor:
        """Return the topic proportions (T,) of a text."""
        self._known_words(text)
        return self.topic(self.counts([text]))[0]

    def counts(self, texts: Sequence[str]) -> BagOfWords:
        """Return the bags of words of texts, (N, D)."""
        return self.bags([self.vocabulary.encode_text(text) for text in texts])

    def bags(self, documents: Sequence[Sequence[int]]) -> BagOfWords:
        """Return the bags of words of documents given as ids of topic words, (N, D)."""
        return BagOfWords.of(count_words(documents, len(self.vocabulary))).to(self.device)

    @torch.no_grad()
    def prior_topic_proportions(self) -> Tensor:
        """Return the mean topic proportions (T,) of the prior, softmax(W g + b) with g ~ N(0, I), by Monte Carlo."""
        g = torch.randn(1000, self.topic.size, generator=make_generator(0))
        return self.topic.proportions(g.to(self.device)).mean(0)

    def _known_words(self, text: str) -> list[int]:
        ids = self.vocabulary.encode_text(text)
        if not ids:
            known = (closest(word, self.vocabulary.words) for word in text.split()[:MAX_SUGGESTIONS])
            near = ", ".join(dict.fromkeys(word for word in known if word is not None))
            hint = f"did you mean {near}?" if near else "try other words"
            raise UserError(f"none of the words of {text[:60]!r} is in the topic vocabulary; {hint}")
        return ids


class TopicPriorModel(TopicInference):
    """Abstract: a model whose prior of z has a component per topic."""

    component: TopicPrior

    def prior(self, t: Tensor) -> GaussianMixture:
        """Return p(z | t) for topic proportions with shape (..., T)."""
        return self.component.mixture(t, self.topic.log_beta.exp())


class TopicGuidedGenerator(TopicInference):
    """Abstract: a model that generates sentences from latents sampled for topics."""

    @torch.no_grad()
    def generate(
        self,
        topic: int | str | None = None,
        *,
        mixture: Mapping[int, float] | None = None,
        like: str | None = None,
        num: int = 5,
        strength: float = 1.0,
        settings: DecodeSettings | None = None,
        seed: int = 0,
    ) -> list[Sentence]:
        """Generate sentences for a topic, a mixture of topics or a document; by default from the prior of topics.

        Args:
            topic: its number, or words that describe it ("war army").
            mixture: weights of topics by number; they need not sum to 1.
            like: a text whose topic proportions are used.
            num: number of sentences.
            strength: distance of z from the mean of the prior, relative to the prior's: above 1 sentences are more
                typical of the topic, below 1 less.
            settings: decoding; plain sampling by default.
            seed: the same seed gives the same sentences.

        Raises:
            UserError: more than one of topic, mixture and like, an unknown topic, or a text without topic words.
        """
        if num < 1:
            raise UserError(f"num must be at least 1, not {num}")
        weights = self.requested_topics(topic, mixture, like)
        generator = make_generator(seed, self.device)
        return self.write(self.sample_latents(weights.expand(num, -1), strength, generator), settings, generator)

    @torch.no_grad()
    def requested_topics(
        self, topic: int | str | None = None, mixture: Mapping[int, float] | None = None, like: str | None = None
    ) -> Tensor:
        """Topic proportions (T,) of a request, see ``generate``; those of the prior if nothing is given."""
        if sum(x is not None for x in (topic, mixture, like)) > 1:
            raise UserError("give one of topic, mixture and like, not several")
        if topic is not None:
            return self.one_hot_topic(topic)
        if mixture is not None:
            return self.normalized_mixture(mixture)
        return self.topics_of(like) if like is not None else self.prior_topic_proportions()

    @abstractmethod
    def sample_latents(
        self, weights: Tensor, strength: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return a latent (N, Z) for each row of topic proportions (N, T); ``generator`` as in ``write``."""

    @abstractmethod
    def write(
        self, z: Tensor, settings: DecodeSettings | None = None, generator: torch.Generator | None = None
    ) -> list[Sentence]:
        """Generate a sentence for each latent, with shape (N, Z)."""

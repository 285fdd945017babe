"""Topic guidance: sentences for a topic, a mixture or a document (Wang et al. 2019, arXiv 1903.07137).

Shape legend: N sentences, T topics, Z latent, D bag-of-words vocabulary.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from tgvae.distributions import GaussianMixture
from tgvae.errors import UserError
from tgvae.generation.decode import DecodeSettings
from tgvae.models.text_generation import Sentence
from tgvae.models.topic import Mixture, MixtureTopics, TopicInference
from tgvae.models.topic_prior import TopicPrior
from tgvae.random import make_generator


class TopicPriorModel(TopicInference):
    """Abstract: a model whose prior of z has a component per topic."""

    topic: MixtureTopics
    component: TopicPrior

    def prior(self, t: Tensor) -> GaussianMixture:
        """Return p(z | t) for topic proportions with shape (..., T)."""
        return self.component.mixture(t, self.topic.log_beta.exp())


class TopicGuidedGenerator(TopicInference):
    """Abstract: a model that generates sentences from latents sampled for topics."""

    topic: MixtureTopics

    @torch.no_grad()
    def generate(
        self,
        topic: int | str | None = None,
        *,
        mixture: Mixture | None = None,
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
        self, topic: int | str | None = None, mixture: Mixture | None = None, like: str | None = None
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

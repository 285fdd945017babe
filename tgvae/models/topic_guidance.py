"""Steering: from a topic, a mixture or a document to sentences (Wang et al. 2019, arXiv 1903.07137).

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

LARGEST = 1e30
"""Weight of a topic in a mixture, so that the sum is finite in 32 bits."""
WORDS = 5
"""Unknown words for which a known one is looked for."""


class TopicInference(TextModel):
    """Abstract: a model with topics that can be named by number or words, and found in a text."""

    topic: MixtureTopics

    def one_hot_topic(self, topic: int | str) -> Tensor:
        """Proportions (T,) that are one for a topic, given by number or by words."""
        number = topic if isinstance(topic, int) else self.find_topic(topic)
        return self.normalized_mixture({number: 1.0})

    def normalized_mixture(self, mixture: Mapping[int, float]) -> Tensor:
        """Proportions (T,) of the topics by number."""
        weights = torch.zeros(self.topic.size, device=self.device)
        for number, weight in mixture.items():
            if not 0 <= number < len(weights):
                raise UserError(f"no topic {number}: this model has topics 0 to {len(weights) - 1}")
            if not 0 <= weight <= LARGEST:
                raise UserError(f"the weight of topic {number} is {weight}; give a number from 0 to {LARGEST:g}")
            weights[number] = weight
        if weights.sum() == 0:
            raise UserError("the mixture gives every topic the weight 0")
        return weights / weights.sum()

    @torch.no_grad()
    def find_topic(self, words: str) -> int:
        """The topic most probable given these words, all topics being equal beforehand."""
        ids = self._known_words(words)
        return int(self.topic.log_beta[:, ids].sum(-1).argmax())

    @torch.no_grad()
    def topics_of(self, text: str) -> Tensor:
        """Topic proportions (T,) of a text."""
        self._known_words(text)
        return self.topic(self.counts([text]))[0]

    def counts(self, texts: Sequence[str]) -> BagOfWords:
        """BagOfWords of words of texts, (N, D)."""
        return self.bags([self.vocabulary.encode_text(text) for text in texts])

    def bags(self, documents: Sequence[Sequence[int]]) -> BagOfWords:
        """BagOfWords of words of documents given as ids of topic words, (N, D)."""
        return BagOfWords.of(count_words(documents, len(self.vocabulary))).to(self.device)

    @torch.no_grad()
    def prior_topic_proportions(self) -> Tensor:
        """Topic proportions (T,) of the prior: the mean of softmax(W g + b) over g ~ N(0, I)."""
        g = torch.randn(1000, self.topic.size, generator=make_generator(0))
        return self.topic.proportions(g.to(self.device)).mean(0)

    def _known_words(self, text: str) -> list[int]:
        ids = self.vocabulary.encode_text(text)
        if not ids:
            known = (closest(word, self.vocabulary.words) for word in text.split()[:WORDS])
            near = ", ".join(dict.fromkeys(word for word in known if word is not None))
            hint = f"did you mean {near}?" if near else "try other words"
            raise UserError(f"none of the words of {text[:60]!r} is in the topic vocabulary; {hint}")
        return ids


class TopicPriorModel(TopicInference):
    """Abstract: a model whose latent z has a component for every topic."""

    component: TopicPrior

    def prior(self, t: Tensor) -> GaussianMixture:
        """Return p(z | t) for topic proportions with shape (..., T)."""
        return self.component.mixture(t, self.topic.log_beta.exp())


class TopicGuidedGenerator(TopicInference):
    """Abstract: a writer whose latents are drawn from topics."""

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
        """Sentences on a topic, on a mixture of topics, or like a document; of any topic when none is given.

        Args:
            topic: its number, or words that it is about ("war army").
            mixture: weights of topics by number; they need not sum to one.
            like: a text, whose topic proportions are used.
            num: how many sentences.
            strength: how far z moves from what is common to all topics: 1 is the model's own prior, more
                makes sentences more typical of the topic, less makes them blander.
            settings: decoding; plain sampling by default.
            seed: the same seed gives the same sentences.

        Raises:
            UserError: more than one way is given, no such topic, or a text without topic words.
        """
        if sum(x is not None for x in (topic, mixture, like)) > 1:
            raise UserError("give one of topic, mixture and like, not several")
        if num < 1:
            raise UserError(f"num must be at least 1, not {num}")
        if topic is not None:
            weights = self.one_hot_topic(topic)
        elif mixture is not None:
            weights = self.normalized_mixture(mixture)
        else:
            weights = self.topics_of(like) if like is not None else self.prior_topic_proportions()
        generator = make_generator(seed, self.device)
        return self.write(self.draw(weights.expand(num, -1), strength, generator), settings, generator)

    @abstractmethod
    def draw(self, weights: Tensor, strength: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """A latent for every row of topic proportions (N, T), with shape (N, Z). ``generator`` as in ``write``."""

    @abstractmethod
    def write(
        self, z: Tensor, settings: DecodeSettings | None = None, generator: torch.Generator | None = None
    ) -> list[Sentence]:
        """A sentence for every latent, with shape (N, Z)."""

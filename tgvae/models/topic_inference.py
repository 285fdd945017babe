"""Topics of texts: topic proportions, and topics named by number or by words.

Shape legend: N texts, T topics, D bag-of-words vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tgvae.data.bow import BagOfWords, count_words
from tgvae.errors import UserError, closest
from tgvae.models.base import TextModel
from tgvae.random import make_generator

if TYPE_CHECKING:
    from tgvae.models.topic import TopicNetwork

Mixture = Mapping[int, float] | Mapping[str, float]
"""Weights of topics by number; the numbers may be strings, as the keys of JSON objects are."""
MAX_WEIGHT = 1e30  # of a topic in a mixture: the sum must be finite in float32
MAX_SUGGESTIONS = 5  # unknown words for which a similar topic word is suggested
BATCH = 256  # texts whose bags of words are in memory at a time


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

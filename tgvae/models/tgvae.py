"""The topic-guided VAE (Wang et al. 2019, arXiv 1903.07137).

    p(d | t) from the topic model,   p(z | t) = sum_i t_i N(z; mu(beta_i), diag sigma^2(beta_i)),   p(y | z)

The topic loss reads the whole document, but the t that conditions a sentence is inferred from the document *without*
that sentence, in training and evaluation: otherwise the perplexity would be that of a sentence already seen. Prior and
posterior of z are in ``topic_prior.py``.

Shape legend: S samples, B sentences, U documents, T topics, Z latent, D bag-of-words vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from tgvae.config_io import require_range
from tgvae.data.batch import Batch, Documents
from tgvae.data.tokenizers import SentenceTokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.distributions import GaussianMixture
from tgvae.models.base import Capability, add_noise
from tgvae.models.consistency import relaxed_bags, token_words, topic_consistency
from tgvae.models.sentence import LatentSentenceModel, SentenceConfig, SentenceNetwork
from tgvae.models.text_generation import read
from tgvae.models.topic import MixtureTopics, TopicConfig
from tgvae.models.topic_guidance import TopicGuidedGenerator, TopicPriorModel
from tgvae.models.topic_prior import PriorKind, TopicPrior
from tgvae.trace import Observed, Trace


@dataclass(frozen=True)
class TGVAEConfig:
    """Settings of the joint model.

    Attributes:
        topic: settings of the topic model.
        sentence: settings of the sentence model.
        prior: how the KL to the topic mixture is taken: with a latent ``component``, or for a single z against the
            whole mixture by ``jensen``, ``variational`` or ``monte_carlo``.
        evidence_weight: weight of the sentence's own words in q(c | y, d), for ``component``.
        backprop_to_topics: let the sentence loss change the topics; by default its gradient stops at t and beta.
        consistency_sentences: sentences generated per batch for the term ``aux/consistency``; 0 omits it.
        straight_through: relaxed samples are one-hot in the forward pass (always so in evaluation).

    Raises:
        UserError: a negative weight or number of sentences.
    """

    topic: TopicConfig = field(default_factory=TopicConfig)
    sentence: SentenceConfig = field(default_factory=SentenceConfig)
    prior: PriorKind = "component"
    evidence_weight: float = 1.0
    backprop_to_topics: bool = False
    consistency_sentences: int = 0
    straight_through: bool = True

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "evidence_weight", "consistency_sentences")


class TGVAE(TopicPriorModel, LatentSentenceModel, TopicGuidedGenerator):
    """Topic model and sentence VAE, trained jointly.

    Examples:
        An untrained model; load a trained one with ``TGVAE.from_pretrained(RUN)``:

        >>> from tgvae.data.tokenizers import WordTokenizer
        >>> from tgvae.data.vocabulary import TopicVocabulary
        >>> from tgvae.models.topic import TopicConfig
        >>> words = WordTokenizer(["the", "army", "won", "school", "began"])
        >>> config, topical = TGVAEConfig(TopicConfig(topics=2)), TopicVocabulary(["army", "school"])
        >>> model = TGVAE(config, words, topical).eval()
        >>> on_topic = model.generate(topic="army", num=3, strength=1.5, seed=1)
        >>> len(on_topic), on_topic == model.generate(topic="army", num=3, strength=1.5, seed=1)
        (3, True)
        >>> model.normalized_mixture({0: 3, 1: 1}).tolist()  # weights need not sum to one
        [0.75, 0.25]
    """

    token_words: Tensor
    sentence: SentenceNetwork

    kind = "tgvae"
    units = ("document", "sentence")
    supports_denoising = True
    config_class = TGVAEConfig

    @classmethod
    def capabilities_of(cls, config: TGVAEConfig) -> frozenset[Capability]:
        return frozenset({Capability.TOPICS, Capability.GENERATION, Capability.LATENT, Capability.GUIDANCE})

    def __init__(self, config: TGVAEConfig, tokenizer: SentenceTokenizer, vocabulary: TopicVocabulary) -> None:
        super().__init__(config, tokenizer, vocabulary)
        self.topic = MixtureTopics(config.topic, len(vocabulary))
        self.sentence = SentenceNetwork(config.sentence, tokenizer)
        self.register_buffer("token_words", token_words(tokenizer, vocabulary), persistent=False)
        self.component = TopicPrior(
            len(vocabulary),
            config.sentence.latent_size,
            kind=config.prior,
            evidence_weight=config.evidence_weight,
            backprop_to_topics=config.backprop_to_topics,
            straight_through=config.straight_through,
        )

    def trace(
        self, batch: Batch | Documents, samples: int = 1, temperature: float = 1.0, latent_noise: float = 0.0
    ) -> Trace:
        """Return the topic model's terms for documents alone, and those of both models for sentences."""
        if isinstance(batch, Documents):
            return self.topic.trace(batch, samples)
        topics, words = self.topic.trace_with_words(batch.documents, samples)
        g = self.topic.posterior(batch.context).rsample((samples,))
        prior = self.component.mixture(self.topic.proportions(g), words.beta)
        posterior = partial(self.sentence.posterior, *batch.encoder_inputs)
        latents = self.component.latents(prior, words.log_beta, batch.sentence_bow, posterior, temperature)
        z = add_noise(latents["z"].z, latent_noise)
        y = Observed(self.sentence.likelihood(batch.inputs, z), batch.targets, "sentence")
        aux = dict(topics.aux)
        if self.training and self.config.consistency_sentences:
            aux["consistency"] = self._consistency(batch, prior, temperature)
        return Trace(topics.latents | latents, topics.observed | {"tokens": y}, aux)

    def _consistency(self, batch: Batch, prior: GaussianMixture, temperature: float) -> Tensor:
        """Return the consistency loss of sentences generated for random topics, as long as those of the batch."""
        topics = self.topic.size
        asked = torch.randint(topics, (self.config.consistency_sentences,), device=self.device)
        z = prior.given(F.one_hot(asked, topics).float()).rsample()
        bags = relaxed_bags(
            self.sentence.decoder,
            z,
            self.token_words,
            len(self.vocabulary),
            bos_id=self.tokenizer.bos_id,
            eos_id=self.tokenizer.eos_id,
            length=batch.targets.shape[1],
            temperature=temperature,
            hard=self.config.straight_through,
        )
        return topic_consistency(self.topic, bags, asked)

    @torch.no_grad()
    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Return posterior means with shape (B, Z) of sentences without a document: t is the prior's mean."""
        posterior = partial(self.sentence.posterior, *read(self.tokenizer, sentences, self.device))
        prior = self.prior(self.prior_topic_proportions())
        return self.component.posterior_mean(prior, self.topic.log_beta, self.counts(sentences), posterior)

    @torch.no_grad()
    def sample_latents(
        self, weights: Tensor, strength: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return m + strength (z - m) with z ~ p(z | t), m the mean of the prior over all documents."""
        mean = self.prior(self.prior_topic_proportions()).mean
        return torch.lerp(mean, self.prior(weights).sample(generator=generator), strength)

"""Summarizer: a sequence-to-sequence model with attention, a copy gate, a latent and a topic model.

    log p(y | x) >= E_q[log p(y | x, z)] - KL(q(z | x) || p(z | t))

q(z | x) depends on the document x alone, so training and use share one network. t is that of the whole document, which
does not contain the summary. Prior and posterior of z are in ``topic_prior.py``. With the kind ``component`` the
summary's words assign c in training, so c says which of the document's topics the summary is about. Without that
evidence the decoder, which sees the document, learns to ignore z, and guidance by a topic has no effect.

Shape legend: S samples, B documents, N source tokens, L summary tokens, T topics, Z latent, F source features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from tgvae.config_io import require_range
from tgvae.data.batch import Batch, Documents, PairBatch
from tgvae.data.bow import BagOfWords
from tgvae.data.corpus import Corpus
from tgvae.data.pairs import Pairs, Target
from tgvae.data.tokenizers import SentenceTokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.distributions import GaussianMixture, standard_normal
from tgvae.errors import UserError
from tgvae.models.base import Capability
from tgvae.models.sentence import SentenceConfig, token_embedding
from tgvae.models.summarization import SummaryGenerator, SummaryRequest, TopicGuide
from tgvae.models.topic import MixtureTopics, TopicConfig, TopicMixture
from tgvae.models.topic_prior import PriorKind, TopicPrior
from tgvae.nn.attention import coverage_loss
from tgvae.nn.gru import GRUEncoder, drop_words
from tgvae.nn.heads import HouseholderHead
from tgvae.nn.pointer_generator import PointerGeneratorDecoder, Source
from tgvae.random import make_generator
from tgvae.trace import Latent, Observed, Trace


@dataclass(frozen=True)
class SummarizerConfig:
    """Settings of the summarizer.

    Attributes:
        topic: settings of the topic model.
        sentence: sizes of encoder and decoder, as those of a sentence VAE.
        latent: ``topics``: z with the topic mixture as prior; ``normal``: z with N(0, I); ``none``: no z.
        prior: how the KL to the topic mixture is taken: with a latent ``component``, or for a single z against the
            whole mixture by ``jensen``, ``variational`` or ``monte_carlo``.
        evidence_weight: weight of the summary's own words in q(c | y, d), for ``component``.
        backprop_to_topics: let the summary's loss change the topics; by default its gradient stops at t and beta.
        copy: let the decoder copy words of the document.
        coverage: add the loss ``aux/coverage`` on repeated attention to one position.
        target: what to generate: the ``summary`` of a document, its ``title``, or ``auto``, whichever more training
            documents have.
        source_tokens: tokens after which a document is cut.
    """

    topic: TopicConfig = field(default_factory=TopicConfig)
    sentence: SentenceConfig = field(default_factory=SentenceConfig)
    latent: Literal["topics", "normal", "none"] = "topics"
    prior: PriorKind = "component"
    evidence_weight: float = 1.0
    backprop_to_topics: bool = False
    copy: bool = True
    coverage: bool = False
    target: Target = "auto"
    source_tokens: int = 400

    def __post_init__(self) -> None:
        require_range(self, 1, math.inf, "source_tokens")
        require_range(self, 0, math.inf, "evidence_weight")
        if not self.sentence.bidirectional:
            raise UserError("a summarizer needs a bidirectional encoder: leave sentence.bidirectional at its default")
        if self.sentence.softmax != "full":
            raise UserError("a summarizer needs the full softmax to copy words: leave sentence.softmax at its default")


class Summarizer(SummaryGenerator):
    """Generates the summary or title of a document (See et al. 2017, with the latent of Wang et al. 2019).

    Examples:
        An untrained model; load a trained one with ``Summarizer.from_pretrained(RUN)``:

        >>> from tgvae.data.tokenizers import WordTokenizer
        >>> from tgvae.data.vocabulary import TopicVocabulary
        >>> from tgvae.models.topic import TopicConfig
        >>> config, words = SummarizerConfig(TopicConfig(topics=2)), WordTokenizer(["the", "army", "won"])
        >>> model = Summarizer(config, words, TopicVocabulary(["army"])).eval()
        >>> texts = ["The army of Zog won.", ""]
        >>> [len(found) for found in model.summarize(texts, num=2)]  # an empty text has none
        [2, 0]
    """

    kind = "summarizer"
    units = ("document", "sentence")
    config_class = SummarizerConfig

    @classmethod
    def capabilities_of(cls, config: SummarizerConfig) -> frozenset[Capability]:
        return frozenset({Capability.SUMMARIES} | ({Capability.TOPICS} if config.latent == "topics" else set()))

    def __init__(self, config: SummarizerConfig, tokenizer: SentenceTokenizer, vocabulary: TopicVocabulary) -> None:
        super().__init__(config, tokenizer, vocabulary)
        sizes, features = config.sentence, 2 * config.sentence.hidden_size
        latent = sizes.latent_size if config.latent != "none" else 0
        embedding = token_embedding(tokenizer, sizes.embedding_size)
        self.encoder = GRUEncoder(sizes.embedding_size, sizes.hidden_size)
        self.decoder = PointerGeneratorDecoder(
            embedding, features, sizes.hidden_size, latent, sizes.dropout, unk_id=tokenizer.unk_id, copy=config.copy
        )
        if latent:
            self.head = HouseholderHead(features, latent, sizes.flow_length)
        if self.guided:
            self.topic = MixtureTopics(config.topic, len(vocabulary))
            self.component = TopicPrior(
                len(vocabulary),
                latent,
                kind=config.prior,
                evidence_weight=config.evidence_weight,
                backprop_to_topics=config.backprop_to_topics,
            )

    @property
    def guided(self) -> bool:
        return self.config.latent == "topics"

    @property
    def stochastic(self) -> bool:
        return self.config.latent != "none"

    def examples(self, split: Corpus) -> Pairs:
        """Return the documents and summaries of a split as this model reads them."""
        return Pairs(split, self.config.target, self.config.source_tokens)

    def read(self, ids: Tensor, lengths: Tensor) -> Source:
        states = self.encoder.states(self.decoder.embed(ids), lengths)
        forwards, backwards = states.chunk(2, dim=-1)
        last = forwards[torch.arange(len(ids), device=ids.device), lengths - 1]
        final = torch.cat((last, backwards[:, 0]), dim=-1)
        return Source(self.decoder.attention.memory(states, lengths), final, ids)

    def trace(
        self, batch: Batch | Documents, samples: int = 1, temperature: float = 1.0, latent_noise: float = 0.0
    ) -> Trace:
        """Return the topic model's terms for documents alone, and those of both models for pairs."""
        if isinstance(batch, Documents):
            self.require_topics()
            return self.topic.trace(batch, samples)
        if not isinstance(batch, PairBatch):
            raise UserError("a summarizer reads documents with summaries: draw batches from its `examples(corpus)`")
        topics, words = self.topic.trace_with_words(batch.documents, samples) if self.guided else (Trace(), None)
        source = self.read(batch.source, batch.source_lengths)
        latents = self._latents(source, words, batch.sentence_bow, samples, temperature)
        z = latents["z"].z if latents else source.final.new_zeros(1, len(batch.lengths), 0)
        likelihood = self.decoder(self._hidden(batch.inputs), z, source)
        targets = batch.targets if self.config.copy else self.decoder.within(batch.targets)
        observed = {"tokens": Observed(likelihood, targets, "sentence")}
        real = batch.targets != self.tokenizer.pad_id
        aux = {"coverage": coverage_loss(likelihood.attention, real).mean(0)} if self.config.coverage else {}
        return Trace(topics.latents | latents, topics.observed | observed, topics.aux | aux)

    def _latents(
        self, source: Source, words: TopicMixture | None, own: BagOfWords, samples: int, temperature: float
    ) -> dict[str, Latent]:
        if words is not None:
            prior = self.component.mixture(words.t, words.beta)
            return self.component.latents(prior, words.log_beta, own, partial(self.head, source.final), temperature)
        if not self.stochastic:
            return {}
        q = self.head(source.final)
        prior_z = standard_normal(self.config.sentence.latent_size, self.device)
        return {"z": Latent(q, prior_z, q.rsample((samples,)), "sentence")}

    def sample_latents(self, source: Source, proportions: Tensor | None, request: SummaryRequest) -> Tensor:
        if not self.stochastic:
            return source.final.new_zeros(request.num, len(source.final), 0)
        draws = make_generator(request.seed)
        noise = torch.randn(request.num, 1, self.config.sentence.latent_size, generator=draws).to(self.device)
        noise[0] = 0
        if proportions is None:
            return self.head(source.final).place(noise)
        prior, guide = self.prior(proportions), request.guide
        if self.config.prior == "component":
            centre = self._choose(prior, request.num, draws) if guide is None else self._guided_centre(prior, guide)
            return self.head(source.final, centre).place(noise)
        pull = 0.0 if guide is None else guide.strength * (prior.loc[guide.topic] - prior.mean)
        return self.head(source.final).place(noise) + pull

    def _choose(self, prior: GaussianMixture, num: int, draws: torch.Generator) -> Tensor:
        """Return mu_c with shape (K, B, Z): c is the main topic first, then sampled from t by inversion."""
        places = torch.rand(num, 1, 1, generator=draws).to(self.device)
        c = (prior.weights.cumsum(-1) < places).sum(-1).clamp_max(len(prior.loc) - 1)
        c[0] = prior.weights.argmax(-1)
        return prior.loc[c]

    def _guided_centre(self, prior: GaussianMixture, guide: TopicGuide) -> Tensor:
        """Return m + strength (mu_c - m) with shape (B, Z), m the mean of the document's mixture."""
        return torch.lerp(prior.mean, prior.loc[guide.topic], guide.strength)

    def _hidden(self, inputs: Tensor) -> Tensor:
        """Return the decoder's inputs, with word dropout in training."""
        return drop_words(inputs, self.config.sentence.word_dropout, self.tokenizer.unk_id) if self.training else inputs

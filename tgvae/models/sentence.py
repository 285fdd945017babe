"""Sentence VAE and the plain GRU language model (Bowman et al. 2016, arXiv 1511.06349).

Shape legend: S samples, B sentences, L tokens, E embedding, H hidden, Z latent, K flow length.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from tgvae.config_io import require_range
from tgvae.data.batch import Batch, Documents
from tgvae.data.tokenizers import SentenceTokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.distributions import HouseholderNormal, SequenceDistribution, TokenSequence, standard_normal
from tgvae.generation.decode import DecodeSettings
from tgvae.models.base import Capability, TextModel, add_noise
from tgvae.models.text_generation import Sentence, interpolate, read, write
from tgvae.nn.decoder import Decoder
from tgvae.nn.dropout import Dropout
from tgvae.nn.gru import GRUDecoder, GRUEncoder, drop_words
from tgvae.nn.heads import HouseholderHead
from tgvae.random import make_generator
from tgvae.trace import Latent, Observed, Trace

MAX_REFLECTIONS = 100


@dataclass(frozen=True)
class SentenceConfig:
    """Sizes of the sentence model.

    Attributes:
        embedding_size: E, shared by encoder, decoder and output layer.
        hidden_size: H of the decoder and of each direction of the encoder.
        latent_size: Z.
        flow_length: K Householder reflections; 0 is the diagonal posterior.
        dropout: of the decoder's inputs and states.
        word_dropout: share of the decoder's input words replaced by unk in training (Bowman et al. 2016).
        bidirectional: encoder in both directions, or forward only, in half the time.
        softmax: ``full``, or ``adaptive`` in clusters of words: another normalised model, much faster to train with a
            large vocabulary. It is efficient if ids are in order of frequency, as those of both tokenizers are.

    Raises:
        UserError: a size below 1, more than 100 reflections, or a dropout outside [0, 1).
    """

    embedding_size: int = 128
    hidden_size: int = 200
    latent_size: int = 32
    flow_length: int = 5
    dropout: float = 0.3
    word_dropout: float = 0.0
    bidirectional: bool = True
    softmax: Literal["full", "adaptive"] = "full"

    def __post_init__(self) -> None:
        require_range(self, 1, math.inf, "embedding_size", "hidden_size", "latent_size")
        require_range(self, 0, MAX_REFLECTIONS + 1, "flow_length")
        require_range(self, 0, 1, "dropout", "word_dropout")


class SentencePart(Protocol):
    """Encoder and decoder of sentences, without a prior of z."""

    @property
    def decoder(self) -> Decoder[Any]: ...

    @property
    def latent_size(self) -> int: ...

    def posterior(self, tokens: Tensor, lengths: Tensor, centre: Tensor | None = None) -> HouseholderNormal:
        """Return q(z | y) of padded tokens (B, L), shifted by ``centre`` with shape (..., B, Z)."""
        ...

    def likelihood(self, inputs: Tensor, z: Tensor) -> SequenceDistribution:
        """Return p(y | z) by teacher forcing, see ``Decoder``."""
        ...


class SentenceNetwork(nn.Module):
    """The GRU encoder and decoder that the sentence VAE and TGVAE share; they differ only in the prior."""

    def __init__(self, config: SentenceConfig, tokenizer: SentenceTokenizer) -> None:
        super().__init__()
        self.unk_id, self.word_dropout = tokenizer.unk_id, config.word_dropout
        self.latent_size = config.latent_size
        embedding, adaptive = token_embedding(tokenizer, config.embedding_size), config.softmax == "adaptive"
        self.encoder = GRUEncoder(config.embedding_size, config.hidden_size, config.bidirectional)
        self.head = HouseholderHead(self.encoder.features, config.latent_size, config.flow_length)
        self.decoder = GRUDecoder(embedding, config.hidden_size, config.latent_size, config.dropout, adaptive)
        self.dropout = Dropout(config.dropout)

    def posterior(self, tokens: Tensor, lengths: Tensor, centre: Tensor | None = None) -> HouseholderNormal:
        return self.head(self.encoder(self.dropout(self.decoder.embedding(tokens)), lengths), centre)

    def likelihood(self, inputs: Tensor, z: Tensor) -> TokenSequence:
        hidden = drop_words(inputs, self.word_dropout, self.unk_id) if self.training else inputs
        return self.decoder(hidden, z)


class LatentSentenceModel(TextModel):
    """Abstract: a model that generates sentences from a latent z and infers the z of a sentence."""

    sentence: SentencePart

    @abstractmethod
    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Return posterior means with shape (B, Z) of sentences without context."""

    @torch.no_grad()
    def write(
        self, z: Tensor, settings: DecodeSettings | None = None, generator: torch.Generator | None = None
    ) -> list[Sentence]:
        """Generate a sentence for each row of z with shape (N, Z).

        Args:
            z: latents.
            settings: decoding; plain sampling by default.
            generator: on the device of the model; None is torch's global one, which all threads share.
        """
        return write(self.sentence.decoder, self.tokenizer, z, settings or DecodeSettings(), generator)

    def reconstruct(
        self, sentences: Sequence[str], settings: DecodeSettings | None = None, seed: int = 0
    ) -> list[Sentence]:
        """Decode the posterior mean of each sentence."""
        return self.write(self.encode(sentences), settings, make_generator(seed, self.device))

    def interpolate(
        self,
        start: str,
        end: str,
        steps: int = 7,
        settings: DecodeSettings | None = None,
        seed: int = 0,
    ) -> list[Sentence]:
        """Decode points on the straight line between the latents of two sentences."""
        a, b = self.encode([start, end])
        return self.write(interpolate(a, b, steps), settings, make_generator(seed, self.device))


class SentenceVAE(LatentSentenceModel):
    """p(z) = N(0, I), p(y | z) a GRU, q(z | y) diagonal Gaussian or Householder (Bowman et al. 2016).

    Examples:
        An untrained model:

        >>> from tgvae.data.tokenizers import WordTokenizer
        >>> from tgvae.data.vocabulary import TopicVocabulary
        >>> words = WordTokenizer(["the", "army", "won"])
        >>> model = SentenceVAE(SentenceConfig(flow_length=0), words, TopicVocabulary([])).eval()
        >>> model.encode(["The army won", "The army"]).shape
        torch.Size([2, 32])
        >>> len(model.interpolate("The army won", "The army", steps=4))
        4
    """

    sentence: SentenceNetwork
    kind = "sentence-vae"
    units = ("sentence",)
    supports_denoising = True
    config_class = SentenceConfig

    @classmethod
    def capabilities_of(cls, config: SentenceConfig) -> frozenset[Capability]:
        return frozenset({Capability.GENERATION, Capability.LATENT})

    def __init__(self, config: SentenceConfig, tokenizer: SentenceTokenizer, vocabulary: TopicVocabulary) -> None:
        super().__init__(config, tokenizer, vocabulary)
        self.sentence = SentenceNetwork(config, tokenizer)

    def prior(self) -> torch.distributions.Independent:
        return standard_normal(self.config.latent_size, self.device)

    def trace(
        self, batch: Batch | Documents, samples: int = 1, temperature: float = 1.0, latent_noise: float = 0.0
    ) -> Trace:
        assert isinstance(batch, Batch)
        q = self.sentence.posterior(*batch.encoder_inputs)
        z = q.rsample((samples,))
        y = self.sentence.likelihood(batch.inputs, add_noise(z, latent_noise))
        return Trace({"z": Latent(q, self.prior(), z, "sentence")}, {"tokens": Observed(y, batch.targets, "sentence")})

    @torch.no_grad()
    def encode(self, sentences: Sequence[str]) -> Tensor:
        return self.sentence.posterior(*read(self.tokenizer, sentences, self.device)).mean

    @torch.no_grad()
    def generate(self, num: int = 5, settings: DecodeSettings | None = None, seed: int = 0) -> list[Sentence]:
        """Generate ``num`` sentences from the prior."""
        generator = make_generator(seed, self.device)
        z = torch.randn(num, self.config.latent_size, generator=generator, device=self.device)
        return self.write(z, settings, generator)


class LanguageModel(TextModel):
    """The baseline: the same GRU decoder without a latent. Its only term is the exact ``nll/tokens``.

    Settings of the latent and ``word_dropout`` have no effect.

    Examples:
        An untrained model:

        >>> from tgvae.data.tokenizers import WordTokenizer
        >>> from tgvae.data.vocabulary import TopicVocabulary
        >>> from tgvae.generation.decode import DecodeSettings
        >>> words = WordTokenizer(["the", "army", "won"])
        >>> model = LanguageModel(SentenceConfig(), words, TopicVocabulary([])).eval()
        >>> sentences = model.generate(num=2, settings=DecodeSettings(min_length=2, max_length=3))
        >>> all(len(words.encode(sentence.text)) in (2, 3) for sentence in sentences)
        True
    """

    kind = "language-model"
    units = ("sentence",)
    config_class: ClassVar[type] = SentenceConfig
    decoder: Any

    @classmethod
    def capabilities_of(cls, config: SentenceConfig) -> frozenset[Capability]:
        return frozenset({Capability.GENERATION})

    def __init__(self, config: SentenceConfig, tokenizer: SentenceTokenizer, vocabulary: TopicVocabulary) -> None:
        super().__init__(config, tokenizer, vocabulary)
        embedding, adaptive = token_embedding(tokenizer, config.embedding_size), config.softmax == "adaptive"
        self.decoder = GRUDecoder(embedding, config.hidden_size, 0, config.dropout, adaptive)

    def trace(
        self, batch: Batch | Documents, samples: int = 1, temperature: float = 1.0, latent_noise: float = 0.0
    ) -> Trace:
        assert isinstance(batch, Batch)
        y = self.decoder(batch.inputs, torch.zeros(1, len(batch.lengths), 0, device=self.device))
        return Trace(observed={"tokens": Observed(y, batch.targets, "sentence")})

    @torch.no_grad()
    def known_log_prob(self, targets: Tensor) -> Tensor:
        """Return log p(y_m | y_<m, y_m is not unk) in nats with shape (B, L), for padded sentences with eos.

        It is 0 on padding and unk, so texts with and without unknown words can be compared.
        """
        first = targets.new_full((len(targets), 1), self.tokenizer.bos_id)
        inputs = torch.cat((first, targets[:, :-1]), dim=1)
        y = self.decoder(inputs, torch.zeros(1, len(targets), 0, device=self.device))
        known = (targets != self.tokenizer.pad_id) & (targets != self.tokenizer.unk_id)
        unk = y.token_log_prob(torch.where(known, self.tokenizer.unk_id, self.tokenizer.pad_id))[0]
        return torch.where(known, y.token_log_prob(targets)[0] - torch.log1p(-unk.exp()), 0.0)

    @torch.no_grad()
    def generate(self, num: int = 5, settings: DecodeSettings | None = None, seed: int = 0) -> list[Sentence]:
        """Generate ``num`` sentences."""
        no_latent = torch.zeros(num, 0, device=self.device)
        generator = make_generator(seed, self.device)
        return write(self.decoder, self.tokenizer, no_latent, settings or DecodeSettings(), generator)


def token_embedding(tokenizer: SentenceTokenizer, size: int) -> nn.Embedding:
    """Return a token embedding initialised at scale size^-1/2, so that tied logits start near zero."""
    embedding = nn.Embedding(len(tokenizer), size, padding_idx=tokenizer.pad_id)
    with torch.no_grad():
        embedding.weight.normal_(0, size**-0.5)
        embedding.weight[tokenizer.pad_id].zero_()
    return embedding

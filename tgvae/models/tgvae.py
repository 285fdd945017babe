"""The topic-guided VAE (Wang et al. 2019; MODEL.md 3 and 4).

    t from the document without the sentence,   p(z | t) = sum_i t_i N(z; mu(beta_i), diag sigma^2(beta_i))

The default prior treats the component as a latent of its own (MODEL.md 3, way 4):

    c ~ Cat(t),   p(z | c) = N(mu_c, diag sigma_c^2),   z = mu_c + U delta,   delta ~ N(delta(y), diag)
    q(c | y, d) ∝ t_c prod_{w in y} beta_{c,w}^evidence

so that a sentence belongs to the topic that its words speak of, by the topic model's own rule, and
components and topics agree by construction. ``evidence`` = 0 is q(c | d) = t.
Shape legend: S samples, B sentences, U documents, T topics, Z latent, D bag-of-words vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import OneHotCategorical

from tgvae.data.batch import Batch, Documents
from tgvae.data.tokenizers import SentenceTokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.distributions import GaussianMixture, gumbel_softmax
from tgvae.errors import UserError
from tgvae.generation.decode import DecodeSettings
from tgvae.models.consistency import relaxed_bags, token_words, topic_consistency
from tgvae.models.sentence import LatentWriter, SentenceConfig, SentenceCore
from tgvae.models.topic import TopicConfig, TopicCore
from tgvae.models.writing import Sentence, read
from tgvae.nn.heads import scale_of
from tgvae.trace import Latent, Observed, Trace


@dataclass(frozen=True)
class TGVAEConfig:
    """Settings of the joint model.

    Attributes:
        topic: the topic model's.
        sentence: the sentence model's.
        prior: how the KL to the topic mixture is taken: ``component`` (a latent c), or for one z against
            the whole mixture ``jensen``, ``variational``, ``monte_carlo``.
        evidence: weight of the sentence's own words in q(c | y, d), for ``component``.
        guide_topics: let the sentence's loss shape the topics; else its gradient into t and beta stops.
        consistency_sentences: sentences drawn a batch for the term ``aux/consistency``; 0 leaves it out.
        straight_through: relaxed draws are one-hot forward (they always are in evaluation).
    """

    topic: TopicConfig = field(default_factory=TopicConfig)
    sentence: SentenceConfig = field(default_factory=SentenceConfig)
    prior: Literal["component", "jensen", "variational", "monte_carlo"] = "component"
    evidence: float = 1.0
    guide_topics: bool = False
    consistency_sentences: int = 0
    straight_through: bool = True


class TGVAE(LatentWriter):
    """Topic model and sentence VAE trained as one."""

    token_words: Tensor

    kind = "tgvae"
    config_class = TGVAEConfig

    def __init__(self, config: TGVAEConfig, tokenizer: SentenceTokenizer, vocabulary: TopicVocabulary) -> None:
        super().__init__(config, tokenizer, vocabulary)
        latent = config.sentence.latent_size
        self.topic = TopicCore(config.topic, len(vocabulary))
        self.sentence = SentenceCore(config.sentence, tokenizer)
        self.register_buffer("token_words", token_words(tokenizer, vocabulary), persistent=False)
        self.component = nn.Sequential(
            nn.Linear(len(vocabulary), latent * 4), nn.Tanh(), nn.Linear(latent * 4, latent * 2)
        )

    def components(self) -> tuple[Tensor, Tensor]:
        """mu(beta_i) and sigma(beta_i), each with shape (T, Z): functions of the direction of beta_i."""
        beta = self._guiding(self.topic.log_beta).exp()
        loc, log_scale = self.component(F.normalize(beta, dim=-1)).chunk(2, dim=-1)
        return loc, scale_of(log_scale)

    def prior(self, proportions: Tensor) -> GaussianMixture:
        """p(z | beta, t) for topic proportions with shape (..., T)."""
        return GaussianMixture(proportions, *self.components())

    def assignment(self, proportions: Tensor, own: Tensor) -> OneHotCategorical:
        """q(c | y, d) for t with shape (..., B, T) and the sentence's words with shape (B, D)."""
        log_beta = self._guiding(self.topic.log_beta)
        logits = _log(proportions) + self.config.evidence * own @ log_beta.T
        return OneHotCategorical(logits=logits, validate_args=False)

    def trace(self, batch: Batch | Documents, samples: int = 1) -> Trace:
        """Documents alone give the topic model's terms; a batch of sentences gives both models'."""
        if isinstance(batch, Documents):
            return self.topic.trace(batch, samples)
        topics = self.topic.trace(batch.documents, samples)
        g = self.topic.posterior(batch.context).rsample((samples,))
        t = self._guiding(self.topic.proportions(g))
        latents = (
            self._component_latents(batch, t) if self.config.prior == "component" else self._mixture_latents(batch, t)
        )
        y = Observed(self.sentence.likelihood(batch.inputs, latents["z"].z), batch.targets, "sentence")
        aux = {"consistency": self._consistency(batch)} if self.config.consistency_sentences else {}
        return Trace(topics.latents | latents, topics.observed | {"tokens": y}, topics.aux | aux)

    def _component_latents(self, batch: Batch, t: Tensor) -> dict[str, Latent]:
        q_c, p_c = self.assignment(t, batch.own), OneHotCategorical(logits=_log(t), validate_args=False)
        c = gumbel_softmax(q_c.logits, self.temperature, self._hard)
        prior = self.prior(t)
        q = self.sentence.posterior(batch.targets, batch.lengths, centre=c @ prior.loc)
        return {
            "c": Latent(q_c, p_c, c, "sentence"),
            "z": Latent(q, prior.given(c), q.rsample(), "sentence"),
        }

    def _mixture_latents(self, batch: Batch, t: Tensor) -> dict[str, Latent]:
        q = self.sentence.posterior(batch.targets, batch.lengths)
        z = q.rsample((t.shape[0],))
        assert self.config.prior != "component"
        return {"z": Latent(q, self.prior(t), z, "sentence", self.config.prior)}

    def _consistency(self, batch: Batch) -> Tensor:
        """-log t_i of freely written sentences on topics i drawn at random, as long as the batch's."""
        topics = self.topic.size
        asked = torch.randint(topics, (self.config.consistency_sentences,), device=self.device)
        z = self.prior(F.one_hot(asked, topics).float()).given(F.one_hot(asked, topics).float()).rsample()
        bags = relaxed_bags(
            self.sentence.decoder,
            z,
            self.token_words,
            len(self.vocabulary),
            bos_id=self.tokenizer.bos_id,
            eos_id=self.tokenizer.eos_id,
            length=batch.targets.shape[1],
            temperature=self.temperature,
            hard=self._hard,
        )
        return topic_consistency(self.topic, bags, asked)

    @property
    def _hard(self) -> bool:
        return self.config.straight_through or not self.training

    def _guiding(self, x: Tensor) -> Tensor:
        return x if self.config.guide_topics else x.detach()

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
            weights = self.one_topic(topic)
        elif mixture is not None:
            weights = self.mixed_topics(mixture)
        else:
            weights = self.topics_of(like) if like is not None else self.usual_topics()
        torch.manual_seed(seed)
        return self.write(self.draw(weights.expand(num, -1), strength), settings, seed)

    @torch.no_grad()
    def draw(self, weights: Tensor, strength: float = 1.0) -> Tensor:
        """A latent for every row of topic proportions (N, T): m + strength (z - m), z ~ p(z | t), (N, Z).

        m is the mean of the prior over documents, where topics cancel out.
        """
        common = self.prior(self.usual_topics()).mean
        return torch.lerp(common, self.prior(weights).sample(), strength)

    def one_topic(self, topic: int | str) -> Tensor:
        """Proportions (T,) that are one for a topic, given by number or by words."""
        number = topic if isinstance(topic, int) else self.find_topic(topic)
        return self.mixed_topics({number: 1.0})

    def mixed_topics(self, mixture: Mapping[int, float]) -> Tensor:
        """Proportions (T,) of the topics by number."""
        weights = torch.zeros(self.topic.size, device=self.device)
        for number, weight in mixture.items():
            if not 0 <= number < len(weights):
                raise UserError(f"no topic {number}: this model has topics 0 to {len(weights) - 1}")
            if not 0 <= weight < float("inf"):
                raise UserError(f"the weight of topic {number} is {weight}; give a finite number of at least 0")
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

    def counts(self, texts: Sequence[str]) -> Tensor:
        """Bags of words of texts, with shape (N, D)."""
        counts = torch.zeros(len(texts), len(self.vocabulary))
        for row, text in zip(counts, texts, strict=True):
            words = torch.tensor(self.vocabulary.encode_text(text), dtype=torch.long)
            row.index_add_(0, words, torch.ones(len(words)))
        return counts.to(self.device)

    @torch.no_grad()
    def usual_topics(self) -> Tensor:
        """Topic proportions (T,) of the prior: the mean of softmax(W g + b) over g ~ N(0, I)."""
        g = torch.randn(1000, self.topic.size, generator=torch.Generator().manual_seed(0))
        return self.topic.proportions(g.to(self.device)).mean(0)

    @torch.no_grad()
    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Posterior means with shape (B, Z) of sentences that stand alone: t is that of the prior."""
        targets, lengths = read(self.tokenizer, sentences, self.device)
        if self.config.prior != "component":
            return self.sentence.posterior(targets, lengths).mean
        prior = self.prior(self.usual_topics())
        c = self.assignment(prior.weights, self.counts(sentences)).mode
        return self.sentence.posterior(targets, lengths, centre=c @ prior.loc).mean

    def _known_words(self, text: str) -> list[int]:
        ids = self.vocabulary.encode_text(text)
        if not ids:
            raise UserError(f"none of the words of {text[:60]!r} is in the topic vocabulary; try other words")
        return ids


def _log(proportions: Tensor) -> Tensor:
    return proportions.clamp_min(1e-20).log()

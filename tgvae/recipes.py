"""Recipes: named functions that return a full configuration. Every field can be overridden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tgvae.models.sentence import SentenceConfig
from tgvae.models.summarizer import SummarizerConfig
from tgvae.models.tgvae import TGVAEConfig
from tgvae.models.topic import TopicConfig
from tgvae.schedules import Schedule
from tgvae.training.config import Phase, TrainConfig


@dataclass(frozen=True)
class Recipe:
    """A kind of model, its settings, and how it is trained."""

    kind: str
    model: TopicConfig | SentenceConfig | TGVAEConfig | SummarizerConfig
    train: TrainConfig = field(default_factory=TrainConfig)


SENTENCES = Phase("sentence", epochs=8, learning_rate=3e-3, batch=1536)
SUMMARIES = Phase("sentence", epochs=15, learning_rate=3e-3, batch=8192)
DIVERSITY = Schedule(end=30.0)


def topic_phase() -> Phase:
    """Documents alone: KL warm-up, and topics kept apart.

    Diversity has the weight 30 where the paper says 0.1: a document's bound is hundreds of nats, and beside them
    0.1 does nothing. In a trial on wiki (T = 50) weights of 0.1, 10 and 30 gave a diversity of .76, .85 and .91.
    """
    weights = {"kl/g": Schedule("linear", share=0.3), "aux/similarity": DIVERSITY}
    return Phase("document", epochs=15, learning_rate=2e-3, batch=128, weights=weights)


def sentence_phase(joint: bool, like: Phase = SENTENCES) -> Phase:
    """Sentences: beta rises to 1 in the first third, and 2 nats of KL are free, or z would not be used."""
    weights = {"kl/z": Schedule("linear", share=0.3)}
    topics = {"aux/similarity": DIVERSITY} if joint else {}
    return replace(like, weights=weights | topics, free_nats={"kl/z": 2.0})


def tgvae() -> Recipe:
    """The joint model: topics first, then both."""
    phases = {"topics": topic_phase(), "sentences": sentence_phase(joint=True)}
    return Recipe("tgvae", TGVAEConfig(), TrainConfig(phases))


def demo() -> Recipe:
    """The joint model for a small corpus and few minutes: fewer topics and epochs."""
    phases = {
        "topics": replace(topic_phase(), epochs=12),
        "sentences": replace(sentence_phase(joint=True), epochs=5),
    }
    return Recipe("tgvae", TGVAEConfig(TopicConfig(topics=30)), TrainConfig(phases))


def topic() -> Recipe:
    """The topic model alone."""
    return Recipe("topic", TopicConfig(), TrainConfig({"topics": topic_phase()}))


def prodlda() -> Recipe:
    """ProdLDA, a baseline beside ``topic``, as published: random start, no KL warm-up, no weight on diversity.

    Nothing stops it early: from its random start the bound gets worse for some epochs before it gets better.
    """
    phase = Phase("document", epochs=30, learning_rate=2e-3, batch=128, patience=30)
    return Recipe("topic", TopicConfig(likelihood="product", concentration=1.0), TrainConfig({"topics": phase}))


def sentence_vae() -> Recipe:
    """The sentence VAE with a standard normal prior and a diagonal posterior."""
    return Recipe(
        "sentence-vae", SentenceConfig(flow_length=0), TrainConfig({"sentences": sentence_phase(joint=False)})
    )


def language_model() -> Recipe:
    """The plain GRU language model, the baseline of every perplexity."""
    return Recipe("language-model", SentenceConfig(flow_length=0), TrainConfig({"sentences": SENTENCES}))


def summarizer() -> Recipe:
    """The summarizer with topics: topics first, then both."""
    phases = {"topics": topic_phase(), "summaries": sentence_phase(joint=True, like=SUMMARIES)}
    return Recipe("summarizer", SummarizerConfig(), TrainConfig(phases))


def summarizer_vae() -> Recipe:
    """The summarizer with a latent of prior N(0, I) and diagonal posterior, without topics."""
    config = SummarizerConfig(sentence=SentenceConfig(flow_length=0), latent="normal")
    return Recipe("summarizer", config, TrainConfig({"summaries": sentence_phase(joint=False, like=SUMMARIES)}))


def summarizer_plain() -> Recipe:
    """The plain sequence-to-sequence model, without latent: the baseline of the other two."""
    return Recipe("summarizer", SummarizerConfig(latent="none"), TrainConfig({"summaries": SUMMARIES}))


RECIPES: dict[str, Callable[[], Recipe]] = {
    "tgvae": tgvae,
    "demo": demo,
    "topic": topic,
    "prodlda": prodlda,
    "sentence-vae": sentence_vae,
    "language-model": language_model,
    "summarizer": summarizer,
    "summarizer-vae": summarizer_vae,
    "summarizer-plain": summarizer_plain,
}

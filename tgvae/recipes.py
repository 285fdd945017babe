"""Recipes: named functions that return a full configuration. Every field can be overridden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tgvae.data.corruption import Corruption
from tgvae.models.pretrained_lm import FusionConfig, PretrainedConfig
from tgvae.models.sentence import SentenceConfig
from tgvae.models.summarizer import SummarizerConfig
from tgvae.models.tgvae import TGVAEConfig
from tgvae.models.topic import TopicConfig
from tgvae.models.vae import VectorConfig
from tgvae.models.vgae import GraphConfig
from tgvae.schedules import Schedule
from tgvae.training.config import Phase, TrainConfig


@dataclass(frozen=True)
class Recipe:
    """A kind of model, its settings and its training; ``data`` is the default data set, if any."""

    kind: str
    model: Any  # an instance of the ``config_class`` of the kind
    train: TrainConfig = field(default_factory=TrainConfig)
    data: str | None = None


SENTENCES = Phase("sentence", epochs=8, learning_rate=6e-3, batch=1536)
"""Half of this learning rate undertrains corpora of about ten thousand sentences (docs/results.md)."""
SUMMARIES = Phase("sentence", epochs=15, learning_rate=3e-3, batch=8192)
ADAPTATION = Phase("sentence", epochs=1, learning_rate=1e-3, batch=1024)
VECTORS = Phase("vector", epochs=100, learning_rate=2e-3, batch=100, patience=10)
EDGES = Phase("node", epochs=200, learning_rate=1e-2, patience=200)
DIVERSITY = Schedule(end=30.0)


def topic_phase() -> Phase:
    """Documents alone, with KL warm-up and a weight on topic diversity.

    The weight is 30, not 0.1 as in the paper: a document's bound is hundreds of nats, against which 0.1 has no effect.
    In a trial on wiki (T = 50) weights of 0.1, 10 and 30 gave a diversity of .76, .85 and .91.
    """
    weights = {"kl/g": Schedule("linear", share=0.3), "aux/similarity": DIVERSITY}
    return Phase("document", epochs=15, learning_rate=2e-3, batch=128, weights=weights)


def sentence_phase(joint: bool, like: Phase = SENTENCES) -> Phase:
    """Sentences: beta rises to 1 in the first third; without 2 free nats of KL, z would be ignored."""
    weights = {"kl/z": Schedule("linear", share=0.3)}
    topics = {"aux/similarity": DIVERSITY} if joint else {}
    return replace(like, weights=weights | topics, free_nats={"kl/z": 2.0})


def in_bfloat16(phases: dict[str, Phase]) -> TrainConfig:
    """Train in bfloat16 where the hardware is fast at it: as good (docs/performance.md)."""
    return TrainConfig(phases, precision="auto")


def tgvae() -> Recipe:
    """The joint model: first topics, then topics and sentences."""
    phases = {"topics": topic_phase(), "sentences": sentence_phase(joint=True)}
    return Recipe("tgvae", TGVAEConfig(), in_bfloat16(phases))


def demo() -> Recipe:
    """The joint model for a small corpus in a few minutes: fewer topics and epochs."""
    phases = {
        "topics": replace(topic_phase(), epochs=12),
        "sentences": replace(sentence_phase(joint=True), epochs=5),
    }
    return Recipe("tgvae", TGVAEConfig(TopicConfig(topics=30)), in_bfloat16(phases))


def topic() -> Recipe:
    """The topic model alone."""
    return Recipe("topic", TopicConfig(), in_bfloat16({"topics": topic_phase()}))


def prodlda() -> Recipe:
    """ProdLDA as published, a baseline: random initialisation, no KL warm-up, no weight on diversity.

    Without early stopping: from a random initialisation the bound first gets worse for some epochs.
    """
    phase = Phase("document", epochs=30, learning_rate=2e-3, batch=128, patience=30)
    return Recipe("topic", TopicConfig(likelihood="product", concentration=1.0), TrainConfig({"topics": phase}))


def sentence_vae() -> Recipe:
    """The sentence VAE with a standard normal prior and a diagonal posterior."""
    phases = {"sentences": sentence_phase(joint=False)}
    return Recipe("sentence-vae", SentenceConfig(flow_length=0), in_bfloat16(phases))


def sentence_beta_vae() -> Recipe:
    """The sentence VAE with beta 0.5, whose latent keeps more of a sentence (Higgins et al. 2017 use beta > 1)."""
    return weighted_latent(sentence_vae(), 0.5)


def sentence_denoising_vae() -> Recipe:
    """The sentence VAE whose encoder reads sentences without a fifth of their words."""
    return denoising(sentence_vae(), Corruption("drop", 0.2))


def language_model() -> Recipe:
    """The plain GRU language model, the baseline of every perplexity."""
    return Recipe("language-model", SentenceConfig(flow_length=0), in_bfloat16({"sentences": SENTENCES}))


def pretrained_lm() -> Recipe:
    """A pretrained language model adapted to the passages of a corpus: the baseline of ``pretrained-tgvae``.

    Wants a corpus prepared with ``--tokenizer base``.
    """
    return Recipe("pretrained-lm", PretrainedConfig(), in_bfloat16({"sentences": ADAPTATION}))


def pretrained_tgvae() -> Recipe:
    """A pretrained language model fused with topics: topics first, then the adaptation to the corpus."""
    phases = {"topics": topic_phase(), "sentences": replace(ADAPTATION, weights={"aux/similarity": DIVERSITY})}
    return Recipe("pretrained-tgvae", FusionConfig(), in_bfloat16(phases))


def fusion() -> Recipe:
    """Topics for a model that is adapted already: give its run with ``--model.sentence.adapter``."""
    return Recipe("pretrained-tgvae", FusionConfig(), in_bfloat16({"topics": topic_phase()}))


def summarizer() -> Recipe:
    """The summarizer with topics: first topics, then topics and summaries."""
    phases = {"topics": topic_phase(), "summaries": sentence_phase(joint=True, like=SUMMARIES)}
    return Recipe("summarizer", SummarizerConfig(), TrainConfig(phases))


def summarizer_vae() -> Recipe:
    """The summarizer with prior N(0, I) and a diagonal posterior, without topics."""
    config = SummarizerConfig(sentence=SentenceConfig(flow_length=0), latent="normal")
    return Recipe("summarizer", config, TrainConfig({"summaries": sentence_phase(joint=False, like=SUMMARIES)}))


def summarizer_plain() -> Recipe:
    """The sequence-to-sequence model without a latent, the baseline of the other two."""
    return Recipe("summarizer", SummarizerConfig(latent="none"), TrainConfig({"summaries": SUMMARIES}))


def weighted_latent(recipe: Recipe, beta: float) -> Recipe:
    """Return the recipe with another final beta."""

    def change(phase: Phase) -> Phase:
        schedule = replace(phase.weights.get("kl/z", Schedule()), end=beta)
        return replace(phase, weights=phase.weights | {"kl/z": schedule})

    return in_phases(recipe, change)


def denoising(recipe: Recipe, corruption: Corruption) -> Recipe:
    """Return the recipe with corrupted encoder inputs or noise on z (Im et al. 2015, arXiv 1511.06406)."""
    return in_phases(recipe, lambda phase: replace(phase, corruption=corruption))


def in_phases(recipe: Recipe, change: Callable[[Phase], Phase]) -> Recipe:
    """Return the recipe with every phase changed.

    Examples:
        >>> from dataclasses import replace
        >>> short = in_phases(tgvae(), lambda phase: replace(phase, epochs=1))
        >>> {name: phase.epochs for name, phase in short.train.phases.items()}
        {'topics': 1, 'sentences': 1}
    """
    phases = {name: change(phase) for name, phase in recipe.train.phases.items()}
    return replace(recipe, train=replace(recipe.train, phases=phases))


def digits_vae() -> Recipe:
    """The VAE of images."""
    return Recipe("vector-vae", VectorConfig(), TrainConfig({"vectors": VECTORS}), "digits")


def digits_beta_vae() -> Recipe:
    """The VAE of images with beta 2; from beta 4 on, z collapses on digits of 8 x 8 pixels."""
    return weighted_latent(in_phases(digits_vae(), annealed), 2.0)


def annealed(phase: Phase) -> Phase:
    """Return the phase with a beta that rises in its first third, without early stopping before z is used."""
    return replace(phase, weights={"kl/z": Schedule("linear", share=0.3)}, patience=phase.epochs)


def digits_denoising_vae() -> Recipe:
    """The VAE of images whose encoder reads a tenth of the pixels as 0 or 1."""
    return denoising(digits_vae(), Corruption("salt-and-pepper", 0.1))


def digits_discrete_vae() -> Recipe:
    """Ten variables of ten categories instead of a Gaussian; the temperature falls from 1 to 0.5."""
    phase = annealed(replace(VECTORS, temperature=Schedule("linear", start=1.0, end=0.5, share=1.0)))
    config = VectorConfig(latent="categorical")
    return replace(digits_vae(), model=config, train=TrainConfig({"vectors": phase}))


def digits_autoencoder() -> Recipe:
    """The deterministic autoencoder, without a KL."""
    return replace(digits_vae(), model=VectorConfig(latent="point"))


def graph_vae() -> Recipe:
    """The variational graph autoencoder after Kipf & Welling 2016: 200 steps on the whole graph, sizes as there."""
    return Recipe("graph-vae", GraphConfig(), TrainConfig({"edges": EDGES}))


def graph_autoencoder() -> Recipe:
    """The graph autoencoder, without a KL."""
    return replace(graph_vae(), model=GraphConfig(latent="point"))


RECIPES: dict[str, Callable[[], Recipe]] = {
    "tgvae": tgvae,
    "demo": demo,
    "topic": topic,
    "prodlda": prodlda,
    "sentence-vae": sentence_vae,
    "sentence-beta-vae": sentence_beta_vae,
    "sentence-denoising-vae": sentence_denoising_vae,
    "language-model": language_model,
    "pretrained-lm": pretrained_lm,
    "pretrained-tgvae": pretrained_tgvae,
    "fusion": fusion,
    "summarizer": summarizer,
    "summarizer-vae": summarizer_vae,
    "summarizer-plain": summarizer_plain,
    "digits-vae": digits_vae,
    "digits-beta-vae": digits_beta_vae,
    "digits-denoising-vae": digits_denoising_vae,
    "digits-discrete-vae": digits_discrete_vae,
    "digits-autoencoder": digits_autoencoder,
    "graph-vae": graph_vae,
    "graph-autoencoder": graph_autoencoder,
}

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
    """A kind of model, its settings, and how it is trained; ``data`` is what it learns from where nothing is named."""

    kind: str
    model: Any  # an instance of the ``config_class`` of the kind
    train: TrainConfig = field(default_factory=TrainConfig)
    data: str | None = None


SENTENCES = Phase("sentence", epochs=8, learning_rate=6e-3, batch=1536)
"""Half of that rate leaves corpora of some ten thousand sentences unfinished (docs/results.md)."""
SUMMARIES = Phase("sentence", epochs=15, learning_rate=3e-3, batch=8192)
ADAPTATION = Phase("sentence", epochs=1, learning_rate=1e-3, batch=1024)
VECTORS = Phase("vector", epochs=100, learning_rate=2e-3, batch=100, patience=10)
EDGES = Phase("node", epochs=200, learning_rate=1e-2, patience=200)
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


def in_bfloat16(phases: dict[str, Phase]) -> TrainConfig:
    """Trained in bfloat16 where the hardware has it: faster, and as good (docs/performance.md)."""
    return TrainConfig(phases, precision="auto")


def tgvae() -> Recipe:
    """The joint model: topics first, then both."""
    phases = {"topics": topic_phase(), "sentences": sentence_phase(joint=True)}
    return Recipe("tgvae", TGVAEConfig(), in_bfloat16(phases))


def demo() -> Recipe:
    """The joint model for a small corpus and few minutes: fewer topics and epochs."""
    phases = {
        "topics": replace(topic_phase(), epochs=12),
        "sentences": replace(sentence_phase(joint=True), epochs=5),
    }
    return Recipe("tgvae", TGVAEConfig(TopicConfig(topics=30)), in_bfloat16(phases))


def topic() -> Recipe:
    """The topic model alone."""
    return Recipe("topic", TopicConfig(), in_bfloat16({"topics": topic_phase()}))


def prodlda() -> Recipe:
    """ProdLDA, a baseline beside ``topic``, as published: random start, no KL warm-up, no weight on diversity.

    Nothing stops it early: from its random start the bound gets worse for some epochs before it gets better.
    """
    phase = Phase("document", epochs=30, learning_rate=2e-3, batch=128, patience=30)
    return Recipe("topic", TopicConfig(likelihood="product", concentration=1.0), TrainConfig({"topics": phase}))


def sentence_vae() -> Recipe:
    """The sentence VAE with a standard normal prior and a diagonal posterior."""
    phases = {"sentences": sentence_phase(joint=False)}
    return Recipe("sentence-vae", SentenceConfig(flow_length=0), in_bfloat16(phases))


def sentence_beta_vae() -> Recipe:
    """The sentence VAE with beta 0.5: its latent keeps more of a sentence (Higgins et al. 2017 go the other way)."""
    return weighted_latent(sentence_vae(), 0.5)


def sentence_denoising_vae() -> Recipe:
    """The sentence VAE whose encoder sees a sentence without a fifth of its words."""
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


def weighted_latent(recipe: Recipe, beta: float) -> Recipe:
    """The recipe with another beta at the end of its annealing."""

    def change(phase: Phase) -> Phase:
        schedule = replace(phase.weights.get("kl/z", Schedule()), end=beta)
        return replace(phase, weights=phase.weights | {"kl/z": schedule})

    return in_phases(recipe, change)


def denoising(recipe: Recipe, corruption: Corruption) -> Recipe:
    """The recipe with an encoder, or a decoder, that sees noise (Im et al. 2015, arXiv 1511.06406)."""
    return in_phases(recipe, lambda phase: replace(phase, corruption=corruption))


def in_phases(recipe: Recipe, change: Callable[[Phase], Phase]) -> Recipe:
    """The recipe with every phase changed.

    Examples:
        >>> from dataclasses import replace
        >>> short = in_phases(tgvae(), lambda phase: replace(phase, epochs=1))
        >>> {name: phase.epochs for name, phase in short.train.phases.items()}
        {'topics': 1, 'sentences': 1}
    """
    phases = {name: change(phase) for name, phase in recipe.train.phases.items()}
    return replace(recipe, train=replace(recipe.train, phases=phases))


def digits_vae() -> Recipe:
    """The VAE of pictures."""
    return Recipe("vector-vae", VectorConfig(), TrainConfig({"vectors": VECTORS}), "digits")


def digits_beta_vae() -> Recipe:
    """The VAE of pictures with beta 2; from 4 on, digits of 8 x 8 are not worth their KL, and z is given up."""
    return weighted_latent(in_phases(digits_vae(), annealed), 2.0)


def annealed(phase: Phase) -> Phase:
    """The phase with a beta that rises during its first third, and no stop on the plateau before z is used."""
    return replace(phase, weights={"kl/z": Schedule("linear", share=0.3)}, patience=phase.epochs)


def digits_denoising_vae() -> Recipe:
    """The VAE of pictures whose encoder sees a tenth of the pixels replaced by 0 or 1."""
    return denoising(digits_vae(), Corruption("salt-and-pepper", 0.1))


def digits_discrete_vae() -> Recipe:
    """Ten variables of ten categories in place of a Gaussian; the temperature falls from 1 to 0.5."""
    phase = annealed(replace(VECTORS, temperature=Schedule("linear", start=1.0, end=0.5, share=1.0)))
    config = VectorConfig(latent="categorical")
    return replace(digits_vae(), model=config, train=TrainConfig({"vectors": phase}))


def digits_autoencoder() -> Recipe:
    """The deterministic autoencoder: no distribution of z, no KL."""
    return replace(digits_vae(), model=VectorConfig(latent="point"))


def graph_vae() -> Recipe:
    """The variational graph autoencoder after Kipf & Welling 2016: 200 steps on the whole graph, sizes as there."""
    return Recipe("graph-vae", GraphConfig(), TrainConfig({"edges": EDGES}))


def graph_autoencoder() -> Recipe:
    """The same without distributions of z."""
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

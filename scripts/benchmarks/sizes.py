"""Sizes of models, the recipes of these sizes, and the matrix products that a training step needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from tgvae.data.dataset import Unit
from tgvae.models.sentence import SentenceConfig
from tgvae.models.tgvae import TGVAEConfig
from tgvae.models.topic import TopicConfig
from tgvae.recipes import RECIPES, Recipe
from tgvae.training.config import Phase

Softmax = Literal["full", "adaptive"]
Kind = Literal["sentence-vae", "tgvae", "language-model"]
TOPIC_HIDDEN = TopicConfig.hidden_size
WORD_EMBEDDING = TopicConfig.word_embedding_size


@dataclass(frozen=True)
class Sizes:
    """E, H, Z, V of a model, sentences and tokens of a batch; T and D of its topic model, flow length, directions, and
    whether the softmax over words is adaptive."""

    embedding: int
    hidden: int
    latent: int
    vocabulary: int
    sentences: int
    length: int
    topics: int = 50
    topic_words: int = 8000
    flow: int = 5
    bidirectional: bool = True
    softmax: Softmax = "full"


SIZES = {
    "small": Sizes(128, 200, 32, 8000, 64, 24),  # of the recipes
    "peer": Sizes(300, 256, 16, 10_000, 32, 20),  # the defaults of Sentence-VAE
    "large": Sizes(400, 600, 32, 10_000, 64, 30),
}


def recipe(kind: str, sizes: Sizes, precision: str, device: str) -> Recipe:
    """The recipe of a kind in these sizes, one phase long; without topics the posterior is the plain one."""
    found = RECIPES[kind]()
    # where it is the default an option is not named: a commit that `ab` measures may be older than the option
    options: dict[str, Any] = {
        name: value
        for name in ("bidirectional", "softmax")
        if (value := getattr(sizes, name)) != getattr(SentenceConfig, name, getattr(Sizes, name))
    }
    sentence = SentenceConfig(
        embedding_size=sizes.embedding,
        hidden_size=sizes.hidden,
        latent_size=sizes.latent,
        flow_length=sizes.flow if kind == "tgvae" else 0,
        **options,
    )
    model: Any = found.model
    if isinstance(model, TGVAEConfig):
        model = replace(model, sentence=sentence, topic=replace(model.topic, topics=sizes.topics))
    elif isinstance(model, TopicConfig):
        model = replace(model, topics=sizes.topics)
    else:
        model = sentence
    name, phase = list(found.train.phases.items())[-1]
    phases = {name: replace(phase, batch=batch_of(phase, sizes), epochs=1)}
    auto: Any = {"precision": precision, "device": "cpu" if device == "cpu" else "auto"}
    return replace(found, model=model, train=replace(found.train, phases=phases, **auto))


def batch_of(phase: Phase, sizes: Sizes) -> int:
    """Padded tokens of the batch for sentences; documents as the recipe has them."""
    unit: Unit = phase.unit
    return sizes.sentences * sizes.length if unit == "sentence" else phase.batch


def flops(kind: str, sizes: Sizes, load: Mapping[str, float]) -> dict[str, float]:
    """Additions and multiplications of the matrix products of a training step, by part; three times the forward pass.

    Backward has two products for each one forward. A GRU has 3H outputs for its E inputs and H states, the encoder
    in one direction or two; the latent's share of the gates is the same at every token and counted once a sentence.
    The softmax is the full one. A topic model reads and predicts a document's own words alone, so its outer layers
    count these and not all D.

    Args:
        kind: of the model.
        sizes: its sizes.
        load: ``tokens``, ``sentences``, ``documents`` of a step, and distinct topic ``words`` of a document.
    """
    e, h, z, v, t = sizes.embedding, sizes.hidden, sizes.latent, sizes.vocabulary, sizes.topics
    tokens, sentences, documents, words = (load[n] for n in ("tokens", "sentences", "documents", "words"))
    features, k = h * (1 + sizes.bidirectional), sizes.flow if kind == "tgvae" else 0
    parts = {"decoder": tokens * 3 * h * (e + h), "projection": tokens * h * e, "vocabulary": tokens * e * v}
    if kind != "language-model":
        parts["encoder"] = tokens * features * 3 * (e + h)
        flow = z * (features + (k - 1) * z) if k else 0
        parts["latent"] = sentences * (2 * features * z + flow + z * h + 3 * h * z + z * e)
    if kind == "tgvae":
        one = words * TOPIC_HIDDEN + TOPIC_HIDDEN**2 + 2 * TOPIC_HIDDEN * t + t * t
        beta = t * sizes.topic_words * (WORD_EMBEDDING + t + 4 * z) + t * 4 * z * 2 * z
        parts["topics"] = documents * (one + words * t) + sentences * one + beta
    return {name: 3 * 2.0 * products for name, products in parts.items()}

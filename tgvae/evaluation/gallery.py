"""Which pictures an evaluation has, in what order, and how each is to be read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from plotly.graph_objects import Figure

from tgvae.evaluation import pictures
from tgvae.evaluation.exhibits import Exhibits
from tgvae.evaluation.image_pictures import Block, tiles

Picture = tuple[str, Figure | None, str]  # heading, figure (None: nothing to show), caption

MAP = (
    "Every circle is a topic with its number, as large as its share of the documents; near ones use like words "
    "(Jensen-Shannon distance, classical scaling; a plane cannot show all distances truly)."
)
DOCUMENTS = (
    "Every column is a document, every row a topic, bright where the topic has much of the document. Columns are "
    "sorted by main topic: a clean staircase means that documents have one main topic each."
)
TIME = "Mean proportion of the eight topics that change most from year to year; years of few documents jump."
LABELS = "Mean proportion of each topic in the documents of a label, bright where it is large."
LATENT = (
    "Every mark is a sentence, placed by the first two principal components of its latent (with their shares of the "
    "variance) and marked by its topic. Topics that keep to places of their own are told apart by the latent. Click a "
    "topic above to hide it, twice to see it alone."
)
STEERING = (
    "Every mark is a strength of steering, its number beside it: the higher, the more sentences are about the topic "
    "asked for; the farther to the right, the stranger they are to a language model of real text."
)
LENGTHS = "Words per sentence. Where the bars differ, generated sentences are shorter or longer than real ones."
BLEU = (
    "test-BLEU: n-grams of generated sentences that real ones have (high is like real text). "
    "self-BLEU: that other generated sentences have (low is varied)."
)
SAMPLES = "Every picture is what the decoder expects of a latent drawn from the prior: what the model can imagine."
RECONSTRUCTIONS = (
    "Held-out pictures above, what the decoder makes of their latents below. Not chosen: the first of the split, which "
    "is in no order."
)
POINTS = (
    "Marks are {of}, placed by the first two principal components of their latents (with their shares of the variance)"
)
LABELLED = ", and marked by label, which the model was not told. Click a label above to hide it, twice to see it alone."
TERMS = (
    "Terms of the objective over steps, in nats of a document (nll/words, kl/g), or else of a sentence, a vector or a "
    "node; dashed with squares is validation. A KL near zero means that its latent is not used."
)
RATE = (
    "Validation epochs of the last phase of training, some numbered: nats that the latent carries against nats still "
    "missing to the data. Down and to the left is better; their sum is the negative ELBO."
)


def topics(e: Exhibits) -> Iterator[Picture]:
    """How the topics lie to each other."""
    if e.topic_distances is not None and e.topics:
        rows = sorted(e.topics, key=lambda topic: topic.number)
        shares, words = [topic.share for topic in rows], [", ".join(topic.words) for topic in rows]
        figure = pictures.topic_map(e.topic_distances, shares, [topic.name for topic in rows], words)
        yield "Map of topics", figure, MAP


def documents(e: Exhibits) -> Iterator[Picture]:
    """Topics of documents, over time, by label."""
    if e.theta is None or not len(e.theta):
        return
    names = _names(e)
    yield "Documents by topic", pictures.documents_by_topic(e.theta, names), DOCUMENTS
    yield "Topics over time", pictures.topics_over_time(e.theta, e.dates or (), names), TIME
    yield "Topics by label", pictures.topics_by_label(e.theta, e.labels or (), names), LABELS


def sentences(e: Exhibits) -> Iterator[Picture]:
    """The latent of sentences, and what generated ones are like."""
    if e.latent is not None and e.latent_topic is not None and e.latent_text is not None and len(e.latent):
        figure = pictures.latent_map(e.latent, e.latent_topic, e.latent_text, _names(e))
        yield "Latent space", figure, LATENT
    if e.steering:
        yield "Steering", pictures.steering_curve(e.steering), STEERING
    if e.lengths and all(map(len, e.lengths)):
        yield "Lengths", pictures.length_histogram(*e.lengths), LENGTHS
    if e.bleu:
        yield "BLEU", pictures.bleu_curves(e.bleu), BLEU


def latents(e: Exhibits) -> Iterator[Picture]:
    """What a model of vectors or of a graph has learnt: its pictures, and its latents in a plane."""
    if e.samples is not None:
        yield "Samples", tiles([Block("", e.samples)], *_shades(e)), SAMPLES
    if e.reconstructions is not None:
        yield "Reconstructions", tiles([Block("", e.reconstructions)], *_shades(e)), RECONSTRUCTIONS
    if e.points is not None and len(e.points.z):
        figure = pictures.latent_map(e.points.z, e.points.group, e.points.names, e.points.groups)
        labelled = LABELLED if len(e.points.groups) > 1 else "."
        yield "Latent map", figure, POINTS.format(of=e.points.of) + labelled


def training(e: Exhibits) -> Iterator[Picture]:
    """How the objective went."""
    yield "Terms over training", pictures.training_terms(e.history or ()), TERMS
    yield "Rate and distortion", pictures.rate_distortion(e.history or ()), RATE


def _shades(e: Exhibits) -> tuple[float, float]:
    """Values that are shown as white and black: the ends of what real pictures have, or of 0 and 1."""
    real = np.zeros(1) if e.reconstructions is None else e.reconstructions[0]
    return min(0.0, float(real.min())), max(1.0, float(real.max()))


def _names(e: Exhibits) -> list[str]:
    """Label of every topic in the order of beta; "topic 3" where its words are not given."""
    known = {topic.number: topic.name for topic in e.topics or ()}
    wide = 0 if e.theta is None else e.theta.shape[1]
    latent = 0 if e.latent_topic is None else 1 + int(max(e.latent_topic, default=-1))
    count = max(wide, latent, *(i + 1 for i in known), 0)
    return [known.get(i, f"topic {i}") for i in range(count)]

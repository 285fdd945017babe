"""Which pictures an evaluation has, in what order, and how each is to be read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from plotly.graph_objects import Figure

from tgvae.evaluation import pictures, topic_pictures
from tgvae.evaluation.exhibits import Exhibits, TopicRow
from tgvae.evaluation.image_pictures import Block, tiles

Picture = tuple[str, Figure | None, str]  # heading, figure (None: nothing to show), caption

BARS = (
    "The words of the most frequent topics with their probabilities given the topic. A bar is as long as its word is "
    "probable against the first word of the topic: long bars throughout mean a topic of many words."
)
MAP = (
    "Every circle is a topic with its number, as large as its share of the documents; near ones use like words "
    "(Jensen-Shannon distance, classical scaling; a plane cannot show all distances truly)."
)
SIMILARITY = (
    "How alike the words of two topics are: 1 - Jensen-Shannon distance / sqrt(ln 2), from 0 for no word in common to "
    "1 for the same. Topics beside each other are alike; a bright block is one theme told by several topics."
)
DOCUMENT_MAP = (
    "Every mark is a document of training (at most 1,000, evenly chosen), near those with like topics (t-SNE of the "
    "square roots of its proportions) and marked by its main topic, whose number stands in the middle of its documents."
    " Distances between groups tell nothing. Click a topic above to hide it, twice to see it alone."
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


def topics(e: Exhibits) -> list[Picture]:
    """How the topics lie to each other."""
    return [topic_map(e), similarity(e)]


def bars(e: Exhibits) -> Picture:
    """Of topics by falling share, as bars."""
    rows = sorted(e.topics or (), key=lambda topic: -topic.share)
    names = [f"topic {topic.number}, {topic.share:.1%}" for topic in rows]
    words, probabilities = [topic.words for topic in rows], [topic.probabilities for topic in rows]
    figure = topic_pictures.topic_bars(names, words, probabilities) if rows else None
    return "Words of topics", figure, BARS


def topic_map(e: Exhibits) -> Picture:
    """Topics in a plane."""
    figure = None
    if e.topic_distances is not None and e.topics:
        rows = _by_number(e)
        shares, texts = [topic.share for topic in rows], [", ".join(topic.words) for topic in rows]
        figure = pictures.topic_map(e.topic_distances, shares, [topic.name for topic in rows], texts)
    return "Map of topics", figure, MAP


def similarity(e: Exhibits) -> Picture:
    """Of each topic to each other."""
    figure = None
    if e.topic_distances is not None and e.topics:
        figure = topic_pictures.topic_similarity(e.topic_distances, [topic.name for topic in _by_number(e)])
    return "Similarity of topics", figure, SIMILARITY


def documents(e: Exhibits) -> list[Picture]:
    """Topics of documents, over time, by label."""
    return [document_map(e), by_document(e), over_time(e), by_label(e)]


def document_map(e: Exhibits) -> Picture:
    """Documents in a plane, to be read on hovering."""
    figure = None
    if e.theta is not None and e.document_text is not None and len(e.theta):
        figure = topic_pictures.document_map(e.theta, e.document_text, _names(e))
    return "Map of documents", figure, DOCUMENT_MAP


def by_document(e: Exhibits) -> Picture:
    """Topics of each document."""
    figure = pictures.documents_by_topic(e.theta, _names(e)) if e.theta is not None and len(e.theta) else None
    return "Documents by topic", figure, DOCUMENTS


def over_time(e: Exhibits) -> Picture:
    """Topics by year."""
    figure = None if e.theta is None else pictures.topics_over_time(e.theta, e.dates or (), _names(e))
    return "Topics over time", figure, TIME


def by_label(e: Exhibits) -> Picture:
    """Topics by label."""
    figure = None if e.theta is None else pictures.topics_by_label(e.theta, e.labels or (), _names(e))
    return "Topics by label", figure, LABELS


def sentences(e: Exhibits) -> Iterator[Picture]:
    """The latent of sentences, and what generated ones are like."""
    yield sentence_map(e)
    if e.steering:
        yield "Steering", pictures.steering_curve(e.steering), STEERING
    if e.lengths and all(map(len, e.lengths)):
        yield "Lengths", pictures.length_histogram(*e.lengths), LENGTHS
    if e.bleu:
        yield "BLEU", pictures.bleu_curves(e.bleu), BLEU


def sentence_map(e: Exhibits) -> Picture:
    """Sentences in a plane of their latent."""
    figure = None
    if e.latent is not None and e.latent_topic is not None and e.latent_text is not None and len(e.latent):
        figure = pictures.latent_map(e.latent, e.latent_topic, e.latent_text, _names(e))
    return "Latent space", figure, LATENT


def latents(e: Exhibits) -> Iterator[Picture]:
    """What a model of vectors or of a graph has learnt: its pictures, and its latents in a plane."""
    if e.samples is not None:
        yield "Samples", tiles([Block("", e.samples)], *_shades(e)), SAMPLES
    if e.reconstructions is not None:
        yield "Reconstructions", tiles([Block("", e.reconstructions)], *_shades(e)), RECONSTRUCTIONS
    yield point_map(e)


def point_map(e: Exhibits) -> Picture:
    """Vectors or nodes in a plane of their latent."""
    if e.points is None or not len(e.points.z):
        return "Latent map", None, ""
    figure = pictures.latent_map(e.points.z, e.points.group, e.points.names, e.points.groups)
    labelled = LABELLED if len(e.points.groups) > 1 else "."
    return "Latent map", figure, POINTS.format(of=e.points.of) + labelled


def training(e: Exhibits) -> list[Picture]:
    """How the objective went."""
    return [terms(e), ("Rate and distortion", pictures.rate_distortion(e.history or ()), RATE)]


def terms(e: Exhibits) -> Picture:
    """Of the objective over training."""
    return "Terms over training", pictures.training_terms(e.history or ()), TERMS


def _by_number(e: Exhibits) -> list[TopicRow]:
    return sorted(e.topics or (), key=lambda topic: topic.number)


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

"""Topic fidelity: the share of generated sentences whose topic is the one they were generated for.

Two classifiers decide what a sentence is about: the topic model's own inference, and a classifier of gold labels that
was trained on real documents only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from torch import Tensor

from tgvae.data.bow import BagOfWords
from tgvae.data.corpus import Corpus
from tgvae.evaluation.generation import distinct
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.metric import Metrics, Parts
from tgvae.evaluation.registry import EvalInputs, Evaluation, evaluator, measure
from tgvae.evaluation.topics import Floats, theta
from tgvae.generation.decode import DecodeSettings
from tgvae.models.base import Capability
from tgvae.progress import step

SENTENCE_BATCH = 8192  # tokens


@evaluator("guidance", Capability.GUIDANCE, Capability.TOPICS)
@step("measuring guidance")
def evaluate_guidance(inputs: EvalInputs, evaluation: Evaluation) -> Metrics:
    """Fidelity of plain samples at each guidance strength, and its price in fluency and variety."""
    model, train, held_out, config = inputs.model, inputs.train, inputs.held_out, inputs.config
    proportions = theta(model, train) if evaluation.theta is None else evaluation.theta
    document_topics = surrounding_topics(model, held_out)
    classifiers: dict[str, InferredTopicFidelity | LabelFidelity] = {
        "fidelity_{strength:g}": InferredTopicFidelity(model, held_out, document_topics)
    }
    if len(set(train.table["label"].to_pylist()) - {None}) > 1:
        labels = LabelFidelity(model, train, held_out, document_topics, proportions)
        classifiers["fidelity_classifier_{strength:g}"] = labels
    metrics: Metrics = {}
    for strength in config.strengths:
        samples = generate_for_every_topic(model, config.per_topic, config.seed, strength=strength)
        evaluation.topic_samples[strength] = samples
        for metric, classifier in classifiers.items():
            fidelity = classifier.fidelity(samples)
            baselines = {"real_text": fidelity.natural, "chance": fidelity.chance}
            hits = Parts.mean(fidelity.hits.numpy())
            metrics |= measure(metric, hits, seed=config.seed, baselines=baselines, strength=strength)
        if inputs.reference_lm is not None:
            metrics |= inputs.reference_lm.forward_perplexity(samples.texts, config.seed, strength)
        variety, size = distinct(samples.texts, 2), len(samples.texts)
        metrics |= measure("distinct_2_{strength:g}", variety, size, config.seed, strength=strength)
    return metrics


@dataclass(frozen=True)
class TopicSamples:
    """Sentences generated for each topic in turn.

    Attributes:
        topics: the topic of each sentence, with shape (N,).
        texts: the sentences.
    """

    topics: Tensor
    texts: list[str]


@dataclass(frozen=True, eq=False)
class Fidelity:
    """A share of hits with its two baselines. Every topic has the same weight.

    Attributes:
        hits: whether the classifier assigns a sentence generated for topic i to topic i (or to its label), (N,).
        topics: the topic that each sentence was generated for, with shape (N,).
        natural: share of hits of real held-out sentences whose document, without the sentence, has main topic i.
        chance: share of hits of a generator that ignores the topic: 1 / T, or what its labels would hit.
    """

    hits: Tensor
    topics: Tensor
    natural: float
    chance: float

    @property
    def generated(self) -> float:
        """Share of hits, averaged over topics."""
        return _mean_over_topics(self.hits, self.topics)


@step("generating for every topic")
def generate_for_every_topic(
    model: Any, per_topic: int = 20, seed: int = 0, settings: DecodeSettings | None = None, strength: float = 1.0
) -> TopicSamples:
    """Generate ``per_topic`` sentences for every topic, by plain sampling unless ``settings`` are given."""
    topics = torch.arange(model.topic.size).repeat_interleave(per_topic)
    with evaluating(model, seed):
        weights = torch.nn.functional.one_hot(topics, model.topic.size).float().to(model.device)
        sentences = model.write(model.sample_latents(weights, strength), settings)
    return TopicSamples(topics, [sentence.text for sentence in sentences])


def inferred_topics(model: Any, counts: BagOfWords) -> Tensor:
    """Return the main topic of bags of words (N, D) by the model's own inference, (N,); -1 without a topic word."""
    with evaluating(model, seed=0):
        main = model.topic(counts.to(model.device)).argmax(-1)
    return torch.where(counts.sizes.cpu() > 0, main.cpu(), -1)


def generated_fidelity(model: Any, samples: TopicSamples) -> float:
    """Return the share of sentences whose inferred topic is theirs; a sentence without topic words is a miss."""
    return _mean_over_topics(_inferred_hits(model, samples), samples.topics)


def _inferred_hits(model: Any, samples: TopicSamples) -> Tensor:
    return inferred_topics(model, model.counts(samples.texts)) == samples.topics


def surrounding_topics(model: Any, held_out: Corpus) -> Tensor:
    """Return for each modelled sentence the main topic of its document without it, (N,), in the order of the corpus."""
    topics = torch.empty(len(held_out.lengths), dtype=torch.long)
    for index in held_out.sentence_batches(SENTENCE_BATCH):
        topics[torch.from_numpy(index)] = inferred_topics(model, held_out.gather(index).context)
    return topics


class InferredTopicFidelity:
    """Fidelity by the topic model's own inference.

    Args:
        model: the generator, which also infers the topics.
        held_out: the split of the real sentences.
        document_topics: its ``surrounding_topics``; computed if not given.
    """

    def __init__(self, model: Any, held_out: Corpus, document_topics: Tensor | None = None) -> None:
        self.model = model
        expected = surrounding_topics(model, held_out) if document_topics is None else document_topics
        inferred = torch.empty_like(expected)
        for index in held_out.sentence_batches(SENTENCE_BATCH):
            inferred[torch.from_numpy(index)] = inferred_topics(model, held_out.gather(index).sentence_bow)
        self.natural = _mean_over_topics(inferred == expected, expected)

    def fidelity(self, samples: TopicSamples) -> Fidelity:
        """Return the fidelity of generated sentences."""
        return Fidelity(_inferred_hits(self.model, samples), samples.topics, self.natural, 1 / self.model.topic.size)


class LabelFidelity:
    """Fidelity by a classifier of gold labels (TF-IDF, logistic regression) that is trained on real documents only.

    The label of a topic is the one whose documents have the largest mean proportion of it. A sentence generated for
    topic i is a hit if the classifier gives it that label.

    Args:
        model: the generator.
        train: the split that the classifier is trained on.
        held_out: the split of the real sentences.
        document_topics: its ``surrounding_topics``; computed if not given.
        proportions: ``theta`` of the training documents; computed if not given.

    Raises:
        ValueError: the corpus has fewer than two labels.
    """

    def __init__(
        self,
        model: Any,
        train: Corpus,
        held_out: Corpus,
        document_topics: Tensor | None = None,
        proportions: Floats | None = None,
    ) -> None:
        labels = np.array(train.table["label"].to_pylist(), dtype=object)
        names = sorted({label for label in labels if label is not None})
        if len(names) < 2:
            raise ValueError("a classifier needs at least two labels")
        proportions = theta(model, train) if proportions is None else proportions
        means = np.stack([proportions[labels == name].mean(0) for name in names])
        self.label_of_topic = np.array(names, dtype=object)[means.argmax(0)]
        self._classifier = _fit_classifier(train, labels)
        expected = surrounding_topics(model, held_out) if document_topics is None else document_topics
        hits, _ = self._hits(TopicSamples(expected, held_out.texts))
        self.natural = _mean_over_topics(hits, expected)

    def fidelity(self, samples: TopicSamples) -> Fidelity:
        """Return the fidelity of generated sentences; chance is that of the same sentences with shuffled topics."""
        hits, chance = self._hits(samples)
        return Fidelity(hits, samples.topics, self.natural, chance)

    def _hits(self, samples: TopicSamples) -> tuple[Tensor, float]:
        expected = self.label_of_topic[samples.topics.numpy()]
        predicted = self._classifier.predict(samples.texts)
        names = set(self.label_of_topic)
        chance = sum((expected == name).mean() * (predicted == name).mean() for name in names)
        return torch.from_numpy(expected == predicted), float(chance)


def _mean_over_topics(hits: Tensor, topics: Tensor) -> float:
    """Return the mean over topics of the share of hits of each topic that occurs (-1 is none)."""
    shares = [hits[topics == i].float().mean() for i in topics.unique() if i >= 0]
    return torch.stack(shares).mean().item() if shares else math.nan


def _fit_classifier(train: Corpus, labels: np.ndarray) -> Pipeline:
    known = [i for i, label in enumerate(labels) if label is not None]
    texts = [" ".join(train.table["sentences"][i].as_py()) for i in known]
    classifier = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, max_iter=1000))
    return classifier.fit(texts, [labels[i] for i in known])

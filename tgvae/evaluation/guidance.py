"""Does steering work? The share of generated sentences that are about the topic they were asked for.

Two judges: the topic model's own inference, and a classifier that never saw a generated sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from torch import Tensor

from tgvae.data.corpus import Corpus
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.topics import theta
from tgvae.generation.decode import DecodeSettings
from tgvae.models.tgvae import TGVAE


@dataclass(frozen=True)
class Fidelity:
    """A share of hits among generated sentences, beside the two marks it must be read with.

    Attributes:
        generated: sentences generated from topic i that the judge gives to topic i (or its label).
        natural: real held-out sentences of documents whose main topic is i, by the same judge.
        chance: of a judge who guesses: 1 / T, or the expected agreement of the labels of topics.
        sentences: how many were generated.
    """

    generated: float
    natural: float
    chance: float
    sentences: int


@dataclass(frozen=True)
class Asked:
    """Sentences generated from every topic in turn."""

    topics: Tensor
    texts: list[str]


def ask_every_topic(
    model: TGVAE, per_topic: int = 20, seed: int = 0, settings: DecodeSettings | None = None, strength: float = 1.0
) -> Asked:
    """``per_topic`` sentences from every topic; plain samples unless ``settings`` say otherwise."""
    topics = torch.arange(model.topic.size).repeat_interleave(per_topic)
    with evaluating(model, seed):
        weights = torch.nn.functional.one_hot(topics, model.topic.size).float().to(model.device)
        sentences = model.write(model.draw(weights, strength), settings, seed)
    return Asked(topics, [sentence.text for sentence in sentences])


def inferred_topics(model: TGVAE, sentences: Sequence[str]) -> Tensor:
    """Main topic of each sentence by the topic model's own inference, (N,); -1 where it has no topic word."""
    return _main_topics(model, model.counts(sentences))


def _main_topics(model: TGVAE, counts: Tensor) -> Tensor:
    with evaluating(model, seed=0):
        main = model.topic(counts.to(model.device)).argmax(-1)
    return torch.where(counts.sum(-1).cpu() > 0, main.cpu(), -1)


def generated_fidelity(model: TGVAE, asked: Asked) -> float:
    """Share of the sentences whose inferred topic is the one asked for; no topic word is a miss."""
    return (inferred_topics(model, asked.texts) == asked.topics).float().mean().item()


def fidelity(model: TGVAE, held_out: Corpus, asked: Asked) -> Fidelity:
    """Fidelity by the model's own inference."""
    main = torch.from_numpy(theta(model, held_out).argmax(1))
    hits = rows = 0
    for batch in held_out.each_batch():
        found = _main_topics(model, batch.own)
        hits += int((found == main[batch.documents.index[batch.parent]]).sum())
        rows += len(found)
    chance = 1 / model.topic.size
    return Fidelity(generated_fidelity(model, asked), hits / rows, chance, len(asked.texts))


def classifier_fidelity(model: TGVAE, train: Corpus, held_out: Corpus, asked: Asked) -> Fidelity:
    """Fidelity by an independent classifier of gold labels, fitted on real documents only.

    A topic's label is the one whose documents give it the largest mean proportion. A sentence generated
    from topic i is a hit when the classifier (TF-IDF, logistic regression) gives it the label of i.

    Raises:
        ValueError: the corpus has fewer than two labels.
    """
    labels = np.array(train.table["label"].to_pylist(), dtype=object)
    names = sorted({label for label in labels if label is not None})
    if len(names) < 2:
        raise ValueError("a classifier needs at least two labels")
    proportions = theta(model, train)
    means = np.stack([proportions[labels == name].mean(0) for name in names])
    label_of = np.array(names, dtype=object)[means.argmax(0)]

    classifier = _fit_classifier(train, labels)
    generated = (classifier.predict(asked.texts) == label_of[asked.topics.numpy()]).mean()

    main = theta(model, held_out).argmax(1)
    texts = [held_out.text(i) for i in range(len(held_out.lengths))]
    guessed = classifier.predict(texts)
    natural = (guessed == label_of[main[held_out.sentences[:, 0]]]).mean()
    share = {name: (guessed == name).mean() for name in names}
    chance = float(np.mean([share[label] for label in label_of]))
    return Fidelity(float(generated), float(natural), chance, len(asked.texts))


def _fit_classifier(train: Corpus, labels: np.ndarray) -> Pipeline:
    known = [i for i, label in enumerate(labels) if label is not None]
    texts = [" ".join(train.table["sentences"][i].as_py()) for i in known]
    judge = make_pipeline(TfidfVectorizer(sublinear_tf=True, min_df=2), LogisticRegression(C=10, max_iter=1000))
    return judge.fit(texts, [labels[i] for i in known])

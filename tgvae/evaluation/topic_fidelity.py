"""Does steering work? The share of generated sentences that are about the topic they were asked for.

Two judges: the topic model's own inference, and a classifier that never saw a generated sentence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from torch import Tensor

from tgvae.data.bow import BagOfWords
from tgvae.data.corpus import Corpus
from tgvae.evaluation.generation import ReferenceLM
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.metric import Metrics, Parts
from tgvae.evaluation.registry import measure
from tgvae.evaluation.text import distinct
from tgvae.evaluation.topics import Floats, theta
from tgvae.generation.decode import DecodeSettings
from tgvae.models.tgvae import TGVAE
from tgvae.progress import step


@dataclass(frozen=True)
class Asked:
    """Sentences generated from every topic in turn."""

    topics: Tensor
    texts: list[str]


@dataclass(frozen=True, eq=False)
class Fidelity:
    """A share of hits, beside the two marks it must be read with. Each topic counts alike.

    Attributes:
        hits: whether the judge gives a sentence generated from topic i to topic i (or to its label), (N,).
        topics: the topic asked for, with shape (N,).
        natural: share of hits of real held-out sentences whose document, without the sentence, has main topic i.
        chance: of a writer that takes no notice of the topic: 1 / T, or what its labels would hit.
    """

    hits: Tensor
    topics: Tensor
    natural: float
    chance: float

    @property
    def generated(self) -> float:
        """Share of hits, the mean over topics."""
        return _mean_by_topic(self.hits, self.topics)


@step("asking for every topic")
def ask_every_topic(
    model: TGVAE, per_topic: int = 20, seed: int = 0, settings: DecodeSettings | None = None, strength: float = 1.0
) -> Asked:
    """``per_topic`` sentences from every topic; plain samples unless ``settings`` say otherwise."""
    topics = torch.arange(model.topic.size).repeat_interleave(per_topic)
    with evaluating(model, seed):
        weights = torch.nn.functional.one_hot(topics, model.topic.size).float().to(model.device)
        sentences = model.write(model.draw(weights, strength), settings)
    return Asked(topics, [sentence.text for sentence in sentences])


def inferred_topics(model: TGVAE, counts: BagOfWords) -> Tensor:
    """Main topic of bags of words (N, D) by the model's own inference, (N,); -1 where there is no topic word."""
    with evaluating(model, seed=0):
        main = model.topic(counts.to(model.device)).argmax(-1)
    return torch.where(counts.sizes.cpu() > 0, main.cpu(), -1)


def generated_fidelity(model: TGVAE, asked: Asked) -> float:
    """Share of the sentences whose inferred topic is the one asked for; no topic word is a miss."""
    return _mean_by_topic(_own_hits(model, asked), asked.topics)


def _own_hits(model: TGVAE, asked: Asked) -> Tensor:
    return inferred_topics(model, model.counts(asked.texts)) == asked.topics


def surrounding_topics(model: TGVAE, held_out: Corpus) -> Tensor:
    """For each modelled sentence the main topic of its document without it, (N,), in the order of the corpus."""
    found = torch.empty(len(held_out.lengths), dtype=torch.long)
    for index in held_out.sentence_batches(8192):
        found[torch.from_numpy(index)] = inferred_topics(model, held_out.gather(index).context)
    return found


class OwnJudge:
    """Fidelity by the topic model's own inference.

    Args:
        model: both the writer and the judge.
        held_out: the split of the natural sentences.
        around: its ``surrounding_topics``, for judges that share them; found when not given.
    """

    def __init__(self, model: TGVAE, held_out: Corpus, around: Tensor | None = None) -> None:
        self.model = model
        around = surrounding_topics(model, held_out) if around is None else around
        own = torch.empty_like(around)
        for index in held_out.sentence_batches(8192):
            own[torch.from_numpy(index)] = inferred_topics(model, held_out.gather(index).sentence_bow)
        self.natural = _mean_by_topic(own == around, around)

    def fidelity(self, asked: Asked) -> Fidelity:
        """Of sentences that were asked for."""
        return Fidelity(_own_hits(self.model, asked), asked.topics, self.natural, 1 / self.model.topic.size)


class LabelJudge:
    """Fidelity by a classifier of gold labels (TF-IDF, logistic regression), fitted on real documents only.

    A topic's label is the one whose documents give it the largest mean proportion; a sentence asked of
    topic i is a hit when the classifier gives it that label.

    Args:
        model: the writer.
        train: the split that the classifier is fitted on.
        held_out: the split of the natural sentences.
        around: its ``surrounding_topics``, for judges that share them; found when not given.
        proportions: ``theta`` of the training documents, for the same reason.

    Raises:
        ValueError: the corpus has fewer than two labels.
    """

    def __init__(
        self,
        model: TGVAE,
        train: Corpus,
        held_out: Corpus,
        around: Tensor | None = None,
        proportions: Floats | None = None,
    ) -> None:
        labels = np.array(train.table["label"].to_pylist(), dtype=object)
        names = sorted({label for label in labels if label is not None})
        if len(names) < 2:
            raise ValueError("a classifier needs at least two labels")
        proportions = theta(model, train) if proportions is None else proportions
        means = np.stack([proportions[labels == name].mean(0) for name in names])
        self.label_of = np.array(names, dtype=object)[means.argmax(0)]
        self._classifier = _fit_classifier(train, labels)
        around = surrounding_topics(model, held_out) if around is None else around
        hits, _ = self._hits(Asked(around, held_out.texts))
        self.natural = _mean_by_topic(hits, around)

    def fidelity(self, asked: Asked) -> Fidelity:
        """Of sentences that were asked for; chance is that of the same sentences asked of topics at random."""
        hits, chance = self._hits(asked)
        return Fidelity(hits, asked.topics, self.natural, chance)

    def _hits(self, asked: Asked) -> tuple[Tensor, float]:
        wanted, given = self.label_of[asked.topics.numpy()], self._classifier.predict(asked.texts)
        chance = sum((wanted == name).mean() * (given == name).mean() for name in set(self.label_of))
        return torch.from_numpy(wanted == given), float(chance)


@step("measuring guidance")
def guidance_figures(
    model: TGVAE,
    train: Corpus,
    held_out: Corpus,
    proportions: Floats,
    asked_by_strength: Mapping[float, Asked],
    judge: ReferenceLM | None,
    seed: int,
) -> Metrics:
    """Fidelity of plain samples at each strength of steering, and what the strength costs in fluency and variety.

    ``proportions`` are those of the training documents, with shape (documents, T).
    """
    around = surrounding_topics(model, held_out)
    judges: dict[str, OwnJudge | LabelJudge] = {"fidelity_{strength:g}": OwnJudge(model, held_out, around)}
    if len(set(train.table["label"].to_pylist()) - {None}) > 1:
        judges["fidelity_classifier_{strength:g}"] = LabelJudge(model, train, held_out, around, proportions)
    found: Metrics = {}
    for strength, asked in asked_by_strength.items():
        for metric, topic_judge in judges.items():
            fidelity = topic_judge.fidelity(asked)
            baselines = {"real_text": fidelity.natural, "chance": fidelity.chance}
            hits = Parts.mean(fidelity.hits.numpy())
            found |= measure(metric, hits, seed=seed, baselines=baselines, strength=strength)
        if judge is not None:
            found |= judge.forward(asked.texts, seed, strength)
        variety = distinct(asked.texts, 2)
        found |= measure("distinct_2_{strength:g}", variety, len(asked.texts), seed, strength=strength)
    return found


def _mean_by_topic(hits: Tensor, topics: Tensor) -> float:
    """Mean over topics of the share of hits of each topic that occurs (-1 is none)."""
    shares = [hits[topics == i].float().mean() for i in topics.unique() if i >= 0]
    return torch.stack(shares).mean().item() if shares else math.nan


def _fit_classifier(train: Corpus, labels: np.ndarray) -> Pipeline:
    known = [i for i, label in enumerate(labels) if label is not None]
    texts = [" ".join(train.table["sentences"][i].as_py()) for i in known]
    judge = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, max_iter=1000))
    return judge.fit(texts, [labels[i] for i in known])

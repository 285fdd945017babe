"""What the page of an evaluation shows, as plain data, and how it is filled from an evaluation."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from tgvae.data.corpus import Corpus
from tgvae.data.dataset import Examples
from tgvae.data.graphs import GraphSplit
from tgvae.data.vectors import VectorSplit
from tgvae.evaluation.bleu import ORDERS
from tgvae.evaluation.embeddings import Points, node_points, reconstructions, samples, vector_points
from tgvae.evaluation.metric import Report
from tgvae.evaluation.projections import Floats, topic_distances
from tgvae.evaluation.report import Evaluation
from tgvae.evaluation.summary_figures import Summarized
from tgvae.evaluation.topics import WithTopics, has_topics, nearest_sentences, top_words
from tgvae.models.base import Model
from tgvae.models.vae import VectorVAE
from tgvae.models.vgae import GraphVAE
from tgvae.progress import step


@dataclass(frozen=True)
class TopicRow:
    """A topic: its row in beta (from 0), mean proportion, coherence, top words with their probabilities,
    sentences written about it, and sentences of the corpus nearest to it; KL of z in nats a sentence and the number
    of held-out sentences that it is the mean of, where the model has one."""

    number: int
    share: float
    npmi: float
    words: Sequence[str]
    probabilities: Sequence[float]
    samples: Sequence[str] = ()
    nearest: Sequence[str] = ()
    kl: float | None = None
    sentences: int | None = None

    @property
    def name(self) -> str:
        """Number and three words."""
        return f"{self.number} {', '.join(self.words[:3])}"


@dataclass(frozen=True)
class SummaryRow:
    """A document, what was to be written of it (one or several), and what the model wrote."""

    id: str
    document: str
    references: Sequence[str]
    summary: str


@dataclass(frozen=True, eq=False)
class Exhibits:
    """What a page shows. None, or nothing, stands for what a model does not have, and is left out.

    Attributes:
        title: heading of the page.
        about: run, corpus, licence, kind of model, seed, versions, ...
        figures: a table a section.
        topics: every topic once, in any order.
        topic_distances: between topics in the order of beta, with shape (T, T).
        theta: topic proportions of documents, with shape (documents, T).
        dates: year or ISO date of these documents.
        labels: label of these documents.
        document_text: title and first sentence of these documents, cut short.
        latent: posterior means of sentences, with shape (N, Z).
        latent_topic: topic of these sentences, with shape (N,); -1 for none.
        latent_text: these sentences.
        points: vectors or nodes in latent space.
        samples: pictures drawn from the prior, with shape (rows, columns, height, width).
        reconstructions: pictures and what the decoder makes of their latents, with shape (2, columns, height, width).
        history: rows of the run's metrics.jsonl.
        lengths: words of real sentences and of generated ones.
        bleu: BLEU by kind and order of n-grams.
        summaries: some documents with their summaries.
        steering: strength, fidelity, fluency (perplexity under a judge), share of distinct bigrams.
    """

    title: str
    about: Mapping[str, str] = field(default_factory=dict)
    figures: Report = field(default_factory=dict)
    topics: Sequence[TopicRow] | None = None
    topic_distances: Floats | None = None
    theta: Floats | None = None
    dates: Sequence[str | None] | None = None
    labels: Sequence[str | None] | None = None
    document_text: Sequence[str] | None = None
    latent: Floats | None = None
    latent_topic: NDArray[np.integer] | None = None
    latent_text: Sequence[str] | None = None
    points: Points | None = None
    samples: Floats | None = None
    reconstructions: Floats | None = None
    history: Sequence[Mapping[str, Any]] | None = None
    lengths: tuple[Sequence[int], Sequence[int]] | None = None
    bleu: Mapping[str, Mapping[int, float]] | None = None
    summaries: Sequence[SummaryRow] = ()
    steering: Sequence[tuple[float, float, float, float]] | None = None


@step("fork_rng")
def exhibits_of(
    found: Evaluation,
    model: Model,
    train: Examples,
    held_out: Examples,
    title: str,
    about: Mapping[str, str],
    run: Path,
) -> Exhibits:
    """What the page shows of an evaluation; ``run`` is the folder with the run's metrics."""
    shown = Exhibits(title, about, figures=found.report, history=history(run / "metrics.jsonl"))
    if isinstance(model, VectorVAE):
        assert isinstance(held_out, VectorSplit)
        drawn, again = samples(model), reconstructions(model, held_out)
        return replace(shown, points=vector_points(model, held_out), samples=drawn, reconstructions=again)
    if isinstance(model, GraphVAE):
        assert isinstance(held_out, GraphSplit)
        return replace(shown, points=node_points(model, held_out))
    assert isinstance(train, Corpus)
    assert isinstance(held_out, Corpus)
    return _with_text(shown, found, model, train, held_out)


def _with_text(shown: Exhibits, found: Evaluation, model: Model, train: Corpus, held_out: Corpus) -> Exhibits:
    """What there is of topics, of the latent of sentences and of what was written."""
    if found.theta is not None and has_topics(model):
        metadata = [json.loads(row) for row in train.table["metadata"].to_pylist()]
        dates = [row.get("date", row.get("year")) for row in metadata]
        shown = replace(
            shown,
            topics=topic_rows(found, model, train),
            topic_distances=topic_distances(model.topic.log_beta.detach().exp().cpu().double().numpy()),
            theta=found.theta,
            dates=[None if date is None else str(date) for date in dates],
            labels=train.table["label"].to_pylist(),
            document_text=_beginnings(train),
        )
    if found.posteriors is not None:
        weights = found.posteriors.weights
        topic = weights.argmax(-1) if weights.shape[1] > 1 else torch.full((len(weights),), -1)
        means = found.posteriors.means.numpy()
        shown = replace(shown, latent=means, latent_topic=topic.numpy(), latent_text=held_out.texts)
    if found.writing is not None:
        of = {"": found.writing.generated, ", real text": found.writing.real}
        curves = {f"test-BLEU{name}": w.test_bleu for name, w in of.items()}
        curves |= {f"self-BLEU{name}": w.own_bleu for name, w in of.items()}
        shown = replace(
            shown,
            lengths=(found.writing.held_out_lengths.tolist(), found.writing.generated.lengths.tolist()),
            bleu={name: dict(zip(ORDERS, scores.mean(0).tolist(), strict=True)) for name, scores in curves.items()},
        )
    return replace(shown, steering=_steering(found), summaries=_some_summaries(found.summarized))


def _beginnings(corpus: Corpus, longest: int = 200) -> list[str]:
    """Title and first sentence of every document, at most so many characters of them."""
    sentences = pc.binary_join(pc.list_slice(corpus.table["sentences"], 0, 1), "")
    texts = pc.binary_join_element_wise(corpus.table["title"], sentences, " – ", null_handling="skip")
    beginnings: list[str] = pc.utf8_slice_codeunits(texts, 0, longest).to_pylist()
    return beginnings


def _some_summaries(found: Summarized | None, count: int = 20) -> list[SummaryRow]:
    """``count`` documents, drawn by a fixed seed and not chosen."""
    if found is None:
        return []
    rows = np.random.default_rng(0).permutation(len(found.index))[:count].tolist()
    written = found.written["beam"]
    return [SummaryRow(found.ids[i], found.texts[i], found.references[i], written[i]) for i in rows]


def topic_rows(found: Evaluation, model: WithTopics, train: Corpus) -> list[TopicRow]:
    """Every topic by falling share of the training documents, with sentences written on it and near it."""
    assert found.theta is not None
    beta = model.topic.log_beta.detach().exp().cpu().numpy()
    top, share = top_words(beta), found.theta.mean(0)
    coherence = found.report["topics"]["topic NPMI"].parts
    assert coherence is not None
    near = nearest_sentences(model, train, 3)
    asked = next(reversed(found.asked.values()), None)
    written: dict[int, list[str]] = defaultdict(list)
    for topic, text in zip(asked.topics.tolist(), asked.texts, strict=True) if asked else ():
        written[topic].append(text)
    return [
        TopicRow(
            number=int(i),
            share=float(share[i]),
            npmi=float(coherence.x[i]),
            words=[model.vocabulary.words[w] for w in top[i]],
            probabilities=beta[i, top[i]].tolist(),
            samples=written[int(i)][:5],
            nearest=near[i],
            kl=None if found.kl is None else float(found.kl.nats[i]),
            sentences=None if found.kl is None else int(found.kl.sentences[i]),
        )
        for i in (-share).argsort()
    ]


def history(path: Path) -> list[dict[str, Any]]:
    """Rows of a run's metrics.jsonl, up to one that a kill cut off; none where it has not begun."""
    found: list[dict[str, Any]] = []
    if path.is_file():
        with suppress(ValueError):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                found.append(json.loads(line))
    return found


def _steering(found: Evaluation) -> list[tuple[float, float, float, float]] | None:
    """Points of the steering curve; None where no judge has rated fluency."""
    guidance, points = found.report.get("guidance", {}), []
    for strength in found.asked:
        names = (f"{name}, strength {strength:g}" for name in ("fidelity", "forward perplexity", "distinct bigrams"))
        values = [guidance[name].value for name in names if name in guidance]
        if len(values) == 3:
            fidelity, fluency, variety = values
            points.append((strength, fidelity, fluency, variety))
    return points or None

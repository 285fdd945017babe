"""The data behind the HTML report and the plots of a run, collected from its model and its evaluation."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
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
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.metric import Report
from tgvae.evaluation.projections import Floats, topic_distances
from tgvae.evaluation.report import Evaluation
from tgvae.evaluation.topics import WithTopics, nearest_sentences, top_words
from tgvae.evaluation.vector_metrics import embedded, row_of
from tgvae.models.base import Capability, Model
from tgvae.models.vae import VectorVAE
from tgvae.models.vgae import GraphVAE
from tgvae.progress import step

SUMMARY_EXAMPLES, SENTENCES_PER_TOPIC, NEAREST_SENTENCES = 20, 5, 3
SAMPLE_ROWS, SAMPLE_COLUMNS = 3, 20
MAX_DOCUMENT_TEXT = 200  # characters


@dataclass(frozen=True)
class TopicRow:
    """A topic of a model.

    Attributes:
        number: its row in beta, from 0.
        share: mean proportion over the training documents.
        npmi: coherence.
        words: most probable words, best first.
        probabilities: of these words.
        samples: sentences generated for the topic.
        nearest: sentences of the corpus that the topic explains best.
        kl: KL of z in nats per sentence; None for models without it.
        sentences: number of held-out sentences that ``kl`` is the mean of.
    """

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
        """Number and three most probable words."""
        return f"{self.number} {', '.join(self.words[:3])}"


@dataclass(frozen=True)
class SummaryRow:
    """A document with its reference summaries and the generated summary."""

    id: str
    document: str
    references: Sequence[str]
    summary: str


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Posterior means of a split.

    Attributes:
        items: what is embedded, in the plural: sentences, images, vectors, nodes.
        means: with shape (N, Z).
        group: index into ``group_names`` of each item, with shape (N,).
        group_names: labels or topics; a single name if there are none.
        texts: text or name of each item.
    """

    items: str
    means: Floats
    group: NDArray[np.integer]
    group_names: Sequence[str]
    texts: Sequence[str]


@dataclass(frozen=True, eq=False)
class ReportData:
    """Data of a report. Fields that are None or empty do not apply to the model; their plots are left out.

    Attributes:
        title: heading of the report.
        about: run, corpus, licence, kind of model, seed, versions, ...
        metrics: by section.
        topics: every topic once, in any order.
        topic_distances: Jensen-Shannon distances in the order of beta, with shape (T, T).
        theta: topic proportions of documents, with shape (documents, T).
        dates: year or ISO date of these documents.
        labels: of these documents.
        document_texts: title and first sentence of these documents.
        embeddings: posterior means of held-out sentences, vectors or nodes.
        samples: images from the prior, with shape (rows, columns, height, width).
        reconstructions: images and their reconstructions, with shape (2, columns, height, width).
        history: rows of the run's metrics.jsonl.
        lengths: number of words of real and of generated sentences.
        bleu: BLEU by kind and n-gram order.
        summaries: some documents with their summaries.
        guidance: strength, fidelity, perplexity under a reference language model, and share of distinct bigrams.
    """

    title: str = ""
    about: Mapping[str, str] = field(default_factory=dict)
    metrics: Report = field(default_factory=dict)
    topics: Sequence[TopicRow] | None = None
    topic_distances: Floats | None = None
    theta: Floats | None = None
    dates: Sequence[str | None] | None = None
    labels: Sequence[str | None] | None = None
    document_texts: Sequence[str] | None = None
    embeddings: Embeddings | None = None
    samples: Floats | None = None
    reconstructions: Floats | None = None
    history: Sequence[Mapping[str, Any]] | None = None
    lengths: tuple[Sequence[int], Sequence[int]] | None = None
    bleu: Mapping[str, Mapping[int, float]] | None = None
    summaries: Sequence[SummaryRow] = ()
    guidance: Sequence[tuple[float, float, float, float]] | None = None

    @property
    def topic_names(self) -> list[str]:
        """Name of every topic in the order of beta; "topic 3" for a topic without words."""
        names = {topic.number: topic.name for topic in self.topics or ()}
        count = max(0 if self.theta is None else self.theta.shape[1], *(number + 1 for number in names), 0)
        return [names.get(i, f"topic {i}") for i in range(count)]


@step("collecting the data of the report")
def collect_report_data(
    evaluation: Evaluation,
    model: Model,
    train: Examples,
    held_out: Examples,
    title: str = "",
    about: Mapping[str, str] | None = None,
    run: Path | None = None,
) -> ReportData:
    """Return the data of a report.

    Args:
        evaluation: of the model; parts that were not evaluated are left out.
        model: of any kind.
        train: the split that the model was trained on.
        held_out: the split that was evaluated.
        title: heading of the report.
        about: facts about the run, by name.
        run: its folder, for the history of training.
    """
    data = ReportData(title, about or {}, evaluation.report, history=read_history(run) if run else None)
    for capability, collect in COLLECTORS.items():
        if capability in model.capabilities:
            data = replace(data, **collect(data, evaluation, model, train, held_out))
    return data


def read_history(run: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's metrics.jsonl, up to a line that was cut off by a kill; [] if there is no file."""
    path, rows = run / "metrics.jsonl", []
    if path.is_file():
        with suppress(ValueError):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                rows.append(json.loads(line))
    return rows


def topic_rows(evaluation: Evaluation, model: WithTopics, train: Corpus) -> list[TopicRow]:
    """Return every topic, largest share of the training documents first."""
    assert evaluation.theta is not None
    beta = model.topic.log_beta.detach().exp().cpu().numpy()
    top, share = top_words(beta), evaluation.theta.mean(0)
    coherence = evaluation.report["topics"]["topic_npmi"].parts
    assert coherence is not None
    nearest = nearest_sentences(model, train, NEAREST_SENTENCES)
    strongest = next(reversed(evaluation.topic_samples.values()), None)
    samples: dict[int, list[str]] = defaultdict(list)
    for topic, text in zip(strongest.topics.tolist(), strongest.texts, strict=True) if strongest else ():
        samples[topic].append(text)
    return [
        TopicRow(
            number=int(i),
            share=float(share[i]),
            npmi=float(coherence.x[i]),
            words=[model.vocabulary.words[w] for w in top[i]],
            probabilities=beta[i, top[i]].tolist(),
            samples=samples[int(i)][:SENTENCES_PER_TOPIC],
            nearest=nearest[i],
            kl=None if evaluation.topic_kl is None else float(evaluation.topic_kl.nats[i]),
            sentences=None if evaluation.topic_kl is None else int(evaluation.topic_kl.sentences[i]),
        )
        for i in (-share).argsort()
    ]


def _topic_data(
    data: ReportData, evaluation: Evaluation, model: WithTopics, train: Corpus, held_out: Corpus
) -> dict[str, Any]:
    if evaluation.theta is None:
        return {}
    metadata = [json.loads(row) for row in train.table["metadata"].to_pylist()]
    dates = [row.get("date", row.get("year")) for row in metadata]
    first = pc.binary_join(pc.list_slice(train.table["sentences"], 0, 1), "")
    texts = pc.binary_join_element_wise(train.table["title"], first, " – ", null_handling="skip")
    return {
        "topics": topic_rows(evaluation, model, train),
        "topic_distances": topic_distances(model.topic.log_beta.detach().exp().cpu().double().numpy()),
        "theta": evaluation.theta,
        "dates": [None if date is None else str(date) for date in dates],
        "labels": train.table["label"].to_pylist(),
        "document_texts": pc.utf8_slice_codeunits(texts, 0, MAX_DOCUMENT_TEXT).to_pylist(),
    }


def _sentence_embeddings(
    data: ReportData, evaluation: Evaluation, model: Model, train: Corpus, held_out: Corpus
) -> dict[str, Any]:
    posteriors = evaluation.posteriors
    if posteriors is None:
        return {}
    topic = posteriors.weights.argmax(-1).numpy()  # all 0 without mixture components
    names = data.topic_names if posteriors.components is not None else ["sentences"]
    return {"embeddings": Embeddings("sentences", posteriors.means.numpy(), topic, names, held_out.texts)}


def _generation_data(
    data: ReportData, evaluation: Evaluation, model: Model, train: Corpus, held_out: Corpus
) -> dict[str, Any]:
    if evaluation.generated is None:
        return {}
    generated, real = evaluation.generated.samples, evaluation.generated.real
    scores = {
        "test-BLEU": generated.test_bleu,
        "test-BLEU, real text": real.test_bleu,
        "self-BLEU": generated.self_bleu,
        "self-BLEU, real text": real.self_bleu,
    }
    return {
        "lengths": (evaluation.generated.held_out_lengths.tolist(), generated.lengths.tolist()),
        "bleu": {name: dict(zip(ORDERS, values.mean(0).tolist(), strict=True)) for name, values in scores.items()},
    }


def _guidance_data(data: ReportData, evaluation: Evaluation, *_: Any) -> dict[str, Any]:
    """Return the guidance curve; it needs a reference language model for the perplexity."""
    metrics, points = evaluation.report.get("guidance", {}), []
    for strength in evaluation.topic_samples:
        ids = (f"{metric}_{strength:g}" for metric in ("fidelity", "forward_perplexity", "distinct_2"))
        values = [metrics[id].value for id in ids if id in metrics]
        if len(values) == 3:
            points.append((strength, *values))
    return {"guidance": points or None}


def _summary_data(data: ReportData, evaluation: Evaluation, *_: Any) -> dict[str, Any]:
    """Return a random sample of the summaries, the same for every run."""
    found = evaluation.summaries
    if found is None:
        return {}
    rows = np.random.default_rng(0).permutation(len(found.index))[:SUMMARY_EXAMPLES].tolist()
    beam = found.generated["beam"]
    return {"summaries": [SummaryRow(found.ids[i], found.texts[i], found.references[i], beam[i]) for i in rows]}


def vector_embeddings(model: VectorVAE, split: VectorSplit) -> Embeddings:
    """Return the embeddings of the vectors of a split, grouped by label if they have labels."""
    items, names = f"{row_of(model)}s", split.names(np.arange(len(split.x)))
    group_names, group = [items], np.zeros(len(names), np.int64)
    if split.labels is not None:
        labels, group = np.unique(split.labels, return_inverse=True)
        group_names = labels.tolist()
    return Embeddings(items, embedded(model, split), group, group_names, names)


def node_embeddings(model: GraphVAE, split: GraphSplit) -> Embeddings:
    """Return the embeddings of the nodes of a graph, grouped by label if they have labels."""
    graph = split.graph
    nodes = np.arange(graph.nodes)
    with evaluating(model, seed=0):
        means = model.embed(split.gather(nodes).to(model.device)).cpu().double().numpy()
    group_names, group = ["nodes"], np.zeros_like(nodes)
    if graph.labels is not None:
        labels, group = np.unique(graph.labels, return_inverse=True)
        group_names = ["no label" if label < 0 else f"label {label}" for label in labels]
    return Embeddings("nodes", means, group, group_names, graph.names)


def sample_images(model: VectorVAE) -> Floats | None:
    """Return E[x | z] of samples z from the prior, with shape (rows, columns, height, width).

    None for a deterministic autoencoder, which has no prior, and for vectors that are not images.
    """
    if model.config.latent == "point" or not model.space.picture:
        return None
    return model.sample(SAMPLE_ROWS * SAMPLE_COLUMNS).cpu().view(SAMPLE_ROWS, -1, *model.space.picture).numpy()


def reconstruct_images(model: VectorVAE, split: VectorSplit) -> Floats | None:
    """Return the first images of a split and their reconstructions from E_q[z | x]; splits are in random order.

    Returns:
        With shape (2, columns, height, width); None for vectors that are not images.
    """
    if not model.space.picture:
        return None
    x = torch.from_numpy(split.x[:SAMPLE_COLUMNS])
    with evaluating(model, seed=0):
        reconstruction = model.likelihood(model.embed(x.to(model.device))).mean.cpu()
    return torch.stack((x, reconstruction)).unflatten(-1, model.space.picture).numpy()


def _vector_data(data: ReportData, evaluation: Evaluation, model: Any, train: Any, held_out: Any) -> dict[str, Any]:
    return {
        "embeddings": vector_embeddings(model, held_out),
        "samples": sample_images(model),
        "reconstructions": reconstruct_images(model, held_out),
    }


COLLECTORS: dict[Capability, Callable[..., dict[str, Any]]] = {  # topics first: embeddings use their names
    Capability.TOPICS: _topic_data,
    Capability.LATENT: _sentence_embeddings,
    Capability.GENERATION: _generation_data,
    Capability.GUIDANCE: _guidance_data,
    Capability.SUMMARIES: _summary_data,
    Capability.VECTORS: _vector_data,
    Capability.GRAPH: lambda data, evaluation, model, train, split: {"embeddings": node_embeddings(model, split)},
}

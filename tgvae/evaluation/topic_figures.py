"""The figures of topics: coherence, diversity, use, agreement with labels, beside LDA."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tgvae.data.corpus import Corpus
from tgvae.data.schema import SPLITS
from tgvae.evaluation.baselines import lda_topics
from tgvae.evaluation.coherence import Cooccurrence, Texts, c_v, npmi, npmi_at, running_texts
from tgvae.evaluation.labels import agreement
from tgvae.evaluation.likelihood import document_bound
from tgvae.evaluation.metric import Metric, Metrics, Parts
from tgvae.evaluation.topics import Floats, WithTopics, diversity, inverted_rbo, theta, top_words, topics_in_use
from tgvae.progress import step


@step("measuring topics")
def topic_figures(
    model: WithTopics, train: Corpus, held_out: Corpus, proportions: Floats, seed: int, lda: bool
) -> Metrics:
    """Coherence, diversity and use of the topics, beside LDA if asked for; perplexity of documents; labels.

    ``proportions`` are those of the training documents, with shape (documents, T).
    """
    texts = _whole_corpus(train)
    figures = set_figures(model.topic.log_beta.detach().cpu().numpy(), train, texts)
    if lda:
        beside = set_figures(lda_topics(train.bags, model.topic.size, seed), train, texts)
        figures = {name: replace(f, marks={"LDA": beside[name].value}) for name, f in figures.items()}
    figures["topics in use"] = Metric(
        topics_in_use(proportions), "share", "main topic of 0.1 / T of the training documents", train.documents
    )
    parts = document_bound(model, held_out, seed).parts("word", exp=True)
    figures["document perplexity"] = Metric.of(parts, "per topic word, with KL", "one draw a document", seed)
    labels = [corpus.table["label"].to_pylist() for corpus in (train, held_out)]
    if len(set(labels[0]) - {None}) > 1 and set(labels[1]) - {None}:
        found = agreement(proportions, labels[0], theta(model, held_out), labels[1])
        how = "main topic of held-out documents against labels"
        figures["purity"] = Metric(found.purity, "share", how, found.documents)
        figures["NMI with labels"] = Metric(found.nmi, "share", how, found.documents)
        how = f"logistic regression on log theta (commonest label: {found.majority:.3f})"
        figures["probe accuracy"] = Metric(found.probe, "share of held-out documents", how, found.documents)
    return figures


def set_figures(beta: Floats, train: Corpus, texts: Texts) -> Metrics:
    """Metrics of topics as lists of words, from their (log-)probabilities (T, D) in whatever model."""
    top = top_words(beta, 20)
    ten = top[:, :10]
    whole = f"all {len(texts.starts) - 1} documents"
    windows = Cooccurrence.by_windows(texts, top, 10)
    return {
        "topic NPMI": Metric.of(Parts.mean(npmi(ten, train.bags)), "-1 to 1", "top 10, training documents"),
        "topic NPMI, window 10": Metric.of(
            Parts.mean(npmi_at(top, windows, unseen=0.0)),
            "-1 to 1",
            f"top 5, 10, 15, 20, unseen pairs 0; {whole}",
        ),
        "topic C_V": Metric.of(Parts.mean(c_v(ten, texts)), "0 to 1", f"top 10, window 110; {whole}"),
        "topic diversity": Metric(diversity(ten), "share", "distinct words among the top 10", len(top)),
        "inverted RBO": Metric(inverted_rbo(ten), "share", "top 10, p = 0.9", len(top)),
    }


def _whole_corpus(train: Corpus) -> Texts:
    """Topic words of all splits: the reference of coherence by windows."""
    parts = [running_texts(Corpus(train.folder, split)) for split in SPLITS]
    before = np.cumsum([0, *(len(part.words) for part in parts)])
    starts = [part.starts[:-1] + shift for part, shift in zip(parts, before, strict=False)]
    return Texts(np.concatenate([part.words for part in parts]), np.concatenate([*starts, before[-1:]]))

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
from tgvae.evaluation.metric import Metrics, Parts
from tgvae.evaluation.registry import measure
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
        figures = {id: replace(f, baselines={"lda": beside[id].value}) for id, f in figures.items()}
    figures |= measure("topics_in_use", topics_in_use(proportions), train.documents)
    figures |= measure("document_perplexity", document_bound(model, held_out, seed).parts("word", exp=True), seed=seed)
    labels = [corpus.table["label"].to_pylist() for corpus in (train, held_out)]
    if len(set(labels[0]) - {None}) > 1 and set(labels[1]) - {None}:
        found = agreement(proportions, labels[0], theta(model, held_out), labels[1])
        figures |= measure("purity", found.purity, found.documents)
        figures |= measure("label_nmi", found.nmi, found.documents)
        figures |= measure("probe_accuracy", found.probe, found.documents, majority=found.majority)
    return figures


def set_figures(beta: Floats, train: Corpus, texts: Texts) -> Metrics:
    """Metrics of topics as lists of words, from their (log-)probabilities (T, D) in whatever model."""
    top = top_words(beta, 20)
    ten = top[:, :10]
    documents = len(texts.starts) - 1
    windows = Cooccurrence.by_windows(texts, top, 10)
    return (
        measure("topic_npmi", Parts.mean(npmi(ten, train.bags)))
        | measure("topic_npmi_window_10", Parts.mean(npmi_at(top, windows, unseen=0.0)), documents=documents)
        | measure("topic_c_v", Parts.mean(c_v(ten, texts)), documents=documents)
        | measure("topic_diversity", diversity(ten), len(top))
        | measure("inverted_rbo", inverted_rbo(ten), len(top))
    )


def _whole_corpus(train: Corpus) -> Texts:
    """Topic words of all splits: the reference of coherence by windows."""
    parts = [running_texts(Corpus(train.folder, split)) for split in SPLITS]
    before = np.cumsum([0, *(len(part.words) for part in parts)])
    starts = [part.starts[:-1] + shift for part, shift in zip(parts, before, strict=False)]
    return Texts(np.concatenate([part.words for part in parts]), np.concatenate([*starts, before[-1:]]))

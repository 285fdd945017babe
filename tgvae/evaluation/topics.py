"""Topics: coherence, diversity and use, agreement with labels, prevalence over time, and LDA as the baseline.

Report coherence, diversity and use together: each alone can mislead, as one coherent topic repeated T times shows.
Shape legend: T topics, D topic vocabulary.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tgvae.data.corpus import Corpus
from tgvae.data.schema import SPLITS
from tgvae.distributions import safe_log
from tgvae.errors import UserError
from tgvae.evaluation.coherence import Cooccurrence, Texts, c_v, npmi, npmi_at, running_texts
from tgvae.evaluation.likelihood import document_bound, evaluating
from tgvae.evaluation.metric import Metrics, Parts
from tgvae.evaluation.registry import EvalInputs, Evaluation, evaluator, measure
from tgvae.models.base import Capability, Model
from tgvae.models.summarizer import Summarizer
from tgvae.models.tgvae import TGVAE
from tgvae.models.topic import TopicModel
from tgvae.progress import step, track

Floats = NDArray[np.floating]
Labels = Sequence[str | None]
WithTopics = TGVAE | TopicModel | Summarizer
"""For annotations only; at run time ask ``has_topics``."""
MAX_LABELS = 30


@evaluator("topics", Capability.TOPICS)
@step("measuring topics")
def evaluate_topics(inputs: EvalInputs, evaluation: Evaluation) -> Metrics:
    """Coherence, diversity and use of the topics (with LDA as baseline if asked for), document perplexity, labels."""
    model, train, held_out, seed = inputs.model, inputs.train, inputs.held_out, inputs.config.seed
    proportions = evaluation.theta = theta(model, train)
    texts = _whole_corpus(train)
    metrics = topic_word_metrics(model.topic.log_beta.detach().cpu().numpy(), train, texts)
    if inputs.config.lda:
        lda = topic_word_metrics(lda_topics(train.bags, model.topic.size, seed), train, texts)
        metrics = {id: replace(metric, baselines={"lda": lda[id].value}) for id, metric in metrics.items()}
    metrics |= measure("topics_in_use", topics_in_use(proportions), train.documents)
    metrics |= measure("document_perplexity", document_bound(model, held_out, seed).parts("word", exp=True), seed=seed)
    train_labels, labels = (corpus.table["label"].to_pylist() for corpus in (train, held_out))
    if len(set(train_labels) - {None}) > 1 and set(labels) - {None}:
        found = label_agreement(proportions, train_labels, theta(model, held_out), labels)
        metrics |= measure("purity", found.purity, found.documents)
        metrics |= measure("label_nmi", found.nmi, found.documents)
        metrics |= measure("probe_accuracy", found.probe, found.documents, majority=found.majority)
    return metrics


def topic_word_metrics(beta: Floats, train: Corpus, texts: Texts) -> Metrics:
    """Return the metrics of topics as lists of words, from the (log-)probabilities (T, D) of any topic model."""
    top = top_words(beta, 20)
    ten, documents = top[:, :10], len(texts.starts) - 1
    windows = Cooccurrence.by_windows(texts, top, 10)
    return (
        measure("topic_npmi", Parts.mean(npmi(ten, train.bags)))
        | measure("topic_npmi_window_10", Parts.mean(npmi_at(top, windows, unseen=0.0)), documents=documents)
        | measure("topic_c_v", Parts.mean(c_v(ten, texts)), documents=documents)
        | measure("topic_diversity", diversity(ten), len(top))
        | measure("inverted_rbo", inverted_rbo(ten), len(top))
    )


def _whole_corpus(train: Corpus) -> Texts:
    """Return the topic words of all splits: the reference of coherence by windows."""
    parts = [running_texts(Corpus(train.folder, split)) for split in SPLITS]
    before = np.cumsum([0, *(len(part.words) for part in parts)])
    starts = [part.starts[:-1] + shift for part, shift in zip(parts, before, strict=False)]
    return Texts(np.concatenate([part.words for part in parts]), np.concatenate([*starts, before[-1:]]))


@dataclass(frozen=True)
class TopicQuality:
    """Quality of a set of topics, as training logs it.

    Attributes:
        npmi: coherence of each topic with shape (T,).
        diversity: share of distinct words among the top 10 of all topics.
        share: mean proportion of each topic over documents with shape (T,).
        in_use: share of the topics that are the main topic of at least 0.1 / T of the documents.
    """

    npmi: Floats
    diversity: float
    share: Floats
    in_use: float


@step("measuring topics")
def topic_quality(model: WithTopics, corpus: Corpus, words: int = 10) -> TopicQuality:
    """Return the quality of a model's topics with ``corpus`` (usually the training split) as reference."""
    top = top_words(model.topic.log_beta.detach().cpu().numpy(), words)
    proportions = theta(model, corpus)
    return TopicQuality(npmi(top, corpus.bags), diversity(top), proportions.mean(0), topics_in_use(proportions))


def has_topics(model: Model) -> TypeGuard[WithTopics]:
    """Return whether the model has topics; of a summarizer this depends on its settings."""
    return Capability.TOPICS in model.capabilities


def top_words(beta: Floats, count: int = 10) -> NDArray[np.int64]:
    """Return the ids of the most probable words of each topic, best first, with shape (T, count).

    Examples:
        >>> import numpy as np
        >>> top_words(np.array([[0.1, 0.7, 0.2]]), count=2).tolist()
        [[1, 2]]
    """
    return np.argsort(-beta, axis=1, kind="stable")[:, :count]


def diversity(top: NDArray[np.int64]) -> float:
    """Return the share of distinct words among the top words of all topics (Dieng et al. 2020).

    Examples:
        >>> import numpy as np
        >>> diversity(np.array([[0, 1], [1, 2]]))  # 3 words in 4 places
        0.75
    """
    return len(np.unique(top)) / top.size


def inverted_rbo(top: NDArray[np.int64], p: float = 0.9) -> float:
    """Return 1 - mean rank-biased overlap of all pairs of topics (Terragni et al. 2021).

    Overlap is extrapolated from two lists of the same length N without ties (RBO_ext, Webber et al. 2010): with A_d
    the share of the best d words that two topics have in common,

        RBO = A_N p^N + (1 - p) / p * sum_{d=1}^N A_d p^d,

    The same words in the same order give 0, no word in common gives 1, and early ranks weigh most. A single topic,
    which has no pair, gives 1.

    Args:
        top: word ids, best first, with shape (T, N).
        p: persistence in (0, 1): the smaller, the more weight the first ranks get.

    Examples:
        >>> import numpy as np
        >>> same, apart = np.array([[0, 1], [0, 1]]), np.array([[0, 1], [2, 3]])
        >>> [round(abs(inverted_rbo(top)), 4) for top in (same, apart)]
        [0.0, 1.0]
    """
    topics, words = top.shape
    if topics < 2:
        return 1.0
    _, place = np.unique(top, return_inverse=True)
    place = place.reshape(top.shape)
    seen = np.zeros((topics, place.max() + 1))  # which words are among the best d of each topic
    overlap = np.zeros((topics, topics))
    for d in range(1, words + 1):
        seen[np.arange(topics), place[:, d - 1]] = 1
        agreement = seen @ seen.T / d
        overlap += (1 - p) / p * agreement * p**d
    overlap += agreement * p**words
    return float(1 - overlap[np.triu_indices(topics, 1)].mean())


def topics_in_use(theta: Floats) -> float:
    """Return the share of topics that are the main topic of at least 0.1 / T of the documents, theta (documents, T).

    Examples:
        Of three topics, the last is the main topic of no document:

        >>> import numpy as np
        >>> round(topics_in_use(np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]])), 4)
        0.6667
    """
    documents, topics = theta.shape
    main = np.bincount(theta.argmax(1), minlength=topics)
    return float((main >= 0.1 * documents / topics).mean())


def theta(model: WithTopics, corpus: Corpus) -> Floats:
    """Return the topic proportions of every document at the posterior mean, with shape (documents, T)."""
    with evaluating(model, seed=0):
        rows = [model.topic.theta(d.counts.to(model.device)).cpu() for d in corpus.each_documents()]
    return torch.cat(rows).numpy()


def nearest_sentences(model: WithTopics, corpus: Corpus, count: int) -> list[list[str]]:
    """Return the ``count`` modelled sentences of the corpus that each topic explains best (all if there are fewer).

    Score: the mean of log p(w | topic) / p(w) over the topic words of a sentence.
    """
    log_beta = model.topic.log_beta.detach().cpu()
    share = torch.from_numpy(corpus.bags.sum(0) + 1.0).float()
    lift = log_beta - (share / share.sum()).log()
    count = min(count, len(corpus.lengths))
    best = torch.full((len(lift), count), -torch.inf)
    where = torch.zeros((len(lift), count), dtype=torch.long)
    for index in track(corpus.sentence_batches(16384) if count else [], "comparing sentences"):
        own = corpus.gather(index).sentence_bow
        # Two words without evidence are added to every sentence, or short ones would win by a single word
        score = (own @ lift.T / (own.sizes.unsqueeze(1) + 2)).T
        scores = torch.cat((best, score), dim=1)
        places = torch.cat((where, torch.from_numpy(index).expand(len(lift), -1)), dim=1)
        best, chosen = scores.topk(count, dim=1)
        where = places.gather(1, chosen)
    return [[corpus.text(i) for i in row] for row in where.tolist()]


# Labels


@dataclass(frozen=True)
class LabelAgreement:
    """Agreement of topics with the labels of held-out documents.

    Attributes:
        purity: of the main topic of documents.
        nmi: normalised mutual information of main topic and label.
        probe: accuracy of a classifier that sees topic proportions alone.
        majority: share of the commonest training label: the baseline of ``probe``.
        documents: number of held-out documents with a label, which all values are computed from.
    """

    purity: float
    nmi: float
    probe: float
    majority: float
    documents: int


def purity(clusters: Sequence[int] | NDArray[np.integer], labels: Sequence[str]) -> float:
    """Return the share of documents whose label is the commonest one of their cluster.

    It is 1 if every document has a cluster of its own: compare values for the same number of topics only.

    Raises:
        ValueError: there are no documents.

    Examples:
        >>> purity([0, 0, 0, 1], ["war", "war", "health", "health"])  # (2 + 1) / 4
        0.75
    """
    if not len(labels):
        raise ValueError("purity needs at least one document")
    return float(contingency_matrix(labels, clusters).max(0).sum() / len(labels))


def nmi(clusters: Sequence[int] | NDArray[np.integer], labels: Sequence[str]) -> float:
    """Return the mutual information of cluster and label over the mean of their entropies, in [0, 1].

    It is 1 if both are constant, 0 if one is.

    Examples:
        >>> round(nmi([0, 0, 1, 1], ["war", "war", "health", "health"]), 4)
        1.0
    """
    return float(normalized_mutual_info_score(labels, clusters))


def probe_accuracy(
    train_theta: Floats, train_labels: Labels, test_theta: Floats, test_labels: Labels
) -> tuple[float, int]:
    """Return the test accuracy of a logistic regression of the label on log theta, and the number of test documents.

    The classifier sees log theta because proportions lie on a simplex: ratios between topics separate documents, also
    among topics of small share. Columns are standardised by the training documents. Documents without a label are left
    out of both splits; a label that training has not seen is a miss.

    Args:
        train_theta: topic proportions of the training documents, with shape (documents, T).
        train_labels: a label for each of them, or None.
        test_theta: proportions of the test documents.
        test_labels: their labels.

    Raises:
        ValueError: fewer than two labels to train on, or no test document has one.

    Examples:
        >>> import numpy as np
        >>> shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]])
        >>> labels = ["war", "war", "health", "health"]
        >>> accuracy, documents = probe_accuracy(shares, labels, shares, ["war", None, "health", "tax"])
        >>> round(accuracy, 4), documents  # one has no label, one a label not seen before
        (0.6667, 3)
    """
    seen, tested = _labelled(train_labels), _labelled(test_labels)
    names = [str(train_labels[i]) for i in seen]
    if len(set(names)) < 2 or not len(tested):
        raise ValueError("a probe needs at least two labels to train on and a document with a label to test")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe.fit(safe_log(torch.from_numpy(train_theta[seen])).numpy(), names)
    hits = probe.predict(safe_log(torch.from_numpy(test_theta[tested])).numpy()) == np.array(
        [test_labels[i] for i in tested]
    )
    return float(hits.mean()), len(tested)


def label_agreement(
    train_theta: Floats, train_labels: Labels, test_theta: Floats, test_labels: Labels
) -> LabelAgreement:
    """Return the agreement on the test documents, from proportions (documents, T). Raises like ``probe_accuracy``."""
    probe, documents = probe_accuracy(train_theta, train_labels, test_theta, test_labels)
    tested = _labelled(test_labels)
    labels = [str(test_labels[i]) for i in tested]
    main = test_theta[tested].argmax(1)
    counts = Counter(label for label in train_labels if label is not None)
    commonest = min(counts, key=lambda label: (-counts[label], label))
    majority = labels.count(commonest) / documents
    return LabelAgreement(purity(main, labels), nmi(main, labels), probe, majority, documents)


def _labelled(labels: Labels) -> NDArray[np.int64]:
    return np.array([i for i, label in enumerate(labels) if label is not None], dtype=np.int64)


# Prevalence


@dataclass(frozen=True, eq=False)
class Prevalence:
    """Mean topic proportions of groups of documents.

    Attributes:
        names: of the G groups, sorted.
        documents: number of documents of each group, with shape (G,).
        means: mean proportions, with shape (G, T).
    """

    names: list[str]
    documents: NDArray[np.int64]
    means: Floats


def prevalence_by_year(theta: Floats, dates: Sequence[str | None]) -> Prevalence | None:
    """Return the prevalence by year, from proportions (documents, T); None for fewer than two years.

    Documents without a date that starts with a year (ISO 8601) are left out.
    """
    return _prevalence(
        theta, [match[1] if (match := re.match(r"(\d{4})(-|$)", date or "")) else None for date in dates]
    )


def prevalence_by_label(theta: Floats, labels: Sequence[str | None]) -> Prevalence | None:
    """Return the prevalence by label, of the 30 most frequent labels; None for fewer than two."""
    frequent = {label for label, _ in Counter(x for x in labels if x is not None).most_common(MAX_LABELS)}
    return _prevalence(theta, [label if label in frequent else None for label in labels])


def _prevalence(theta: Floats, keys: Sequence[str | None]) -> Prevalence | None:
    """Return the prevalence by key; documents with the key None are left out."""
    known = sorted({key for key in keys if key is not None})
    if len(known) < 2:
        return None
    place = {key: i for i, key in enumerate(known)}
    rows = np.array([-1 if key is None else place[key] for key in keys], dtype=np.int64)
    means = np.array([theta[rows == i].mean(0) for i in range(len(known))])
    return Prevalence(known, np.bincount(rows[rows >= 0], minlength=len(known)), means)


# The baseline


@step("training LDA")
def lda_topics(bags: csr_array, topics: int, seed: int, iterations: int = 500) -> NDArray[np.float64]:
    """Return the word distributions of LDA by collapsed Gibbs sampling (tomotopy's defaults), with shape (T, D).

    Args:
        bags: word counts of the training documents, (documents, D).
        topics: T.
        seed: of the sampler; it runs in one thread, so the same seed gives the same topics.
        iterations: Gibbs sweeps.

    Raises:
        UserError: tomotopy is not installed.
    """
    model = gibbs_sampler(bags, topics, seed)
    model.train(iterations, workers=1)
    return word_distributions(model, bags.shape[1])


def gibbs_sampler(bags: csr_array, topics: int, seed: int) -> Any:
    """Return an untrained LDA of tomotopy with the non-empty documents; arguments and errors as for ``lda_topics``."""
    try:
        import tomotopy
    except ImportError:
        raise UserError("LDA needs tomotopy: pip install 'tgvae[baselines]', or leave out --lda") from None
    model = tomotopy.LDAModel(k=topics, seed=seed)
    for row in range(bags.shape[0]):
        part = slice(bags.indptr[row], bags.indptr[row + 1])
        words = np.repeat(bags.indices[part], bags.data[part].astype(int))
        if len(words):
            model.add_doc([str(word) for word in words])
    return model


def word_distributions(model: Any, size: int) -> NDArray[np.float64]:
    """Return p(w | topic) of a sampler over a vocabulary of ``size`` words, with shape (T, D)."""
    beta = np.zeros((model.k, size))
    columns = [int(word) for word in model.used_vocabs]
    for topic in range(model.k):
        beta[topic, columns] = model.get_topic_word_dist(topic)
    return beta

"""Registry of metrics and evaluators.

METRICS declares every metric of a report once: stable id, display name, unit, estimator and baselines. Reports, stored
files, tables and plots address a metric by section and id, never by its display name. An evaluator computes one section
for models with certain capabilities; ``evaluate`` runs all evaluators that apply to a model, so a new kind of model
needs no change here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tgvae.evaluation.eval_config import EvalConfig
from tgvae.evaluation.metric import Metric, Metrics, Parts, Report
from tgvae.models.base import Capability, Model


@dataclass(frozen=True)
class MetricSpec:
    """Declaration of a metric. Fields in braces are filled in with the parameters of ``measure``.

    Attributes:
        name: display name.
        unit: its unit.
        estimator: how it is computed.
        baselines: ids of the reference points that it may be reported with.
    """

    name: str
    unit: str
    estimator: str = ""
    baselines: tuple[str, ...] = ()


_EXTRACTS = ("first_sentence", "lead_10_words", "lead_15_words", "lexrank", "oracle_sentence")
_NO_NETWORK = ("independent_values", "pca")
_ROUGE = ("ROUGE-{kind}", "F1{stemmed}", "mean over documents", _EXTRACTS)

METRICS: dict[str, MetricSpec] = {
    # How probable held-out data is. {row} is a sentence, word, token, title, summary, image, vector or value.
    "reconstruction_per_{row}": MetricSpec("reconstruction per {row}", "nats", "one draw"),
    "kl_per_{row}": MetricSpec("KL per {row}", "nats", "closed form"),
    "kl_{latent}_per_{row}": MetricSpec("KL of {latent} per {row}", "nats", "one draw"),
    "neg_elbo_per_{row}": MetricSpec("-ELBO per {row}", "nats", "one draw", _NO_NETWORK),
    "nll_iw_per_{row}": MetricSpec("nll, IW {samples} per {row}", "nats", "importance-weighted", _NO_NETWORK),
    "perplexity_elbo": MetricSpec("perplexity, ELBO", "per word, with KL", "one draw", ("language_model",)),
    "perplexity_without_kl_z": MetricSpec("perplexity, z from the document", "per word, without KL of z", "one draw"),
    "perplexity_iw": MetricSpec(
        "perplexity, IW {samples}", "per word", "importance-weighted", ("elbo", "language_model")
    ),
    "document_perplexity": MetricSpec("document perplexity", "per topic word, with KL", "one draw per document"),
    # The latent
    "mutual_information": MetricSpec(
        "mutual information of {row} and z",
        "nats (cap ln {rows} = {cap:.2f})",
        "aggregate posterior of the whole split, {draws} draws",
    ),
    "active_units": MetricSpec(
        "active units", "of {latent_size}", "variance of posterior means > {threshold}, in units of the prior's"
    ),
    "active_units_sentence": MetricSpec(
        "active units of the sentence",
        "of {latent_size}",
        "variance of posterior means > {threshold}, in units of the prior's, component taken out",
    ),
    "total_correlation": MetricSpec(
        "total correlation of the posterior", "nats", "KL to the closest diagonal Gaussian: what the flow adds"
    ),
    "off_diagonal_share": MetricSpec("off-diagonal share of the covariance", "share", "Frobenius norms"),
    "kl_z_min_topic": MetricSpec(
        "KL of z, least of topics", "nats per sentence", "closed form, mean over the sentences of a topic"
    ),
    "kl_z_max_topic": MetricSpec(
        "KL of z, largest of topics", "nats per sentence", "closed form, mean over the sentences of a topic"
    ),
    "posterior_entropy": MetricSpec("entropy of q", "nats per variable", "closed form", ("ln_c",)),
    "category_perplexity": MetricSpec(
        "perplexity of the use of categories",
        "of {categories}",
        "exp of the entropy of the mean of q, mean over variables",
    ),
    "unused_categories": MetricSpec("unused categories", "of {categories}", "the most probable one of no vector"),
    "knn_accuracy": MetricSpec(
        "accuracy of nearest neighbours",
        "share",
        "majority of the {neighbours} nearest training {row}s by E_q[z | x]",
        ("raw_values",),
    ),
    # Generated text
    "test_bleu_{order}": MetricSpec(
        "test-BLEU-{order}", "0 to 1", "mean, against all held-out sentences", ("real_text",)
    ),
    "self_bleu_{order}": MetricSpec("self-BLEU-{order}", "0 to 1", "mean, against one another", ("real_text",)),
    "bleu_f1_{order}": MetricSpec(
        "BLEU-F1-{order}", "0 to 1", "2 t (1 - s) / (t + 1 - s) of test-BLEU t and self-BLEU s", ("real_text",)
    ),
    "distinct_{order}": MetricSpec("distinct-{order}", "share", "distinct n-grams over n-grams", ("real_text",)),
    "copied": MetricSpec("copied from training", "share of sentences", "all its words", ("held_out",)),
    "length": MetricSpec("length", "words per sentence", "mean", ("real_text",)),
    "length_distance": MetricSpec(
        "distance of lengths", "0 to 1", "total variation, to held-out sentences", ("real_text",)
    ),
    "forward_perplexity": MetricSpec(
        "forward perplexity", "per word", "under a language model of real text", ("real_text",)
    ),
    "reverse_perplexity": MetricSpec(
        "reverse perplexity",
        "per word",
        "held-out text under a small language model of {sentences} generated sentences",
        ("real_text",),
    ),
    # Topics
    "topic_npmi": MetricSpec("topic NPMI", "-1 to 1", "top 10, training documents", ("lda",)),
    "topic_npmi_window_10": MetricSpec(
        "topic NPMI, window 10", "-1 to 1", "top 5, 10, 15, 20, unseen pairs 0; all {documents} documents", ("lda",)
    ),
    "topic_c_v": MetricSpec("topic C_V", "0 to 1", "top 10, window 110; all {documents} documents", ("lda",)),
    "topic_diversity": MetricSpec("topic diversity", "share", "distinct words among the top 10", ("lda",)),
    "inverted_rbo": MetricSpec("inverted RBO", "share", "top 10, p = 0.9", ("lda",)),
    "topics_in_use": MetricSpec("topics in use", "share", "main topic of 0.1 / T of the training documents"),
    "purity": MetricSpec("purity", "share", "main topic of held-out documents against labels"),
    "label_nmi": MetricSpec("NMI with labels", "share", "main topic of held-out documents against labels"),
    "probe_accuracy": MetricSpec(
        "probe accuracy",
        "share of held-out documents",
        "logistic regression on log theta (commonest label: {majority:.3f})",
    ),
    # Sentences generated for a topic
    "fidelity_{strength:g}": MetricSpec(
        "fidelity, strength {strength:g}", "share of sentences", "plain samples", ("real_text", "chance")
    ),
    "fidelity_classifier_{strength:g}": MetricSpec(
        "fidelity by classifier, strength {strength:g}", "share of sentences", "plain samples", ("real_text", "chance")
    ),
    "forward_perplexity_{strength:g}": MetricSpec(
        "forward perplexity, strength {strength:g}", "per word", "under a language model of real text", ("real_text",)
    ),
    "distinct_2_{strength:g}": MetricSpec("distinct bigrams, strength {strength:g}", "share", "plain samples"),
    # Summaries
    "rouge_{kind}": MetricSpec(*_ROUGE),
    "rouge_{kind}_greedy": MetricSpec("ROUGE-{kind}, greedy", *_ROUGE[1:]),
    "rouge_{kind}_{limit}_bytes": MetricSpec("ROUGE-{kind}, {limit} bytes", "recall{stemmed}", *_ROUGE[2:]),
    "summary_length": MetricSpec("length", "words per summary", "mean over documents", ("references",)),
    "unfinished": MetricSpec("unfinished", "share cut at the maximum length", "mean over documents"),
    "new_words": MetricSpec(
        "new words", "share", "words that the document does not have, of all words", ("references",)
    ),
    "different_summaries": MetricSpec(
        "different summaries", "share", "different texts among {draws} draws of z", ("minimum",)
    ),
    "topic_pull_{strength:g}": MetricSpec(
        "pull of a topic, strength {strength:g}",
        "probability",
        "p(requested topic | words of the summary)",
        ("unguided", "chance"),
    ),
    # Links of a graph
    "auc": MetricSpec(
        "AUC", "0 to 1", "bootstrap error, {resamples} samples", ("chance", "common_neighbours", "cosine_of_features")
    ),
    "average_precision": MetricSpec(
        "average precision",
        "0 to 1",
        "bootstrap error, {resamples} samples",
        ("chance", "common_neighbours", "cosine_of_features"),
    ),
}

BASELINE_NAMES = {
    "elbo": "ELBO",
    "lda": "LDA",
    "lexrank": "LexRank",
    "ln_c": "ln C",
    "pca": "PCA",
    "unguided": "not requested",
}
"""Display names of baselines; any other id is shown with spaces for underscores."""


def measure(
    metric: str,
    value: float | Parts,
    size: int | None = None,
    seed: int | None = None,
    error: float | None = None,
    baselines: Mapping[str, float] | None = None,
    unit: str | None = None,
    estimator: str | None = None,
    **parameters: Any,
) -> Metrics:
    """Return a metric of the registry under its id.

    Args:
        metric: its key in METRICS.
        value: the number, or the parts that it is computed from (``size`` and ``error`` are then theirs).
        size: number of sentences, documents, ... that it is computed from.
        seed: seed of the sampling, if any.
        error: standard error.
        baselines: the same metric of reference points by id.
        unit: in place of the declared unit.
        estimator: in place of the declared estimator.
        parameters: values of the fields in braces.

    Examples:
        >>> metrics = measure("fidelity_{strength:g}", 0.5, size=8, baselines={"chance": 0.25}, strength=1.5)
        >>> [(id, metric.name, metric.value) for id, metric in metrics.items()]
        [('fidelity_1.5', 'fidelity, strength 1.5', 0.5)]
    """
    spec = METRICS[metric]
    id = metric.format(**{name: slug(part) if isinstance(part, str) else part for name, part in parameters.items()})
    unit, estimator = unit or spec.unit.format(**parameters), estimator or spec.estimator.format(**parameters)
    if isinstance(value, Parts):
        found = Metric.of(value, unit, estimator, seed, **(baselines or {}))
        return {id: Metric(**vars(found) | {"name": spec.name.format(**parameters)})}
    return {
        id: Metric(
            value, unit, estimator, size, seed, error, baselines=baselines or {}, name=spec.name.format(**parameters)
        )
    }


def slug(text: str) -> str:
    """Return text as part of an id: ``image (density)`` becomes ``image_density``."""
    return re.sub(r"[^\w.]+", "_", text.lower()).strip("_")


def display_name(id: str, metric: Metric) -> str:
    """Return the name that tables show for a metric."""
    return metric.name or id


def baseline_name(id: str) -> str:
    """Return the name that tables show for a baseline.

    Examples:
        >>> baseline_name("real_text"), baseline_name("lda")
        ('real text', 'LDA')
    """
    return BASELINE_NAMES.get(id, id.replace("_", " "))


@dataclass(frozen=True, eq=False)
class EvalInputs:
    """What evaluators get. Types are open: an evaluator knows them from the capabilities that it requires.

    Attributes:
        model: the model.
        train: the split that it was trained on.
        held_out: another split of the same data.
        config: sample sizes, seed, ...
        reference_lm: a ``ReferenceLM`` of real text, other than ``model``.
        fit_lm: function that trains a small language model on sentences, for the reverse perplexity.
    """

    model: Any
    train: Any
    held_out: Any
    config: EvalConfig
    reference_lm: Any = None
    fit_lm: Callable[[Sequence[str]], Any] | None = None


@dataclass(eq=False)
class Evaluation:
    """Metrics of a run by section, and intermediate results that several sections or the plots use.

    Attributes:
        report: the metrics.
        theta: topic proportions of the training documents, with shape (documents, T).
        posteriors: ``Posteriors`` of the held-out sentences.
        generated: ``GeneratedText``: sentences generated without a topic, and real ones.
        topic_samples: ``TopicSamples`` by strength.
        topic_kl: ``TopicKL``, KL of z by topic.
        summaries: ``HeldOutSummaries``: documents with their summaries.
        remarks: what was left out and why, for the user.
    """

    report: Report = field(default_factory=dict)
    theta: NDArray[np.floating] | None = None
    posteriors: Any = None
    generated: Any = None
    topic_samples: dict[float, Any] = field(default_factory=dict)
    topic_kl: Any = None
    summaries: Any = None
    remarks: list[str] = field(default_factory=list)


Evaluator = Callable[[EvalInputs, Evaluation], Metrics]
SECTIONS = ("language", "likelihood", "links", "summaries", "latent", "generation", "topics", "guidance")
"""Sections in the order in which they are computed and shown; others follow in order of registration."""
_EVALUATORS: list[tuple[str, frozenset[Capability], Evaluator]] = []


def evaluator(section: str, *requires: Capability) -> Callable[[Evaluator], Evaluator]:
    """Register a function as an evaluator of a section for models with all capabilities ``requires``."""

    def register(function: Evaluator) -> Evaluator:
        _EVALUATORS.append((section, frozenset(requires), function))
        return function

    return register


def evaluators(model: Model) -> list[tuple[str, Evaluator]]:
    """Return section and function of the evaluators that apply to a model, in the order of the sections."""
    order = {section: place for place, section in enumerate(SECTIONS)}
    found = [(section, function) for section, requires, function in _EVALUATORS if requires <= model.capabilities]
    return sorted(found, key=lambda entry: order.get(entry[0], len(order)))

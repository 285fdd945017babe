"""Evaluate a model: every metric with its unit, estimator, sample size and seed, as `tgvae evaluate` prints them."""

from __future__ import annotations

from dataclasses import replace

from tgvae.data.dataset import Examples
from tgvae.evaluation import (  # noqa: F401  importing them registers their evaluators
    generation,
    latent,
    likelihood,
    link_prediction,
    summaries,
    topic_fidelity,
    topics,
    vector_metrics,
)
from tgvae.evaluation.eval_config import EvalConfig
from tgvae.evaluation.generation import FitLanguageModel, ReferenceLM
from tgvae.evaluation.registry import EvalInputs, Evaluation, evaluators
from tgvae.models.base import Model


def evaluate(
    model: Model,
    train: Examples,
    held_out: Examples,
    config: EvalConfig,
    reference_lm: ReferenceLM | None = None,
    fit_lm: FitLanguageModel | None = None,
) -> Evaluation:
    """Compute all metrics that are defined for the model's capabilities.

    Args:
        model: of any kind; one without capabilities that an evaluator asks for gets an empty report.
        train: the split it was trained on: a corpus, vectors or a graph.
        held_out: another split of the same data.
        config: sample sizes, seed, ...
        reference_lm: a language model of real text: the baseline of perplexities, and the model that scores generated
            sentences. It is not used for a model with the same weights.
        fit_lm: trains a small language model on sentences, for the reverse perplexity.
    """
    inputs = EvalInputs(model, train, held_out, config, reference_lm, fit_lm)
    if reference_lm is not None and reference_lm.is_same_model(model):
        inputs = replace(inputs, reference_lm=None)
    evaluation = Evaluation()
    for section, compute in evaluators(model):
        if metrics := compute(inputs, evaluation):
            evaluation.report.setdefault(section, {}).update(metrics)
    return evaluation

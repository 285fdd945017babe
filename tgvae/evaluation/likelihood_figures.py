"""The figures of how probable held-out data is: reconstruction, KL and bounds in every unit; perplexities of text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from tgvae.data.dataset import Examples
from tgvae.data.pairs import Pairs
from tgvae.evaluation.eval_config import EvalConfig
from tgvae.evaluation.generation import ReferenceLM
from tgvae.evaluation.likelihood import Bound, Per, importance_weighted_nll, sentence_bound
from tgvae.evaluation.metric import Metrics
from tgvae.evaluation.registry import measure
from tgvae.models.base import Model
from tgvae.models.tgvae import TGVAE
from tgvae.progress import step

Units = Mapping[Per, str]
"""What rows and their words and tokens are called, of those units that figures are wanted in."""


def measure_terms(
    metric: str,
    bound: Bound,
    prefix: str,
    units: Units,
    estimator: str,
    seed: int | None,
    baselines: Mapping[str, Bound] | None = None,
    **parameters: Any,
) -> Metrics:
    """Return the terms of a bound whose names start with ``prefix``, in nats per row, word and token.

    ``metric`` is a key of METRICS with ``{row}`` in it.
    """
    metrics: Metrics = {}
    for unit, called in units.items():
        values = {id: other.per(unit) for id, other in (baselines or {}).items()}
        metrics |= measure(
            metric,
            bound.parts(unit, prefix),
            seed=seed,
            baselines=values,
            estimator=estimator,
            row=called,
            **parameters,
        )
    return metrics


@step("measuring likelihood")
def language_figures(
    model: Model, held_out: Examples, protocol: EvalConfig, judge: ReferenceLM | None = None
) -> Metrics:
    """Reconstruction, KL and bound in nats a sentence (or summary), a word and a token; perplexities a word.

    A language model has no latent: its -ELBO is its exact -log p(y), under the same names, so that it stands
    beside the others, and in the marks of the others where it is the judge. A summarizer's z depends on the document
    alone, so that the bound without the KL of z is one of its perplexity too, as it is used.
    """
    found: Metrics = {}
    bound = sentence_bound(model, held_out, protocol.seed)
    latents = [name for name in bound.terms if name.startswith("kl/")]
    row, given = "sentence", "given the rest of the document" if isinstance(model, TGVAE) else "sentence alone"
    if isinstance(held_out, Pairs):
        row, given = held_out.field, "given the document"
    units: Units = {"row": row, "word": "word", "token": "token"}
    how, seed = (f"one draw, {given}", protocol.seed) if latents else (f"exact, no latent, {given}", None)
    if latents:
        found |= measure_terms("reconstruction_per_{row}", bound, "nll/", units, how, seed)
        found |= measure_terms("kl_per_{row}", bound, "kl/", units, how, seed)
    for name in latents if len(latents) > 1 else ():
        found |= measure(
            "kl_{latent}_per_{row}", bound.parts("row", name), seed=seed, estimator=how, latent=name[3:], row=row
        )
    found |= measure_terms("neg_elbo_per_{row}", bound, "", units, how, seed)
    unit, baselines = None if latents else "per word", {}
    if judge is not None:
        baselines = {"language_model": judge.bound.perplexity}
    perplexity = bound.parts("word", exp=True)
    found |= measure("perplexity_elbo", perplexity, seed=seed, baselines=baselines, unit=unit, estimator=how)
    if latents and isinstance(held_out, Pairs):  # q(z | x) does not see the summary, so it may stand as the prior
        as_used = replace(bound, terms={name: value for name, value in bound.terms.items() if name != "kl/z"})
        found |= measure("perplexity_without_kl_z", as_used.parts("word", exp=True), seed=seed, estimator=how)
    if protocol.samples and latents:
        draws = protocol.samples
        weighted = importance_weighted_nll(model, held_out, draws, protocol.seed, protocol.weighted_sentences)
        how = f"importance-weighted, {draws} draws a {row}, {given}"
        found |= measure_terms("nll_iw_per_{row}", weighted.bound, "", units, how, seed, samples=draws)
        found |= measure(
            "perplexity_iw",
            weighted.bound.parts("word", exp=True),
            seed=seed,
            baselines=_same_rows(bound, judge, weighted.index),
            estimator=how,
            samples=draws,
        )
    return found


def _same_rows(bound: Bound, judge: ReferenceLM | None, index: Tensor) -> dict[str, float]:
    """The ELBO and the language model on the sentences of the importance-weighted bound."""
    baselines = {"elbo": bound.of_rows(index).perplexity}
    return baselines if judge is None else baselines | {"language_model": judge.bound.of_rows(index).perplexity}

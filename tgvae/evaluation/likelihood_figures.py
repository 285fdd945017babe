"""The figures of how probable held-out data is: reconstruction, KL and bounds in every unit; perplexities of text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from tgvae.data.dataset import Examples
from tgvae.data.pairs import Pairs
from tgvae.evaluation.eval_config import EvalConfig
from tgvae.evaluation.generation import ReferenceLM
from tgvae.evaluation.likelihood import Bound, Per, importance_weighted_nll, sentence_bound
from tgvae.evaluation.metric import Metric, Metrics
from tgvae.models.base import Model
from tgvae.models.tgvae import TGVAE
from tgvae.progress import step

Units = Mapping[Per, str]
"""What rows and their words and tokens are called, of those units that figures are wanted in."""


def in_units(
    name: str,
    bound: Bound,
    prefix: str,
    units: Units,
    how: str,
    seed: int | None,
    beside: Mapping[str, Bound] | None = None,
) -> Metrics:
    """The terms of a bound that start with ``prefix`` in nats by each of the units, with bounds to be read beside."""
    return {
        f"{name} per {called}": replace(
            Metric.of(bound.parts(unit, prefix), "nats", how, seed),
            marks={mark: other.per(unit) for mark, other in (beside or {}).items()},
        )
        for unit, called in units.items()
    }


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
        found |= in_units("reconstruction", bound, "nll/", units, how, seed)
        found |= in_units("KL", bound, "kl/", units, how, seed)
    for name in latents if len(latents) > 1 else ():
        found[f"KL of {name[3:]} per {row}"] = Metric.of(bound.parts("row", name), "nats", how, seed)
    found |= in_units("-ELBO", bound, "", units, how, seed)
    unit, marks = "per word, with KL" if latents else "per word", {}
    if judge is not None:
        marks = {"language_model": judge.bound.perplexity}
    found["perplexity, ELBO"] = Metric.of(bound.parts("word", exp=True), unit, how, seed, **marks)
    if latents and isinstance(held_out, Pairs):  # q(z | x) does not see the summary, so it may stand as the prior
        as_used = replace(bound, terms={name: value for name, value in bound.terms.items() if name != "kl/z"})
        found["perplexity, z from the document"] = Metric.of(
            as_used.parts("word", exp=True), "per word, without KL of z", how, seed
        )
    if protocol.samples and latents:
        draws, name = protocol.samples, f"IW {protocol.samples}"
        weighted = importance_weighted_nll(model, held_out, draws, protocol.seed, protocol.weighted_sentences)
        how = f"importance-weighted, {draws} draws a {row}, {given}"
        found |= in_units(f"nll, {name}", weighted.bound, "", units, how, seed)
        found[f"perplexity, {name}"] = Metric.of(
            weighted.bound.parts("word", exp=True), "per word", how, seed, **_same_rows(bound, judge, weighted.index)
        )
    return found


def _same_rows(bound: Bound, judge: ReferenceLM | None, index: Tensor) -> dict[str, float]:
    """The ELBO and the language model on the sentences of the importance-weighted bound."""
    marks = {"ELBO": bound.of_rows(index).perplexity}
    return marks if judge is None else marks | {"language_model": judge.bound.of_rows(index).perplexity}

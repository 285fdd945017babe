"""Every figure of a run with its unit, estimator, size and seed: what `tgvae evaluate` prints."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from tgvae.data.corpus import Corpus
from tgvae.data.pairs import Examples, Pairs
from tgvae.errors import UserError
from tgvae.evaluation.figure import Figure, Figures, Report
from tgvae.evaluation.generated import (
    FitLanguageModel,
    Judge,
    Writer,
    Writing,
    reverse_figure,
    write_freely,
    writing_figures,
)
from tgvae.evaluation.guidance import Asked, ask_every_topic, guidance_figures
from tgvae.evaluation.latent import (
    ACTIVE_VARIANCE,
    Posteriors,
    TopicKL,
    active_units,
    kl_per_topic,
    mutual_information,
    posteriors,
    total_correlation,
)
from tgvae.evaluation.likelihood import Bound, Unit, importance_weighted_nll, sentence_bound
from tgvae.evaluation.summary_figures import Summarized, summarize_held_out, summary_figures
from tgvae.evaluation.topic_figures import topic_figures
from tgvae.evaluation.topics import Floats, has_topics, theta
from tgvae.models.base import Model
from tgvae.models.sentence import LatentWriter
from tgvae.models.summarizer import Summarizer
from tgvae.models.tgvae import TGVAE
from tgvae.models.topic import TopicModel


@dataclass(frozen=True)
class Protocol:
    """How runs are measured.

    Attributes:
        samples: draws of the importance-weighted bound; 0 leaves it out.
        weighted_sentences: held-out sentences that it is taken over, the same ones for every run.
        generated: sentences written freely, for BLEU, copies and lengths.
        reverse: sentences for the reverse perplexity, which trains two small language models; 0 leaves it out.
        per_topic: sentences generated from every topic.
        summaries: held-out documents that a summarizer summarizes, the same ones for every run.
        strengths: of steering, to generate with.
        seed: of all draws.
        lda: put LDA with as many topics and the same words beside the topics.
    """

    samples: int = 100
    weighted_sentences: int = 300
    generated: int = 1000
    reverse: int = 2000
    per_topic: int = 20
    summaries: int = 1000
    strengths: tuple[float, ...] = (1.0, 1.5)
    seed: int = 0
    lda: bool = False

    def __post_init__(self) -> None:
        at_least = {"samples": 0, "weighted_sentences": 1, "generated": 2, "reverse": 0, "per_topic": 1, "summaries": 1}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass(eq=False)
class Evaluation:
    """What has been found of a run: its figures by section, and what they were computed from, for pictures.

    Attributes:
        report: the figures.
        theta: topic proportions of the training documents, (documents, T).
        posteriors: of the held-out sentences.
        writing: sentences written freely, and real ones.
        asked: sentences asked of every topic, by strength.
        kl: of z by topic.
        summarized: held-out documents with their summaries.
    """

    report: Report = field(default_factory=dict)
    theta: Floats | None = None
    posteriors: Posteriors | None = None
    writing: Writing | None = None
    asked: dict[float, Asked] = field(default_factory=dict)
    kl: TopicKL | None = None
    summarized: Summarized | None = None


def evaluate(
    model: Model,
    train: Corpus,
    held_out: Corpus,
    protocol: Protocol,
    judge: Judge | None = None,
    fit: FitLanguageModel | None = None,
) -> Evaluation:
    """All figures that the kind of model has.

    Args:
        model: of any kind.
        train, held_out: splits of the corpus it was trained on.
        protocol: draws and sizes.
        judge: a language model of real text, the mark of perplexities; it rates generated sentences (not its own).
        fit: trains a small language model on sentences (reverse perplexity).
    """
    found, seed = Evaluation(), protocol.seed
    judge = None if judge is None or judge.is_of(model) else judge
    if isinstance(model, Summarizer):
        pairs = model.pairs(held_out)
        pairs.require_sentences()
        found.report["language"] = language_figures(model, pairs, protocol)
        found.summarized = summarize_held_out(model, pairs, protocol.summaries, seed)
        found.report["summaries"] = summary_figures(model, found.summarized, protocol.strengths, seed)
    elif not isinstance(model, TopicModel):
        held_out.require_sentences()
        found.report["language"] = language_figures(model, held_out, protocol, judge)
    if isinstance(model, LatentWriter):
        found.posteriors = posteriors(model, held_out)
        found.kl = None if found.posteriors.components is None else kl_per_topic(found.posteriors)
        found.report["latent"] = latent_figures(found.posteriors, found.kl, seed)
    if isinstance(model, Writer):
        found.writing = write_freely(model, train, held_out, protocol.generated, seed)
        generation = writing_figures(found.writing, train, seed)
        if judge is not None:
            generation["forward perplexity"] = judge.forward(found.writing.generated.texts, seed)
        if protocol.reverse and fit is not None:
            reverse = reverse_figure(model, train, held_out, fit, protocol.reverse, seed)
            generation["reverse perplexity"] = reverse
        found.report["generation"] = generation
    if has_topics(model):
        found.theta = theta(model, train)
        found.report["topics"] = topic_figures(model, train, held_out, found.theta, seed, protocol.lda)
    if isinstance(model, TGVAE):
        assert found.theta is not None
        found.asked = {s: ask_every_topic(model, protocol.per_topic, seed, strength=s) for s in protocol.strengths}
        found.report["guidance"] = guidance_figures(model, train, held_out, found.theta, found.asked, judge, seed)
    return found


def language_figures(model: Model, held_out: Examples, protocol: Protocol, judge: Judge | None = None) -> Figures:
    """Reconstruction, KL and bound in nats a sentence (or summary), a word and a token; perplexities a word.

    A language model has no latent: its -ELBO is its exact -log p(y), under the same names, so that it stands
    beside the others, and in the marks of the others where it is the judge. A summarizer's z depends on the document
    alone, so that the bound without the KL of z is one of its perplexity too, as it is used.
    """
    found: Figures = {}
    bound = sentence_bound(model, held_out, protocol.seed)
    latents = [name for name in bound.terms if name.startswith("kl/")]
    row, given = "sentence", "given the rest of the document" if isinstance(model, TGVAE) else "sentence alone"
    if isinstance(held_out, Pairs):
        row, given = held_out.field, "given the document"
    how, seed = (f"one draw, {given}", protocol.seed) if latents else (f"exact, no latent, {given}", None)
    if latents:
        found |= _in_all_units(row, "reconstruction", bound, "nll/", how, seed)
        found |= _in_all_units(row, "KL", bound, "kl/", how, seed)
    for name in latents if len(latents) > 1 else ():
        found[f"KL of {name[3:]} per {row}"] = Figure.of(bound.parts("row", name), "nats", how, seed)
    found |= _in_all_units(row, "-ELBO", bound, "", how, seed)
    unit, marks = "per word, with KL" if latents else "per word", {}
    if judge is not None:
        marks = {"language_model": judge.bound.perplexity}
    found["perplexity, ELBO"] = Figure.of(bound.parts("word", exp=True), unit, how, seed, **marks)
    if latents and isinstance(held_out, Pairs):  # q(z | x) does not see the summary, so it may stand as the prior
        as_used = replace(bound, terms={name: value for name, value in bound.terms.items() if name != "kl/z"})
        found["perplexity, z from the document"] = Figure.of(
            as_used.parts("word", exp=True), "per word, without KL of z", how, seed
        )
    if protocol.samples and latents:
        draws, name = protocol.samples, f"IW {protocol.samples}"
        weighted = importance_weighted_nll(model, held_out, draws, protocol.seed, protocol.weighted_sentences)
        how = f"importance-weighted, {draws} draws a {row}, {given}"
        found |= _in_all_units(row, f"nll, {name}", weighted.bound, "", how, protocol.seed)
        found[f"perplexity, {name}"] = Figure.of(
            weighted.bound.parts("word", exp=True), "per word", how, seed, **_same_rows(bound, judge, weighted.index)
        )
    return found


def _same_rows(bound: Bound, judge: Judge | None, index: Tensor) -> dict[str, float]:
    """The ELBO and the language model on the sentences of the importance-weighted bound."""
    marks = {"ELBO": bound.of_rows(index).perplexity}
    return marks if judge is None else marks | {"language_model": judge.bound.of_rows(index).perplexity}


def _in_all_units(row: str, name: str, bound: Bound, prefix: str, how: str, seed: int | None) -> Figures:
    """``row``: what a row of the bound is called, a sentence or what is written of a document."""
    units: dict[Unit, str] = {"row": row, "word": "word", "token": "token"}
    return {
        f"{name} per {word}": Figure.of(bound.parts(unit, prefix), "nats", how, seed) for unit, word in units.items()
    }


def latent_figures(found: Posteriors, kl: TopicKL | None, seed: int) -> Figures:
    """How much the latent holds, in how many of its units, and what the flow does."""
    sentences, size = found.loc.shape
    figures: Figures = {}
    if sentences > 1:
        draws = min(500, sentences)
        information = mutual_information(found, draws, seed)
        figures["mutual information of sentence and z"] = Figure(
            information.nats,
            f"nats (cap ln {sentences} = {information.cap:.2f})",
            f"aggregate posterior of the whole split, {draws} draws",
            sentences,
            seed,
            information.standard_error,
        )
    scale, unit = found.prior_scale, f"of {size}"
    how = f"variance of posterior means > {ACTIVE_VARIANCE}, in units of the prior's"
    figures["active units"] = Figure(active_units(found.means / scale), unit, how, sentences)
    own = active_units(found.deviations / scale)
    figures["active units of the sentence"] = Figure(own, unit, f"{how}, component taken out", sentences)
    flow, how = total_correlation(found), "KL to the closest diagonal Gaussian: what the flow adds"
    figures["total correlation of the posterior"] = Figure(flow.nats, "nats", how, sentences)
    share = Figure(flow.off_diagonal, "share", "Frobenius norms", sentences)
    figures["off-diagonal share of the covariance"] = share
    if kl is not None:
        live, how = kl.nats[kl.sentences > 0], "closed form, mean over the sentences of a topic"
        for name, value in (("least", live.min()), ("largest", live.max())):
            figures[f"KL of z, {name} of topics"] = Figure(value.item(), "nats per sentence", how, len(live))
    return figures

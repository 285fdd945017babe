"""Every figure of a run with its unit: what `tgvae evaluate` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tgvae.data.corpus import Corpus
from tgvae.evaluation.baselines import lda_topics
from tgvae.evaluation.guidance import LabelJudge, OwnJudge, ask_every_topic
from tgvae.evaluation.latent import ACTIVE_VARIANCE, active_units, posterior_means
from tgvae.evaluation.likelihood import document_bound, importance_weighted_nll, sentence_bound
from tgvae.evaluation.text import distinct_bigrams, perplexity_under
from tgvae.evaluation.topics import diversity, npmi, top_words, topic_quality
from tgvae.models.base import Model
from tgvae.models.sentence import LanguageModel, LatentWriter
from tgvae.models.tgvae import TGVAE
from tgvae.models.topic import TopicModel


@dataclass(frozen=True)
class Figure:
    """A number, what it is counted in, and its standard error where one is known."""

    value: float
    unit: str
    error: float | None = None


Figures = dict[str, Figure]


@dataclass(frozen=True)
class Protocol:
    """How runs are measured.

    Attributes:
        samples: draws of the importance-weighted bound; 0 leaves it out.
        per_topic: sentences generated from every topic.
        strengths: of steering, to generate with.
        seed: of all draws.
        lda: put LDA with as many topics and the same words beside the topics.
    """

    samples: int = 100
    per_topic: int = 20
    strengths: tuple[float, ...] = (1.0, 1.5)
    seed: int = 0
    lda: bool = False


def figures(model: Model, train: Corpus, held_out: Corpus, protocol: Protocol, judge: LanguageModel | None) -> Figures:
    """All figures that the kind of model has. ``judge`` rates the fluency of generated sentences."""
    found: Figures = {}
    if not isinstance(model, TopicModel):
        found |= language_figures(model, held_out, protocol)
    if isinstance(model, TGVAE | TopicModel):
        found |= topic_figures(model, train, held_out, protocol)
    if isinstance(model, TGVAE):
        found |= guidance_figures(model, train, held_out, protocol, judge)
    return found


def language_figures(model: Model, held_out: Corpus, protocol: Protocol) -> Figures:
    """The bound of sentences term by term, its perplexity, the importance-weighted one, active units."""
    bound = sentence_bound(model, held_out, protocol.seed)
    found = {name: Figure(bound.mean(name), "nats per sentence") for name in bound.terms}
    found["-ELBO"] = Figure(bound.negative_elbo, "nats per sentence")
    found["perplexity, ELBO"] = Figure(bound.perplexity, "per word, with KL")
    if isinstance(model, LatentWriter):
        size = model.sentence.head.loc.out_features
        unit = f"of {size} (variance of means > {ACTIVE_VARIANCE})"
        whole, deviation = posterior_means(model, held_out)
        found["active units"] = Figure(active_units(whole), unit)
        found["active units of the sentence"] = Figure(active_units(deviation), f"{unit}, topic apart")
        if protocol.samples:
            weighted = importance_weighted_nll(model, held_out, protocol.samples, protocol.seed)
            name = f"IW {protocol.samples}"
            found[f"nll, {name}"] = Figure(weighted.nll, "nats per sentence", weighted.standard_error)
            found[f"perplexity, {name}"] = Figure(weighted.perplexity, "per word, importance-weighted")
    return found


def topic_figures(model: TGVAE | TopicModel, train: Corpus, held_out: Corpus, protocol: Protocol) -> Figures:
    """Coherence, diversity and use of the topics, beside LDA if asked for; perplexity of documents."""
    quality = topic_quality(model, train)
    found = {
        "topic NPMI": Figure(float(quality.npmi.mean()), "top 10, training documents"),
        "topic diversity": Figure(quality.diversity, "share of distinct top-10 words"),
        "topics in use": Figure(quality.in_use, "share"),
        "document perplexity": Figure(
            document_bound(model, held_out, protocol.seed).perplexity, "per topic word, with KL"
        ),
    }
    if protocol.lda:
        top = top_words(lda_topics(train.bags, model.topic.size, protocol.seed))
        found["topic NPMI: LDA"] = Figure(float(npmi(top, train.bags).mean()), "top 10, training documents")
        found["topic diversity: LDA"] = Figure(diversity(top), "share of distinct top-10 words")
    return found


def guidance_figures(
    model: TGVAE, train: Corpus, held_out: Corpus, protocol: Protocol, judge: LanguageModel | None
) -> Figures:
    """Fidelity of plain samples at each strength of steering, and what the strength costs in fluency and variety."""
    judges: dict[str, OwnJudge | LabelJudge] = {"fidelity": OwnJudge(model, held_out)}
    if len(set(train.table["label"].to_pylist()) - {None}) > 1:
        judges["fidelity by classifier"] = LabelJudge(model, train, held_out)
    found = {f"{name}: natural": Figure(j.natural, "share of held-out sentences") for name, j in judges.items()}
    for strength in protocol.strengths:
        asked, at = (
            ask_every_topic(model, protocol.per_topic, protocol.seed, strength=strength),
            f"strength {strength:g}",
        )
        for name, topic_judge in judges.items():
            measured = topic_judge.fidelity(asked)
            unit = f"share of {len(asked.texts)} sentences (chance {measured.chance:.3f})"
            found[f"{name}, {at}"] = Figure(measured.generated, unit)
        if judge is not None:
            found[f"fluency, {at}"] = Figure(
                perplexity_under(judge, asked.texts), "perplexity per word, language model"
            )
        found[f"distinct bigrams, {at}"] = Figure(distinct_bigrams(asked.texts), f"share, {len(asked.texts)} sentences")
    return found


def by_name(found: Sequence[Figures]) -> list[str]:
    """Names of figures over several runs, in order of first appearance."""
    return list(dict.fromkeys(name for figures in found for name in figures))

"""Every figure of a run with its unit, estimator, size and seed: what `tgvae evaluate` prints."""

from __future__ import annotations

from dataclasses import dataclass, field

from tgvae.data.corpus import Corpus
from tgvae.data.dataset import Examples
from tgvae.data.graphs import GraphSplit
from tgvae.data.vectors import VectorSplit
from tgvae.evaluation.eval_config import EvalConfig
from tgvae.evaluation.generation import (
    FitLanguageModel,
    ReferenceLM,
    Writer,
    Writing,
    reverse_figure,
    write_freely,
    writing_figures,
)
from tgvae.evaluation.graph_figures import graph_figures
from tgvae.evaluation.latent import Posteriors, TopicKL, kl_per_topic, posteriors
from tgvae.evaluation.latent_figures import latent_figures
from tgvae.evaluation.likelihood_figures import language_figures
from tgvae.evaluation.metric import Metrics, Report
from tgvae.evaluation.summary_figures import Summarized, summarize_held_out, summary_figures
from tgvae.evaluation.topic_fidelity import Asked, ask_every_topic, guidance_figures
from tgvae.evaluation.topic_figures import topic_figures
from tgvae.evaluation.topics import Floats, has_topics, theta
from tgvae.evaluation.vector_figures import vector_figures
from tgvae.models.base import Model
from tgvae.models.sentence import LatentSentenceModel
from tgvae.models.summarizer import Summarizer
from tgvae.models.tgvae import TGVAE
from tgvae.models.topic import TopicModel
from tgvae.models.vae import VectorVAE
from tgvae.models.vgae import GraphVAE
from tgvae.progress import step


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
    train: Examples,
    held_out: Examples,
    protocol: EvalConfig,
    judge: ReferenceLM | None = None,
    fit: FitLanguageModel | None = None,
) -> Evaluation:
    """All figures that the kind of model has.

    Args:
        model: of any kind.
        train: the split it was trained on: a corpus, or a split of vectors, or of a graph.
        held_out: another split of the same data.
        protocol: draws and sizes.
        judge: a language model of real text, the mark of perplexities; it rates generated sentences (not its own).
        fit: trains a small language model on sentences (reverse perplexity).
    """
    if isinstance(model, VectorVAE):
        assert isinstance(train, VectorSplit)
        assert isinstance(held_out, VectorSplit)
        return Evaluation(vector_figures(model, train, held_out, protocol))
    if isinstance(model, GraphVAE):
        assert isinstance(held_out, GraphSplit)
        return Evaluation(graph_figures(model, held_out, protocol.seed))
    assert isinstance(train, Corpus)
    assert isinstance(held_out, Corpus)
    judge = None if judge is None or judge.is_of(model) else judge
    return evaluate_text(model, train, held_out, protocol, judge, fit)


def evaluate_text(
    model: Model,
    train: Corpus,
    held_out: Corpus,
    protocol: EvalConfig,
    judge: ReferenceLM | None,
    fit: FitLanguageModel | None,
) -> Evaluation:
    """All figures of a model of text; ``judge`` is another model than this."""
    found, seed = Evaluation(), protocol.seed
    if isinstance(model, Summarizer):
        pairs = model.examples(held_out)
        pairs.require_sentences()
        found.report["language"] = language_figures(model, pairs, protocol)
        found.summarized = summarize_held_out(model, pairs, protocol.summaries, seed)
        found.report["summaries"] = summary_figures(model, found.summarized, protocol.strengths, seed)
    elif not isinstance(model, TopicModel):
        held_out.require_sentences()
        found.report["language"] = language_figures(model, held_out, protocol, judge)
    if isinstance(model, LatentSentenceModel):
        found.posteriors = posteriors(model, held_out)
        found.kl = None if found.posteriors.components is None else kl_per_topic(found.posteriors)
        found.report["latent"] = latent_figures(found.posteriors, found.kl, seed)
    if isinstance(model, Writer):
        found.writing = write_freely(model, train, held_out, protocol.generated, seed)
        found.report["generation"] = generation_figures(model, train, held_out, found.writing, protocol, judge, fit)
    if has_topics(model):
        found.theta = theta(model, train)
        found.report["topics"] = topic_figures(model, train, held_out, found.theta, seed, protocol.lda)
    if isinstance(model, TGVAE):
        assert found.theta is not None
        found.asked = {s: ask_every_topic(model, protocol.per_topic, seed, strength=s) for s in protocol.strengths}
        found.report["guidance"] = guidance_figures(model, train, held_out, found.theta, found.asked, judge, seed)
    return found


@step("measuring what is written")
def generation_figures(
    model: Writer,
    train: Corpus,
    held_out: Corpus,
    writing: Writing,
    protocol: EvalConfig,
    judge: ReferenceLM | None,
    fit: FitLanguageModel | None,
) -> Metrics:
    """What sentences written freely are like, and what language models say of them."""
    figures = writing_figures(writing, train, protocol.seed)
    if judge is not None:
        figures |= judge.forward(writing.generated.texts, protocol.seed)
    if protocol.reverse and fit is not None:
        figures |= reverse_figure(model, train, held_out, fit, protocol.reverse, protocol.seed)
    return figures

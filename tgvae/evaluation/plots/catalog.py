"""The catalogue of plots: id, section, heading, caption, required data and plot function of each.

`tgvae plot`, the HTML report, the web page and programs all take their plots from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from plotly.graph_objects import Figure

from tgvae.data.corpus import Corpus
from tgvae.data.dataset import Examples
from tgvae.evaluation.coherence import npmi
from tgvae.evaluation.latent import posteriors
from tgvae.evaluation.metric import Parts
from tgvae.evaluation.plots import latent_plots, text_plots, topic_plots, training_plots
from tgvae.evaluation.projections import Floats
from tgvae.evaluation.registry import measure
from tgvae.evaluation.report import Evaluation
from tgvae.evaluation.report_data import Embeddings, ReportData, collect_report_data, read_history
from tgvae.evaluation.topics import has_topics, theta, top_words
from tgvae.models.base import Capability, Model
from tgvae.progress import track

PlotId = Literal["topics", "map", "similarity", "time", "labels", "documents", "latent", "training"]
PLOT_IDS: tuple[PlotId, ...] = get_args(PlotId)
"""Plots that need a model and its data but no evaluation."""
NO_TOPICS = "the model has no topics"
CLICK = "Click a name in the legend to hide its group, double-click to show it alone."
PCA_AXES = "The axes are the first two principal components of the posterior means, with their shares of the variance."


class Plot(NamedTuple):
    """A plot of the catalogue for given data.

    Attributes:
        id: in the catalogue.
        heading: title of the plot.
        figure: the Plotly figure; None if the data for it is missing.
        caption: how to read the plot; what is missing if there is no figure.
    """

    id: str
    heading: str
    figure: Figure | None
    caption: str


@dataclass(frozen=True)
class PlotSpec:
    """An entry of the catalogue.

    Attributes:
        id: name on the command line and in Python.
        section: of the HTML report.
        heading: title of the plot.
        needs: attributes of ``ReportData`` that must not be None or empty.
        plot: takes these attributes and returns the figure; None if there is nothing to show, such as a single year.
        caption: what the plot shows and how to read it, or a function that returns it.
        missing: why there may be no figure, for plots of ``PLOT_IDS``.
    """

    id: str
    section: str
    heading: str
    needs: tuple[str, ...]
    plot: Callable[..., Figure | None]
    caption: str | Callable[[ReportData], str]
    missing: str = ""

    def render(self, data: ReportData) -> Plot:
        values = [getattr(data, name) for name in self.needs]
        missing = any(value is None or (isinstance(value, Sized) and not len(value)) for value in values)
        figure = None if missing else self.plot(*values)
        caption = self.caption if isinstance(self.caption, str) else self.caption(data) if figure else ""
        return Plot(self.id, self.heading, figure, caption if figure is not None else self.missing)


def model_plots(
    model: Model, train: Examples, held_out: Examples, ids: Sequence[PlotId] = PLOT_IDS, run: Path | None = None
) -> dict[str, Plot]:
    """Plot a model without evaluating it first; takes seconds for thousands of documents.

    Args:
        model: of any kind.
        train: the split that the model was trained on, for topics and documents.
        held_out: another split, for the latent space.
        ids: which plots.
        run: folder of the run, for the history of training; without it there is no plot of training.
    """
    return render(collect_plot_data(model, train, held_out, ids, run), ids)


def training_plot(run: Path) -> dict[str, Plot]:
    """Plot the training history of a run, also while it is training; needs neither model nor data."""
    return render(ReportData(history=read_history(run)), ["training"])


def collect_plot_data(
    model: Model, train: Examples, held_out: Examples, ids: Sequence[PlotId], run: Path | None = None
) -> ReportData:
    """Return the data that the plots ``ids`` need; arguments as for ``model_plots``."""
    evaluation = Evaluation()
    needs = {name for id_ in ids for name in CATALOG[id_].needs}
    if has_topics(model) and isinstance(train, Corpus) and needs & {"topics", "theta"}:
        evaluation.theta = theta(model, train)
        coherence = npmi(top_words(model.topic.log_beta.detach().cpu().numpy()), train.bags)
        evaluation.report["topics"] = measure("topic_npmi", Parts.mean(coherence))
    if Capability.LATENT in model.capabilities and isinstance(held_out, Corpus) and "embeddings" in needs:
        evaluation.posteriors = posteriors(model, held_out)
    return collect_report_data(evaluation, model, train, held_out, run=run)


def render(data: ReportData, ids: Iterable[str]) -> dict[str, Plot]:
    """Return the plots by id, in the given order."""
    return {id_: CATALOG[id_].render(data) for id_ in track(list(dict.fromkeys(ids)), "plotting")}


def render_section(data: ReportData, section: str) -> list[Plot]:
    """Return the plots of a section of the report for which there is data."""
    plots = [spec.render(data) for spec in CATALOG.values() if spec.section == section]
    return [plot for plot in plots if plot.figure is not None]


def _plot_embeddings(found: Embeddings) -> Figure | None:
    if not len(found.means):
        return None
    return latent_plots.latent_map(found.means, found.group, found.texts, found.group_names)


def _plot_images(images: Floats, reconstructions: Floats) -> Figure:
    """Plot images in the shades of real ones, which are the first row of ``reconstructions``."""
    real = reconstructions[0]
    grid = latent_plots.ImageGrid("", images)
    return latent_plots.image_grids([grid], min(0.0, float(real.min())), max(1.0, float(real.max())))


def _embeddings_caption(data: ReportData) -> str:
    assert data.embeddings is not None
    items = data.embeddings.items
    if len(data.embeddings.group_names) < 2:
        return f"Each point is one of the held-out {items}. {PCA_AXES}"
    kind = "topic" if items == "sentences" else "label"
    unsupervised = " The model was not trained on labels." if kind == "label" else ""
    return (
        f"Each point is one of the held-out {items}, with colour and marker by {kind}. {PCA_AXES} Separate groups mean "
        f"that the latent space distinguishes the {kind}s.{unsupervised} {CLICK}"
    )


CATALOG: dict[str, PlotSpec] = {
    spec.id: spec
    for spec in (
        PlotSpec(
            "topics",
            "",
            "Topic words",
            ("topics",),
            topic_plots.topic_bars,
            "Most probable words of the most frequent topics, with p(word | topic). Each topic has its own scale: bars "
            "of similar length mean that the topic spreads its probability over many words.",
            NO_TOPICS,
        ),
        PlotSpec(
            "map",
            "Topics",
            "Topic map",
            ("topic_distances", "topics"),
            topic_plots.topic_map,
            "Each circle is a topic with its number; its area grows with its share of the documents. Topics with "
            "similar words are close to each other (classical scaling of Jensen-Shannon distances; circles that would "
            "overlap are moved apart). Two dimensions cannot show all distances exactly.",
            NO_TOPICS,
        ),
        PlotSpec(
            "similarity",
            "Topics",
            "Topic similarity",
            ("topic_distances", "topic_names"),
            topic_plots.topic_similarity,
            "Similarity of the word distributions of two topics: 1 - Jensen-Shannon distance / sqrt(ln 2), from 0 (no "
            "common words) to 1 (identical). Similar topics are adjacent; a bright block is one theme that is split "
            "over several topics.",
            NO_TOPICS,
        ),
        PlotSpec(
            "documents",
            "Documents",
            "Document map",
            ("theta", "document_texts", "topic_names"),
            topic_plots.document_map,
            "Each point is a training document (an even sample of at most 1,000), coloured by main topic. "
            "Documents with similar topic proportions are close to each other (t-SNE of their square roots); distances "
            f"between groups have no meaning. Numbers mark the centres of topics. {CLICK}",
            NO_TOPICS,
        ),
        PlotSpec(
            "time",
            "Documents",
            "Topics over time",
            ("theta", "dates", "topic_names"),
            topic_plots.topics_over_time,
            "Mean topic proportion per year, for the eight topics that vary most. Years with few documents are noisy.",
            "no topics, or documents of fewer than two years (date or year in their metadata)",
        ),
        PlotSpec(
            "labels",
            "Documents",
            "Topics by label",
            ("theta", "labels", "topic_names"),
            topic_plots.topics_by_label,
            "Mean topic proportions of the documents of each label. A row with a single bright cell is a topic that "
            "follows one label.",
            "no topics, or documents of fewer than two labels",
        ),
        PlotSpec(
            "guidance",
            "Sentences",
            "Guidance: fidelity and fluency",
            ("guidance",),
            text_plots.guidance_curve,
            "Each point is a guidance strength. Fidelity is the share of sentences that are about the requested topic; "
            "perplexity is that of a reference language model. The upper left corner is best: on topic and fluent.",
        ),
        PlotSpec(
            "lengths",
            "Sentences",
            "Sentence length",
            ("lengths",),
            lambda lengths: text_plots.length_histogram(*lengths) if all(map(len, lengths)) else None,
            "Words per sentence. Bars of equal height mean that generated sentences are as long as real ones.",
        ),
        PlotSpec(
            "bleu",
            "Sentences",
            "BLEU",
            ("bleu",),
            text_plots.bleu_curves,
            "test-BLEU: n-gram overlap of generated sentences with held-out text; higher is closer to real text. "
            "self-BLEU: overlap of generated sentences with each other; lower is more diverse. Compare both with the "
            "values of real text.",
        ),
        PlotSpec(
            "samples",
            "Latent space",
            "Samples",
            ("samples", "reconstructions"),
            _plot_images,
            "Each image is the mean E[x | z] of the decoder for a sample z from the prior.",
        ),
        PlotSpec(
            "reconstructions",
            "Latent space",
            "Reconstructions",
            ("reconstructions",),
            lambda images: _plot_images(images, images),
            "Top row: held-out images, not selected. Bottom row: their reconstructions from the posterior mean.",
        ),
        PlotSpec(
            "latent",
            "Latent space",
            "Latent space",
            ("embeddings",),
            _plot_embeddings,
            _embeddings_caption,
            "the model has no latent space of sentences, vectors or nodes",
        ),
        PlotSpec(
            "training",
            "Training",
            "Training curves",
            ("history",),
            training_plots.training_terms,
            "Terms of the objective by training step, in nats per document (nll/words, kl/g), or else per sentence, "
            "vector or node; lower is better. Solid lines are training, dashed lines validation. A KL near zero means "
            "that its latent variable is not used.",
            "metrics.jsonl has no term of the objective, or no run is given",
        ),
        PlotSpec(
            "rate-distortion",
            "Training",
            "Rate and distortion",
            ("history",),
            training_plots.training_rate_distortion,
            "Each point is a validation in the last phase of training. The rate (x) is the KL, the information in the "
            "latent variables; the distortion (y) is the reconstruction error. Their sum is -ELBO, so lower left is "
            "better.",
        ),
    )
}
"""Every plot by id, in the order of the report."""

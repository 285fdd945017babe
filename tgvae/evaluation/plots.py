"""Pictures of a model by name, without its evaluation: for `tgvae plot`, for notebooks and programs.

from tgvae.evaluation.plots import plots
plots(model, Corpus(folder, "train"), Corpus(folder, "test"), ["map", "documents"])["map"].figure.show()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from plotly.graph_objects import Figure

from tgvae.data.corpus import Corpus
from tgvae.data.dataset import Examples
from tgvae.evaluation import gallery
from tgvae.evaluation.coherence import npmi
from tgvae.evaluation.exhibits import Exhibits, exhibits_of, history
from tgvae.evaluation.latent import posteriors
from tgvae.evaluation.metric import Metric as Number
from tgvae.evaluation.metric import Parts
from tgvae.evaluation.report import Evaluation
from tgvae.evaluation.topics import has_topics, theta, top_words
from tgvae.models.base import Model
from tgvae.models.sentence import LatentSentenceModel
from tgvae.progress import track

Name = Literal["topics", "map", "similarity", "time", "labels", "documents", "latent", "training"]
NAMES: tuple[Name, ...] = get_args(Name)
OF_TOPICS = frozenset(NAMES[:6])


class Plot(NamedTuple):
    """A picture.

    Attributes:
        heading: what it shows.
        figure: of Plotly; None where there is nothing to show.
        caption: how to read it, or why there is nothing.
    """

    heading: str
    figure: Figure | None
    caption: str


DRAWN: dict[Name, tuple[Callable[[Exhibits], gallery.Picture], str]] = {
    "topics": (gallery.bars, "the model has no topics"),
    "map": (gallery.topic_map, "the model has no topics"),
    "similarity": (gallery.similarity, "the model has no topics"),
    "time": (gallery.over_time, "no topics, or documents of fewer than two years (date or year in their metadata)"),
    "labels": (gallery.by_label, "no topics, or documents of fewer than two labels"),
    "documents": (gallery.document_map, "the model has no topics"),
    "latent": (lambda e: (gallery.sentence_map if e.points is None else gallery.point_map)(e), "no latent to show"),
    "training": (gallery.terms, "no term of the objective is in metrics.jsonl"),
}
"""How each is drawn, and why it may be missing."""


def plots(
    model: Model, train: Examples, held_out: Examples, names: Sequence[Name] = NAMES, run: Path | None = None
) -> dict[Name, Plot]:
    """Pictures of a model by name, found without measuring it: seconds for a corpus of thousands of documents.

    Args:
        model: of any kind.
        train: the split it was trained on: topics, documents.
        held_out: another split: latent.
        names: which.
        run: its run folder, for ``training``.
    """
    return drawn(gathered(model, train, held_out, names, run), names)


def gathered(
    model: Model, train: Examples, held_out: Examples, names: Sequence[Name] = NAMES, run: Path | None = None
) -> Exhibits:
    """What there is to draw; arguments as those of ``plots``."""
    found = Evaluation()
    if has_topics(model) and isinstance(train, Corpus) and OF_TOPICS & {*names}:
        found.theta = theta(model, train)
        coherence = npmi(top_words(model.topic.log_beta.detach().cpu().numpy()), train.bags)
        found.report["topics"] = {"topic NPMI": Number.of(Parts.mean(coherence), "-1 to 1", "top 10")}
    if isinstance(model, LatentSentenceModel) and isinstance(held_out, Corpus) and "latent" in names:
        found.posteriors = posteriors(model, held_out)
    return exhibits_of(found, model, train, held_out, "", {}, run or Path())


def training_plots(run: Path) -> dict[Name, Plot]:
    """The picture of training alone, which needs neither model nor data: also of a run that is training now."""
    return drawn(Exhibits("", history=history(run / "metrics.jsonl")), ["training"])


def drawn(exhibits: Exhibits, names: Sequence[Name]) -> dict[Name, Plot]:
    """Pictures by name of what there is."""
    found = {}
    for name in track(dict.fromkeys(names), "fork_rng"):
        draw, why = DRAWN[name]
        heading, figure, caption = draw(exhibits)
        found[name] = Plot(heading, figure, why if figure is None else caption)
    return found

"""Finds what the page shows of a run: its topics, and pictures of them and of its documents.

Once, when the page is started.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from math import nan

import numpy as np

from tgvae.config_io import plain
from tgvae.data.corpus import Corpus
from tgvae.evaluation.html_report import CONFIG
from tgvae.evaluation.plots.catalog import PlotId, collect_plot_data, render
from tgvae.evaluation.prevalence import Prevalence, by_label, by_year
from tgvae.evaluation.projections import topic_distances
from tgvae.evaluation.report_data import ReportData, TopicRow
from tgvae.evaluation.topics import WithTopics, diversity, has_topics, top_words, topics_in_use
from tgvae.models.base import Model
from tgvae.web.requests import LINE
from tgvae.web.schemas import About, Context, Examples, Groups, Picture, Pictures, Source, Topic, Topics, Word
from tgvae.web.service import abilities, topics_of

EXAMPLE = 2_000  # most characters of a document that visitors are shown to begin with
PICTURES: tuple[PlotId, ...] = ("map", "documents", "time", "labels", "similarity")


def look(
    model: Model, name: str, corpus: Corpus | None, missing: str = "", tell: Callable[[str], object] = lambda _: None
) -> Context:
    """All that is known of a run.

    Args:
        model: its model.
        name: its name.
        corpus: the training split; None where it is not there.
        missing: why it is not.
        tell: is told what comes next, as it takes some seconds.
    """
    source = examples = None
    if corpus is not None:
        source, examples = source_of(corpus), examples_of(corpus)
    about = About(name, model.kind, version("tgvae"), abilities(model), source, missing, examples)
    if not has_topics(model):
        return Context(about)
    if corpus is not None:
        tell(f"topics of {corpus.documents:,} documents and {len(corpus.lengths):,} sentences ...")
    data = by_itself(model) if corpus is None else collect_plot_data(model, corpus, corpus, PICTURES)
    tell("pictures ...")
    return Context(about, described(data), pictured(data))


def source_of(corpus: Corpus) -> Source:
    """Where documents came from, and how many there are."""
    source = corpus.folder.manifest["source"]
    return Source(source["name"], source["licence"], corpus.documents, len(corpus.lengths))


def examples_of(corpus: Corpus) -> Examples | None:
    """How a document from the middle of the corpus begins, up to a word's end, and sentences from its thirds.

    None where the corpus has no sentence.
    """
    count = len(corpus.lengths)
    if not count:
        return None
    document = " ".join(corpus.table["sentences"][corpus.documents // 2].as_py())
    start, end = (corpus.text(row)[:LINE] for row in (count // 3, 2 * count // 3))
    return Examples(f"{document} "[: EXAMPLE + 1].rsplit(" ", 1)[0][:EXAMPLE], start, end)


def by_itself(model: WithTopics) -> ReportData:
    """What a model has to show without documents: shares are those of an empty one, and no coherence is known (NaN)."""
    beta = model.topic.log_beta.detach().exp().cpu().double().numpy()
    top, share = top_words(beta), topics_of(model, []).detach().cpu().numpy()
    rows = [
        TopicRow(int(i), float(share[i]), nan, [model.vocabulary.words[w] for w in top[i]], beta[i, top[i]].tolist())
        for i in (-share).argsort(kind="stable")
    ]
    return ReportData(topics=rows, topic_distances=topic_distances(beta))


def described(data: ReportData) -> Topics:
    """The topics: coherence is None where it is not known."""
    rows, groups = data.topics or (), groups_of(data)
    return Topics(
        npmi=plain(float(np.mean([row.npmi for row in rows]))),
        diversity=diversity(np.array([row.words for row in rows])),
        in_use=None if data.theta is None else topics_in_use(data.theta),
        groups={kind: Groups(found.names, found.documents.tolist()) for kind, found in groups.items()},
        topics=[one(row, groups, data.theta is not None) for row in rows],
    )


def groups_of(data: ReportData) -> dict[str, Prevalence]:
    """Prevalence by year and by label, where documents have them."""
    if data.theta is None:
        return {}
    found = {
        "year": by_year(data.theta, data.dates or ()),
        "label": by_label(data.theta, data.labels or ()),
    }
    return {kind: prevalence for kind, prevalence in found.items() if prevalence is not None}


def one(row: TopicRow, groups: dict[str, Prevalence], shares: bool) -> Topic:
    """A topic, with what each group of documents has of it, in five digits; its share is of documents, or None."""
    words = [Word(*pair) for pair in zip(row.words, row.probabilities, strict=True)]
    prevalence = {kind: found.means[:, row.number].round(5).tolist() for kind, found in groups.items()}
    share = row.share if shares else None
    return Topic(row.number, row.name, share, plain(row.npmi), words, list(row.nearest), prevalence)


def pictured(data: ReportData) -> Pictures:
    """Pictures with headings and captions."""
    found = render(data, PICTURES).values()
    shown = [Picture(p.heading, p.caption, json.loads(str(p.figure.to_json()))) for p in found if p.figure is not None]
    return Pictures(CONFIG, shown)

"""Collects what the page shows of a run when the server starts: description, topics and plots."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from math import nan
from typing import Any

import numpy as np

from tgvae.config_io import nan_to_none
from tgvae.data.corpus import Corpus
from tgvae.evaluation.html_report import CONFIG
from tgvae.evaluation.plots.catalog import PlotId, collect_plot_data, render
from tgvae.evaluation.projections import topic_distances
from tgvae.evaluation.report_data import ReportData, TopicRow
from tgvae.evaluation.topics import (
    Prevalence,
    diversity,
    prevalence_by_label,
    prevalence_by_year,
    top_words,
    topics_in_use,
)
from tgvae.models.base import Capability, Model
from tgvae.web.schemas import (
    SENTENCE_CHARACTERS,
    CorpusInfo,
    Examples,
    Groups,
    PageData,
    PlotInfo,
    PlotList,
    RunInfo,
    TopicInfo,
    TopicList,
    TopicWord,
)
from tgvae.web.service import topic_proportions

EXAMPLE_CHARACTERS = 2_000  # of the example document
PLOTS: tuple[PlotId, ...] = ("map", "documents", "time", "labels", "similarity")


def collect_page_data(
    model: Model,
    name: str,
    corpus: Corpus | None,
    corpus_missing: str = "",
    report: Callable[[str], object] = lambda _: None,
) -> PageData:
    """Collect everything that is known of a run.

    Args:
        model: its model, of any kind.
        name: of the run.
        corpus: training split; None if it is missing.
        corpus_missing: why it is missing.
        report: called with a message before every slow step.
    """
    info, examples = (None, None) if corpus is None else (_corpus_info(corpus), example_texts(corpus))
    capabilities = sorted(map(str, model.capabilities))
    run = RunInfo(name, model.kind, version("tgvae"), capabilities, info, corpus_missing, examples)
    if Capability.TOPICS not in model.capabilities:
        return PageData(run)
    if corpus is not None:
        report(f"topics of {corpus.documents:,} documents and {len(corpus.lengths):,} sentences ...")
    data = _without_corpus(model) if corpus is None else collect_plot_data(model, corpus, corpus, PLOTS)
    report("plots ...")
    return PageData(run, _topic_list(data), _plot_list(data))


def _corpus_info(corpus: Corpus) -> CorpusInfo:
    source = corpus.folder.manifest["source"]
    return CorpusInfo(source["name"], source["licence"], corpus.documents, len(corpus.lengths))


def example_texts(corpus: Corpus) -> Examples | None:
    """Return the beginning of a document from the middle of the corpus, and two sentences; None without sentences."""
    count = len(corpus.lengths)
    if not count:
        return None
    document = " ".join(corpus.table["sentences"][corpus.documents // 2].as_py())
    beginning = f"{document} "[: EXAMPLE_CHARACTERS + 1].rsplit(" ", 1)[0][:EXAMPLE_CHARACTERS]  # ends with a word
    start, end = (corpus.text(row)[:SENTENCE_CHARACTERS] for row in (count // 3, 2 * count // 3))
    return Examples(beginning, start, end)


def _without_corpus(model: Any) -> ReportData:
    """Return the topics of a model without its corpus: in the order of the prior, with unknown coherence (NaN)."""
    beta = model.topic.log_beta.detach().exp().cpu().double().numpy()
    top, share = top_words(beta), topic_proportions(model, []).detach().cpu().numpy()
    rows = [
        TopicRow(int(i), float(share[i]), nan, [model.vocabulary.words[w] for w in top[i]], beta[i, top[i]].tolist())
        for i in (-share).argsort(kind="stable")
    ]
    return ReportData(topics=rows, topic_distances=topic_distances(beta))


def _topic_list(data: ReportData) -> TopicList:
    rows, groups = data.topics or (), _prevalence(data)
    return TopicList(
        npmi=nan_to_none(float(np.mean([row.npmi for row in rows]))),  # NaN becomes None
        diversity=diversity(np.array([row.words for row in rows])),
        in_use=None if data.theta is None else topics_in_use(data.theta),
        groups={kind: Groups(found.names, found.documents.tolist()) for kind, found in groups.items()},
        topics=[_topic_info(row, groups, data.theta is not None) for row in rows],
    )


def _prevalence(data: ReportData) -> dict[str, Prevalence]:
    """Return prevalence by year and by label, if documents have them."""
    if data.theta is None:
        return {}
    found = {
        "year": prevalence_by_year(data.theta, data.dates or ()),
        "label": prevalence_by_label(data.theta, data.labels or ()),
    }
    return {kind: prevalence for kind, prevalence in found.items() if prevalence is not None}


def _topic_info(row: TopicRow, groups: dict[str, Prevalence], has_shares: bool) -> TopicInfo:
    words = [TopicWord(*pair) for pair in zip(row.words, row.probabilities, strict=True)]
    prevalence = {kind: found.means[:, row.number].round(5).tolist() for kind, found in groups.items()}
    share = row.share if has_shares else None
    return TopicInfo(row.number, row.name, share, nan_to_none(row.npmi), words, list(row.nearest), prevalence)


def _plot_list(data: ReportData) -> PlotList:
    plots = render(data, PLOTS).values()
    shown = [PlotInfo(p.heading, p.caption, json.loads(str(p.figure.to_json()))) for p in plots if p.figure is not None]
    return PlotList(CONFIG, shown)

"""HTML reports: complete, escaped and self-contained."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from html.parser import HTMLParser

import numpy as np
import pytest

from tgvae.evaluation.html_report import render_report
from tgvae.evaluation.metric import Metric
from tgvae.evaluation.plots.catalog import CATALOG
from tgvae.evaluation.projections import topic_distances
from tgvae.evaluation.report_data import Embeddings, ReportData, SummaryRow, TopicRow

VOID_TAGS = {"meta", "br", "link", "img", "hr", "input"}
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><b>",
    '"><img src=x onerror=alert(1)>',
    "<!--<script>",
    "%{x} &amp; $x$",
)
PLOTS = {spec.id for spec in CATALOG.values() if spec.section}


def report_data(*texts: str) -> ReportData:
    """A small report with every field, and ``texts`` wherever text of users may occur."""
    rng = np.random.default_rng(0)
    words = [*texts, "war", "peace", "bread", "butter", "moon"][:5]
    beta = rng.dirichlet(np.ones(5), 4)
    topics = [TopicRow(i, 0.25, 0.1 * i, words, beta[i].tolist(), words, words) for i in (2, 0, 3, 1)]
    valid = {"kind": "valid", "nll/tokens": 9.0, "kl/z": 1.0, "perplexity": 80.0}
    return ReportData(
        title=f"Run {words[0]}",
        about=dict.fromkeys(words, words[1]),
        metrics={
            words[0]: {words[1]: Metric(1234.5, words[2], words[3], 20, error=0.5, baselines={words[4]: 1.0})},
            "b": {"n": Metric(3, "")},
        },
        topics=topics,
        topic_distances=topic_distances(beta),
        theta=rng.dirichlet(np.ones(4), 30),
        dates=["1999", "2000-05-01", None] * 10,
        labels=[*words, None] * 5,
        document_texts=[*words] * 6,
        embeddings=Embeddings("nodes", rng.normal(size=(10, 3)), np.arange(10) % 5, words, [*words, *words]),
        samples=rng.random((2, 3, 4, 4)),
        reconstructions=rng.random((2, 3, 4, 4)),
        history=[{"kind": "train", "step": 5, "nll/tokens": 10.0}, valid | {"step": 5}, valid | {"step": 9}],
        lengths=([3, 4, 4], [5]),
        bleu={words[0]: {2: 0.5, 3: 0.4}, "self-BLEU": {2: 0.7}},
        summaries=[SummaryRow(words[0], words[1], [words[2], words[3]], words[4]), SummaryRow("b", "t", ["r"], "")],
        guidance=[(1, 0.3, 200, 0.8), (2, 0.8, 380, 0.5)],
    )


class Reader(HTMLParser):
    """Strict parser: every tag must be closed in order. Collects tags, attributes and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.shown: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "every tag is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"script", "style"}:
            self.shown.append(data)

    @property
    def ids(self) -> list[str]:
        return [value for name, value in self.attributes if name == "id"]


@pytest.fixture(scope="module")
def full() -> str:
    return render_report(report_data())


@pytest.fixture(scope="module")
def hostile() -> str:
    return render_report(report_data(*HOSTILE))


def test_report_has_all_sections_and_valid_links(full: str) -> None:
    reader = Reader(full)
    assert len(set(reader.ids)) == len(reader.ids)
    targets = {value[1:] for name, value in reader.attributes if name == "href"}
    sections = ("about", "metrics", "topics", "summaries", "documents", "sentences", "latent-space", "training")
    assert PLOTS | {f"section-{name}" for name in sections} <= targets <= set(reader.ids)
    assert reader.tags.count("figure") == reader.tags.count("figcaption") == len(PLOTS)
    assert full == render_report(report_data()), "rendering is deterministic"


def test_report_needs_no_network(full: str) -> None:
    links = {value for name, value in Reader(full).attributes if name in {"src", "href"}}
    assert all(link.startswith("#") for link in links)
    assert "default-src 'none'" in full
    assert "@import" not in full[: full.index("</style>")]
    assert len(full.encode()) < 8e6


def test_plotly_is_embedded_once_and_only_if_there_are_plots(full: str) -> None:
    assert full.count("plotly.js v") == 1
    tables = render_report(ReportData("Run", metrics=report_data().metrics, topics=report_data().topics))
    assert "<script" not in tables
    assert len(tables) < 20_000


@pytest.mark.parametrize("field", sorted({name for spec in CATALOG.values() for name in spec.needs} - {"topic_names"}))
def test_missing_data_removes_exactly_the_plots_that_need_it(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "")
    ids = Reader(render_report(replace(report_data(), **{field: None}))).ids
    assert {name for name in PLOTS if name in ids} == {name for name in PLOTS if field not in CATALOG[name].needs}


def test_an_empty_report_is_a_title() -> None:
    reader = Reader(render_report(ReportData("Bare run")))
    assert reader.ids == []
    assert "Bare run" in reader.shown
    plotted = {name for spec in CATALOG.values() for name in spec.needs}
    assert {f.name for f in fields(ReportData)} - plotted == {"title", "about", "metrics", "summaries"}


def test_text_cannot_become_markup(full: str, hostile: str) -> None:
    expected, found = Reader(full), Reader(hostile)
    assert found.tags == expected.tags, "no additional element"
    assert {name for name, _ in found.attributes} == {name for name, _ in expected.attributes}
    shown = "".join(found.shown)
    assert all(text in shown for text in HOSTILE)


def test_plotly_receives_escaped_text(hostile: str) -> None:
    """Plotly interprets tags in labels: only our line breaks and bold names may reach it."""
    calls = re.findall(r"Plotly\.newPlot\(.*?\};", hostile[hostile.index("<main>") :], flags=re.DOTALL)
    assert len(calls) == len(PLOTS)
    texts = [t for call in calls for t in strings(json.JSONDecoder().raw_decode(call, call.index("["))[0])]
    assert any("&lt;script&gt;" in text for text in texts)
    for text in texts:
        assert set(re.findall(r"<[^>]*>?", text)) <= {"<b>", "</b>", "<br>", "<extra>", "</extra>"}


def strings(value: object) -> list[str]:
    """Return every string in a JSON value."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in strings(part)]

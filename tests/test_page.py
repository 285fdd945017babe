"""The page of an evaluation: whole, escaped, without network; its projections against oracles."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.spatial.distance import cdist, jensenshannon
from sklearn.decomposition import PCA

from tgvae.evaluation import pictures
from tgvae.evaluation.embeddings import Points
from tgvae.evaluation.exhibits import Exhibits, SummaryRow, TopicRow
from tgvae.evaluation.html_report import page
from tgvae.evaluation.metric import Metric
from tgvae.evaluation.projections import evenly, principal_plane, scaled_to_plane, topic_distances

VOID = {"meta", "br", "link", "img", "hr", "input"}
EVIL = ("<script>alert(1)</script>", "</script><b>", '"><img src=x onerror=alert(1)>', "<!--<script>", "%{x} &amp; $x$")
PICTURES = {
    "map-of-topics": {"topics", "topic_distances"},
    "similarity-of-topics": {"topics", "topic_distances"},
    "map-of-documents": {"theta", "document_text"},
    "documents-by-topic": {"theta"},
    "topics-over-time": {"theta", "dates"},
    "topics-by-label": {"theta", "labels"},
    "latent-space": {"latent", "latent_topic", "latent_text"},
    "steering": {"steering"},
    "lengths": {"lengths"},
    "bleu": {"bleu"},
    "samples": {"samples"},
    "reconstructions": {"reconstructions"},
    "latent-map": {"points"},
    "terms-over-training": {"history"},
    "rate-and-distortion": {"history"},
}


def exhibits(*texts: str) -> Exhibits:
    """A small evaluation with everything in it, and the texts wherever text may stand."""
    rng = np.random.default_rng(0)
    words = [*texts, "war", "peace", "bread", "butter", "moon"][:5]
    beta = rng.dirichlet(np.ones(5), 4)
    topics = [TopicRow(i, 0.25, 0.1 * i, words, beta[i].tolist(), words, words) for i in (2, 0, 3, 1)]
    valid = {"kind": "valid", "nll/tokens": 9.0, "kl/z": 1.0, "perplexity": 80.0}
    return Exhibits(
        title=f"Run {words[0]}",
        about=dict.fromkeys(words, words[1]),
        figures={
            words[0]: {words[1]: Metric(1234.5, words[2], words[3], 20, error=0.5, marks={words[4]: 1.0})},
            "b": {"n": Metric(3, "")},
        },
        topics=topics,
        topic_distances=topic_distances(beta),
        theta=rng.dirichlet(np.ones(4), 30),
        dates=["1999", "2000-05-01", None] * 10,
        labels=[*words, None] * 5,
        document_text=[*words] * 6,
        latent=rng.normal(size=(20, 6)),
        latent_topic=rng.integers(-1, 4, 20),
        latent_text=[words[i % 5] for i in range(20)],
        points=Points("nodes", rng.normal(size=(10, 3)), np.arange(10) % 5, words, [*words, *words]),
        samples=rng.random((2, 3, 4, 4)),
        reconstructions=rng.random((2, 3, 4, 4)),
        history=[{"kind": "train", "step": 5, "nll/tokens": 10.0}, valid | {"step": 5}, valid | {"step": 9}],
        lengths=([3, 4, 4], [5]),
        bleu={words[0]: {2: 0.5, 3: 0.4}, "self-BLEU": {2: 0.7}},
        steering=[(1, 0.3, 200, 0.8), (2, 0.8, 380, 0.5)],
    )


class Reader(HTMLParser):
    """Reads a page strictly: what opens must close, in order; collects what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.shown: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "everything is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
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
    return page(exhibits())


@pytest.fixture(scope="module")
def evil() -> str:
    """The same page with hostile text wherever text may stand."""
    return page(exhibits(*EVIL))


def test_a_full_page_is_whole_and_linked(full: str) -> None:
    reader = Reader(full)
    assert len(set(reader.ids)) == len(reader.ids)
    targets = {value[1:] for name, value in reader.attributes if name == "href"}
    assert set(PICTURES) | {"about", "metrics", "topics", "documents", "sentences", "latents", "training"} <= targets
    assert targets <= set(reader.ids)
    assert reader.tags.count("figure") == reader.tags.count("figcaption") == len(PICTURES)


def test_nothing_is_asked_of_the_network(full: str) -> None:
    outward = {
        value for name, value in Reader(full).attributes if name in {"src", "href"} and not value.startswith("#")
    }
    assert outward == set()
    assert "default-src 'none'" in full, "and the browser is told to refuse"
    assert "@import" not in full[: full.index("</style>")]
    assert len(full.encode()) < 8e6


def test_plotly_stands_in_the_page_once_and_only_for_pictures(full: str) -> None:
    assert full.count("plotly.js v") == 1
    tables = page(Exhibits("Run", figures=exhibits().figures, topics=exhibits().topics))
    assert "<script" not in tables
    assert len(tables) < 20_000


@pytest.mark.parametrize("missing", sorted({name for needed in PICTURES.values() for name in needed}))
def test_what_is_missing_is_left_out_and_only_that(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "")
    reader = Reader(page(replace(exhibits(), **{missing: None})))
    assert {name for name in PICTURES if name in reader.ids} == {
        n for n, needed in PICTURES.items() if missing not in needed
    }


def test_a_page_of_nothing_is_a_title() -> None:
    reader = Reader(page(Exhibits("Bare run")))
    assert reader.ids == []
    assert "Bare run" in reader.shown
    assert {f.name for f in fields(Exhibits)} - {"title", "about", "figures", "summaries"} == set().union(
        *PICTURES.values()
    )


def test_summaries_stand_beside_their_references() -> None:
    rows = [
        SummaryRow("a", "The <b>whole</b> text.", ["One", "Another"], "Mine"),
        SummaryRow("b", "Text.", ["Two"], ""),
    ]
    reader = Reader(page(Exhibits("Run", summaries=rows)))
    for text in (
        "The <b>whole</b> text.",
        "One",
        "Another",
        "Mine",
        "Two",
        "2 documents drawn by a fixed seed, not chosen.",
    ):
        assert text in reader.shown


def test_text_cannot_become_markup(full: str, evil: str) -> None:
    harmless, hostile = Reader(full), Reader(evil)
    assert hostile.tags == harmless.tags, "not one element more"
    assert {name for name, _ in hostile.attributes} == {name for name, _ in harmless.attributes}
    shown = "".join(hostile.shown)
    assert all(text in shown for text in EVIL), "and it is shown as it is"


def test_plotly_gets_text_and_no_markup(evil: str) -> None:
    """Plotly reads tags in labels; of those only our own line breaks and bold names may reach it."""
    calls = re.findall(r"Plotly\.newPlot\(.*?\};", evil[evil.index("<main>") :], flags=re.DOTALL)
    assert len(calls) == len(PICTURES)
    texts = [t for call in calls for t in strings(json.JSONDecoder().raw_decode(call, call.index("["))[0])]
    assert any("&lt;script&gt;" in text for text in texts)
    for text in texts:
        assert set(re.findall(r"<[^>]*>?", text)) <= {"<b>", "</b>", "<br>", "<extra>", "</extra>"}
    assert pictures.plain("<b> & </b>") == "&lt;b&gt; &amp; &lt;/b&gt;"


def strings(value: object) -> list[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in strings(part)]


def test_the_same_exhibits_give_the_same_page(full: str) -> None:
    assert page(exhibits()) == full


def test_numbers_are_written_for_people() -> None:
    values = {1234.5: "1,234", 166.36: "166.4", 3.14159: "3.14", 0.19792: "0.198", 12: "12", float("nan"): "–"}
    rows = {f"n{i}": Metric(value, "nats", "e", size=12345) for i, value in enumerate(values)}
    shown = Reader(page(Exhibits("Run", figures={"s": rows}))).shown
    assert [shown[i - 1] for i, text in enumerate(shown) if text == "nats"] == list(values.values())
    assert shown.count("12,345") == len(rows)


def test_topic_distances_are_scipys() -> None:
    beta = np.random.default_rng(1).dirichlet(np.full(40, 0.1), 7)
    expected = [[jensenshannon(p, q) for q in beta] for p in beta]
    np.testing.assert_allclose(topic_distances(beta), expected, atol=1e-7)
    apart = topic_distances(np.eye(3))
    np.testing.assert_allclose(apart, np.sqrt(np.log(2)) * (1 - np.eye(3)), atol=1e-12)


def test_scaling_reproduces_distances_in_a_plane() -> None:
    points = np.random.default_rng(2).normal(size=(12, 2))
    found = scaled_to_plane(cdist(points, points))
    np.testing.assert_allclose(cdist(found, found), cdist(points, points), atol=1e-7)
    np.testing.assert_allclose(scaled_to_plane(np.array([[0.0, 3.0], [3.0, 0.0]])), [[1.5, 0], [-1.5, 0]], atol=1e-7)
    assert scaled_to_plane(np.zeros((1, 1))).tolist() == [[0, 0]]


def test_principal_plane_is_scikit_learns() -> None:
    points = np.random.default_rng(3).normal(size=(50, 5)) * [3, 1, 2, 0.1, 0.5]
    found, share = principal_plane(points)
    oracle = PCA(2).fit(points)
    np.testing.assert_allclose(np.abs(found), np.abs(oracle.transform(points)), atol=1e-8)
    np.testing.assert_allclose(share, oracle.explained_variance_ratio_)
    line, all_of_it = principal_plane(np.array([[1.0], [3.0]]))
    assert (line.tolist(), all_of_it.tolist()) == ([[-1, 0], [1, 0]], [1, 0])
    still, none_of_it = principal_plane(np.ones((1, 4)))
    assert (still.tolist(), none_of_it.tolist()) == ([[0, 0]], [0, 0])


@pytest.mark.parametrize(("count", "most"), [(0, 5), (1, 5), (5, 5), (6, 5), (4420, 300)])
def test_samples_are_spread_evenly(count: int, most: int) -> None:
    places = evenly(count, most)
    assert len(places) == min(count, most)
    if count > 1:
        gaps = np.diff(places)
        assert (places[0], places[-1]) == (0, count - 1)
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1


def test_large_evaluations_are_sampled() -> None:
    theta = np.random.default_rng(4).dirichlet(np.ones(3), 1000)
    shown = pictures.documents_by_topic(theta, ["a", "b", "c"]).data[0]
    assert np.shape(shown.z) == (3, 300)
    main = np.argmax(shown.z, axis=0)
    assert (np.diff(main) >= 0).all(), "sorted by main topic"
    assert np.bincount(main) / 300 == pytest.approx(np.bincount(theta.argmax(1)) / 1000, abs=0.01)
    points = pictures.latent_map(np.zeros((5000, 2)), np.zeros(5000, int), ["s"] * 5000, ["a"]).data
    assert sum(len(trace.x) for trace in points) == 2000


def test_means_over_time_and_by_label_are_those_of_their_documents() -> None:
    theta = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.2, 0.8]])
    names = ["0 war", "1 food"]
    lines = pictures.topics_over_time(theta, ["2001-02-03", "1999", "2001", "around 1999"], names).data
    by_name = {line.name: (list(line.x), list(line.y)) for line in lines}
    assert by_name == {"0 war": ([1999, 2001], [0.5, 0.5]), "1 food": ([1999, 2001], [0.5, 0.5])}
    cells = pictures.topics_by_label(theta, ["b", "a", "b", None], names).data[0]
    assert (list(cells.x), np.array(cells.z).tolist()) == (["a", "b"], [[0.5, 0.5], [0.5, 0.5]])
    assert pictures.topics_over_time(theta, ["1999", "1999", None, "soon"], names) is None
    assert pictures.topics_by_label(theta, ["a", "a", None, None], names) is None


def test_rate_and_distortion_are_of_the_last_phase() -> None:
    early = {"kind": "valid", "step": 1, "nll/words": 300.0, "kl/g": 5.0}
    late = [{"kind": "valid", "step": s, "nll/tokens": 90.0 + s, "kl/c": 1.0, "kl/z": 0.5 * s} for s in (2, 4)]
    (line,) = pictures.rate_distortion([early, *late]).data
    assert (list(line.x), list(line.y)) == ([2.0, 3.0], [92.0, 94.0])
    assert pictures.rate_distortion([early, late[0]]) is None, "one epoch is no curve"
    assert pictures.rate_distortion([{"kind": "valid", "step": s, "nll/tokens": 9.0} for s in (1, 2)]) is None


def test_a_resumed_run_shows_every_step_once() -> None:
    rows = [{"kind": "train", "step": s, "nll/tokens": v} for s, v in ((1, 9.0), (2, 8.0), (2, 7.0))]
    train = pictures.training_terms(rows).data[0]
    assert (list(train.x), list(train.y)) == ([1, 2], [9.0, 7.0])


def test_lengths_are_shares_of_sentences() -> None:
    real, generated = pictures.length_histogram([1, 2, 2, 2], [3]).data
    assert list(real.y) == [0, 0.25, 0.75]
    assert list(generated.y) == [0, 0, 0, 1]


def test_groups_differ_without_colour() -> None:
    looks = [(m["color"], m["symbol"]) for m in map(pictures._marker, range(56))]
    assert len(set(looks)) == 56
    lines = pictures.bleu_curves({f"kind {i}": {2: 0.1} for i in range(4)}).data
    assert len({line.line.dash for line in lines}) == len({line.marker.symbol for line in lines}) == 4

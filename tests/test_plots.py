"""Plots: the catalogue, the data in the figures, and `tgvae plot` with HTML and PNG."""

from __future__ import annotations

import builtins
import json
import shutil
from dataclasses import replace
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tests.conftest import CHROMIUM, made_up_documents, out_of, refused
from tests.test_html_report import HOSTILE, report_data
from tgvae.cli.main import main
from tgvae.cli.plot import png
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.evaluation.plots import latent_plots, plot_style, text_plots, topic_plots, training_plots
from tgvae.evaluation.plots.catalog import CATALOG, PLOT_IDS, PlotId, model_plots, render
from tgvae.evaluation.projections import MAX_JS_DISTANCE, topic_distances
from tgvae.evaluation.report_data import ReportData
from tgvae.evaluation.topics import theta
from tgvae.models.sentence import SentenceConfig
from tgvae.models.tgvae import TGVAE, TGVAEConfig
from tgvae.models.topic import TopicConfig
from tgvae.recipes import Recipe
from tgvae.runs import start_run
from tgvae.training.config import Phase, TrainConfig

TOPIC_PLOTS = ("topics", "map", "similarity", "time", "labels", "documents")


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 documents with three labels and four years."""
    folder = tmp_path_factory.mktemp("dated")
    rows = [row | {"year": 2000 + i % 4} for i, row in enumerate(made_up_documents(120))]
    (folder / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = PrepareSettings(vocabulary_size=400, splits=(0.7, 0.1, 0.2), min_document_words=3)
    return prepare(str(folder / "documents.jsonl"), folder / "prepared", settings, workers=1)


@pytest.fixture(scope="module")
def run(dated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small topic-guided model of them."""
    sizes = SentenceConfig(embedding_size=16, hidden_size=16, latent_size=4, flow_length=0)
    config = TGVAEConfig(TopicConfig(topics=3, hidden_size=16), sizes)
    phases = {"topics": Phase("document", epochs=2, batch=64), "sentences": Phase("sentence", epochs=1, batch=200)}
    run = tmp_path_factory.mktemp("runs") / "run"
    start_run(Recipe("tgvae", config, TrainConfig(phases, device="cpu")), dated, run, quiet=True)
    return run


# The command


def test_every_plot_of_a_run_is_a_self_contained_page(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = out_of(capsys, "plot", run)
    files = sorted(path.name for path in (run / "plots").iterdir())
    assert files == sorted(f"{name}.html" for name in PLOT_IDS)
    assert all(str(run / "plots" / file) in output for file in files)
    assert "left out" not in output
    for file in files:
        page = (run / "plots" / file).read_text(encoding="utf-8")
        assert page.count("<figure ") == 1
        assert "plotly.js v" in page
        assert "default-src 'none'" in page


def test_only_requested_plots_are_written(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "a"
    output = json.loads(out_of(capsys, "plot", run, "--what", "map", "time", "--out", folder, "--json"))
    expected = {name: str(folder / f"{name}.html") for name in ("map", "time")}
    assert output == {"files": {name: [path] for name, path in expected.items()}, "left_out": {}}
    assert sorted(map(str, folder.iterdir())) == sorted(expected.values())


def test_a_model_of_vectors_has_no_topic_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((60, 4, 4)), labels=np.arange(60) % 2)
    train = ["train", str(tmp_path / "x.npz"), "--recipe", "digits-vae", "--out", str(tmp_path / "run")]
    assert main([*train, "--train.phases.vectors.epochs=1", "--train.device=cpu"]) == 0
    capsys.readouterr()
    output = json.loads(out_of(capsys, "plot", tmp_path / "run", "--json"))
    assert set(output["files"]) == {"latent", "training"}
    assert output["left_out"] == {name: CATALOG[name].missing for name in TOPIC_PLOTS}


def test_training_plot_needs_neither_data_nor_a_model(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = tmp_path / "run"
    shutil.copytree(run, unfinished, ignore=shutil.ignore_patterns("*.safetensors", "plots"))
    move_data(unfinished, tmp_path / "gone")
    out_of(capsys, "plot", unfinished, "--what", "training")
    assert [path.name for path in (unfinished / "plots").iterdir()] == ["training.html"]
    assert "no trained model" in refused(capsys, "plot", unfinished)
    assert "not a run folder" in refused(capsys, "plot", tmp_path, "--what", "training")
    (unfinished / "metrics.jsonl").unlink()
    assert CATALOG["training"].missing in out_of(capsys, "plot", unfinished, "--what", "training")


def test_moved_data_can_be_given(run: Path, dated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run, tmp_path / "run")
    move_data(tmp_path / "run", tmp_path / "gone")
    assert str(tmp_path / "gone") in refused(capsys, "plot", tmp_path / "run")
    out_of(capsys, "plot", tmp_path / "run", "--data", dated, "--what", "labels")


def move_data(run: Path, path: Path) -> None:
    description = json.loads((run / "run.json").read_text(encoding="utf-8"))
    description["data"]["path"] = str(path)
    (run / "run.json").write_text(json.dumps(description), encoding="utf-8")


@pytest.mark.parametrize("option", ["--what", "--format"])
def test_empty_options_are_refused(run: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "at least one value" in refused(capsys, "plot", run, option)


def test_png_without_kaleido_names_the_extra(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("kaleido"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert "pip install 'tgvae[pictures]'" in refused(capsys, "plot", run, "--format", "png")


def test_png_without_a_browser_is_explained(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = pytest.importorskip("kaleido.errors")

    def no_browser(*_: Any, **__: Any) -> bytes:
        raise errors.ChromeNotFoundError("none")

    monkeypatch.setattr("kaleido.calc_fig_sync", no_browser)
    assert "Chrome" in refused(capsys, "plot", run, "--what", "training", "--format", "png", "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chrome or Chromium browser")
def test_a_png_is_drawn_on_white() -> None:
    pytest.importorskip("kaleido")
    image = pytest.importorskip("PIL.Image")
    figure = render(report_data(), ["map"])["map"].figure
    assert figure is not None
    pixels = np.asarray(image.open(BytesIO(png(figure))).convert("RGB"))
    assert pixels.shape == (2 * figure.layout.height, 2000, 3)
    assert (pixels[0, 0] == 255).all()
    assert 0.005 < (pixels < 250).any(axis=2).mean() < 0.5
    assert figure.layout.paper_bgcolor != "white", "the figure itself is not changed"


# The catalogue


def test_catalog_has_the_ids_of_the_command() -> None:
    assert set(get_args(PlotId)) <= set(CATALOG)
    assert all(hasattr(ReportData(), name) for spec in CATALOG.values() for name in spec.needs)
    assert all(plot.figure and plot.caption.endswith(".") for plot in render(report_data(), CATALOG).values())
    assert all(plot.figure is None for plot in render(ReportData(), CATALOG).values())


def test_plots_show_the_data_of_the_model(run: Path, dated: Path) -> None:
    model, folder = TGVAE.from_pretrained(run), PreparedFolder.open(dated)
    train, test = Corpus(folder, "train"), Corpus(folder, "test")
    found = model_plots(model, train, test, ["labels", "documents", "latent", "labels"], run)
    assert list(found) == ["labels", "documents", "latent"]
    proportions, labels = theta(model, train), np.array(train.table["label"].to_pylist())
    expected = [proportions[labels == name].mean(0) for name in ("food", "space", "war")]
    np.testing.assert_allclose(found["labels"].figure.data[0].z, np.array(expected).T, rtol=1e-6)
    marks = [trace for trace in found["documents"].figure.data if trace.mode == "markers"]
    assert sum(len(trace.x) for trace in marks) == train.documents
    first = train.table["sentences"].to_pylist()[0][0][:20]
    assert any(first in unescape(text).replace("<br>", " ") for trace in marks for text in trace.hovertext)
    assert sum(len(trace.x) for trace in found["latent"].figure.data) == len(test.texts)
    assert "by topic" in found["latent"].caption


def test_without_a_run_there_is_no_training_plot(
    run: Path, dated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history of a run in the working directory is not the model's."""
    shutil.copy(run / "metrics.jsonl", tmp_path)
    monkeypatch.chdir(tmp_path)
    model, test = TGVAE.from_pretrained(run), Corpus(PreparedFolder.open(dated), "test")
    assert model_plots(model, test, test, ["training"])["training"].figure is None
    assert model_plots(model, test, test, ["training"], run)["training"].figure is not None


# Figures


def test_topic_bars_show_probabilities() -> None:
    rows = report_data(*HOSTILE).topics or ()
    figure = topic_plots.topic_bars(rows)
    assert [bars.x for bars in figure.data] == [tuple(topic.probabilities) for topic in rows]
    assert "&lt;script&gt;" in figure.layout.yaxis.ticktext[0]
    assert len(topic_plots.topic_bars([rows[0]] * 99).data) == topic_plots.MAX_BAR_CHARTS


@pytest.mark.parametrize("count", [1, 2, 8, 50, 200])
def test_circles_of_the_topic_map_do_not_overlap(count: int) -> None:
    rng = np.random.default_rng(0)
    beta, shares = rng.dirichlet(np.full(30, 0.1), count), rng.dirichlet(np.full(count, 0.3))
    rows = [replace(report_data().topics[0], number=i, share=float(share)) for i, share in enumerate(shares)]
    figure = topic_plots.topic_map(topic_distances(beta), rows)
    (circles,) = figure.data
    pixels = figure.layout.height / np.ptp(figure.layout.yaxis.range)
    places, radii = pixels * np.stack((circles.x, circles.y), axis=1), np.asarray(circles.marker.size) / 2
    distances = np.linalg.norm(places[:, None] - places, axis=2) - (radii[:, None] + radii)
    assert distances[~np.eye(count, dtype=bool)].min(initial=0) > -1
    assert list(circles.text) == [str(i) for i in range(count)]
    assert radii.argmax() == shares.argmax()


def test_topic_similarity_is_one_minus_the_distance() -> None:
    beta = np.array([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0.4, 0.6, 0, 0]])
    cells = topic_plots.topic_similarity(topic_distances(beta), ["a", "b", "c"]).data[0]
    place = {name: i for i, name in enumerate(cells.y)}
    assert abs(place["a"] - place["c"]) == 1, "similar topics are adjacent"
    assert cells.z[place["a"]][place["c"]] == pytest.approx(1 - topic_distances(beta)[0, 2] / MAX_JS_DISTANCE)
    assert cells.z[place["a"]][place["b"]] == pytest.approx(0)
    assert np.isnan(np.diag(cells.z)).all()


@pytest.mark.parametrize("topics", [1, 2])
def test_one_or_two_topics_can_be_plotted(topics: int) -> None:
    beta = np.random.default_rng(0).dirichlet(np.ones(5), topics)
    rows = [replace(row, number=i) for i, row in enumerate((report_data().topics or ())[:topics])]
    shares = np.random.default_rng(1).dirichlet(np.ones(topics), 9)
    data = ReportData(topics=rows, topic_distances=topic_distances(beta), theta=shares, document_texts=["d"] * 9)
    assert all(plot.figure is not None for plot in render(data, ["topics", "map", "similarity", "documents"]).values())


def test_document_map_is_a_sample_with_numbered_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_plots, "MAX_DOCUMENTS", 50)
    proportions = np.random.default_rng(0).dirichlet(np.full(3, 0.2), 500)
    *groups, numbers = topic_plots.document_map(proportions, [f"d{i}" for i in range(500)], ["a", "b", "c"]).data
    assert sum(len(group.x) for group in groups) == 50
    assert [group.name for group in groups] == ["a", "b", "c"]
    assert list(numbers.text) == ["0", "1", "2"]
    for group, x in zip(groups, numbers.x, strict=True):
        assert x == np.median(group.x)
    traces = latent_plots.latent_map(np.zeros((5000, 2)), np.zeros(5000, int), ["s"] * 5000, ["a"]).data
    assert sum(len(trace.x) for trace in traces) == latent_plots.MAX_POINTS


def test_prevalence_plots_show_means_of_their_documents() -> None:
    proportions = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.2, 0.8]])
    names = ["0 war", "1 food"]
    lines = topic_plots.topics_over_time(proportions, ["2001-02-03", "1999", "2001", "around 1999"], names).data
    by_name = {line.name: (list(line.x), list(line.y)) for line in lines}
    assert by_name == {"0 war": ([1999, 2001], [0.5, 0.5]), "1 food": ([1999, 2001], [0.5, 0.5])}
    cells = topic_plots.topics_by_label(proportions, ["b", "a", "b", None], names).data[0]
    assert (list(cells.x), np.array(cells.z).tolist()) == (["a", "b"], [[0.5, 0.5], [0.5, 0.5]])
    assert topic_plots.topics_over_time(proportions, ["1999", "1999", None, "soon"], names) is None
    assert topic_plots.topics_by_label(proportions, ["a", "a", None, None], names) is None


def test_training_rate_distortion_is_of_the_last_phase() -> None:
    early = {"kind": "valid", "step": 1, "nll/words": 300.0, "kl/g": 5.0}
    late = [{"kind": "valid", "step": s, "nll/tokens": 90.0 + s, "kl/c": 1.0, "kl/z": 0.5 * s} for s in (2, 4)]
    (line,) = training_plots.training_rate_distortion([early, *late]).data
    assert (list(line.x), list(line.y)) == ([2.0, 3.0], [92.0, 94.0])
    assert training_plots.training_rate_distortion([early, late[0]]) is None, "one validation is no curve"
    without_kl = [{"kind": "valid", "step": s, "nll/tokens": 9.0} for s in (1, 2)]
    assert training_plots.training_rate_distortion(without_kl) is None


def test_lines_of_equal_elbo_pass_through_the_best_and_the_worst_model() -> None:
    *lines, points = training_plots.rate_distortion((9.0, 2.0), (4.0, 6.0), ("a", "b"), ("0.1", "1"), lines=5).data
    sums = [{round(x + y, 9) for x, y in zip(line.x, line.y, strict=True)} for line in lines]
    assert sums == [{total} for total in (8, 9.25, 10.5, 11.75, 13)]
    assert (list(points.x), list(points.y), list(points.text)) == ([9, 2], [4, 6], ["0.1", "1"])
    best, _ = training_plots.rate_distortion((9.0, 2.0), (4.0, 6.0), ("a", "b"), ("a", "b"), lines=1).data
    assert best.name == "-ELBO = 8.0 nats"
    one = training_plots.rate_distortion((2.0,), (3.0,), ("a",), ("a",), lines=5)
    assert one.layout.yaxis.range == (2, 4), "a single point has room"


def test_a_resumed_run_shows_every_step_once() -> None:
    rows = [{"kind": "train", "step": s, "nll/tokens": v} for s, v in ((1, 9.0), (2, 8.0), (2, 7.0))]
    train = training_plots.training_terms(rows).data[0]
    assert (list(train.x), list(train.y)) == ([1, 2], [9.0, 7.0])


def test_curves_have_baselines() -> None:
    figure = training_plots.curves({"a": {1: 2.0, 2: 1.0}, "b": {1: 3.0}}, "epoch", "KL", {"exact": 0.5})
    assert [(trace.name, trace.x, trace.y) for trace in figure.data] == [("a", (1, 2), (2.0, 1.0)), ("b", (1,), (3.0,))]
    assert (figure.layout.shapes[0].y0, figure.layout.annotations[0].text) == (0.5, "exact")


def test_length_histogram_shows_shares() -> None:
    real, generated = text_plots.length_histogram([1, 2, 2, 2], [3]).data
    assert list(real.y) == [0, 0.25, 0.75]
    assert list(generated.y) == [0, 0, 0, 1]


def test_groups_differ_without_colour() -> None:
    assert len({(m["color"], m["symbol"]) for m in map(plot_style.marker, range(56))}) == 56
    lines = text_plots.bleu_curves({f"kind {i}": {2: 0.1} for i in range(4)}).data
    assert len({line.line.dash for line in lines}) == len({line.marker.symbol for line in lines}) == 4


def test_images_are_tiled_between_gray_lines() -> None:
    images = np.random.default_rng(0).uniform(-0.5, 1.5, (2, 3, 4, 5))
    images[0, 1, 2, 3] = np.nan
    found = latent_plots.tile_images(images)
    assert found.dtype == np.uint8
    assert found.shape == (2 * 5 + 1, 3 * 6 + 1)
    inside = np.zeros(found.shape, bool)
    for row, column, y, x in np.ndindex(images.shape):
        place = row * 5 + 1 + y, column * 6 + 1 + x
        inside[place], value = True, images[row, column, y, x]
        assert found[place] == (latent_plots.GRAY if np.isnan(value) else round(255 * min(max(value, 0), 1)))
    assert (found[~inside] == latent_plots.GRAY).all()
    assert latent_plots.tile_images(np.array([[[[2.0, 4.0]]]]), 2, 4)[1, 1:3].tolist() == [0, 255]


def test_image_grids_leave_room_for_their_titles() -> None:
    grids = [
        latent_plots.ImageGrid("<b>one</b>", np.zeros((2, 3, 4, 4))),
        latent_plots.ImageGrid("", np.ones((1, 5, 4, 4))),
    ]
    figure = latent_plots.image_grids(grids)
    first, second = figure.data
    (title,) = figure.layout.annotations
    assert title.text == "&lt;b&gt;one&lt;/b&gt;"
    assert first.y0 - 0.5 == title.y > 0, "the title ends where its grid begins"
    assert second.y0 == first.y0 + 11, "no gap without a title"
    assert list(figure.layout.yaxis.range) == [second.y0 - 0.5 + 6, 0]
    assert list(figure.layout.xaxis.range) == [0, 26]
    assert figure.layout.yaxis.scaleanchor == "x"

"""Pictures of runs by name: what is drawn, what is left out and why; pages and PNG."""

from __future__ import annotations

import builtins
import json
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tests.conftest import CHROMIUM, made_up_documents, out_of, refused
from tests.test_page import EVIL, exhibits
from tgvae.cli.main import main
from tgvae.cli.plot import png
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.evaluation import gallery
from tgvae.evaluation.exhibits import Exhibits
from tgvae.evaluation.plots import DRAWN, NAMES, drawn, plots
from tgvae.evaluation.projections import FARTHEST, alike_together, neighbours_in_plane, topic_distances
from tgvae.evaluation.topic_pictures import MOST_BARS, document_map, topic_bars, topic_similarity
from tgvae.evaluation.topics import theta
from tgvae.models.sentence import SentenceConfig
from tgvae.models.tgvae import TGVAE, TGVAEConfig
from tgvae.models.topic import TopicConfig
from tgvae.recipes import Recipe
from tgvae.runs import start_run
from tgvae.training.config import Phase, TrainConfig


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 made-up documents of three labels and four years."""
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


def test_everything_is_drawn_of_a_run_that_has_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = out_of(capsys, "plot", run)
    files = sorted(path.name for path in (run / "plots").iterdir())
    assert files == sorted(f"{name}.html" for name in NAMES)
    assert all(str(run / "plots" / file) in said for file in files)
    assert "left out" not in said
    for file in files:
        page = (run / "plots" / file).read_text(encoding="utf-8")
        assert page.count("<figure ") == 1
        assert "plotly.js v" in page, "so that it needs no network"
        assert "default-src 'none'" in page


def test_what_is_asked_is_drawn_and_no_more(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(out_of(capsys, "plot", run, "--what", "map", "time", "--out", tmp_path / "new" / "a", "--json"))
    found = {name: str(tmp_path / "new" / "a" / f"{name}.html") for name in ("map", "time")}
    assert said == {"files": {name: [path] for name, path in found.items()}, "left_out": {}}
    assert sorted(map(str, (tmp_path / "new" / "a").iterdir())) == sorted(found.values())


def test_a_model_without_topics_has_other_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((60, 4, 4)), labels=np.arange(60) % 2)
    train = ["train", str(tmp_path / "x.npz"), "--recipe", "digits-vae", "--out", str(tmp_path / "run")]
    assert main([*train, "--train.phases.vectors.epochs=1", "--train.device=cpu"]) == 0
    said = json.loads(out_of(capsys, "plot", tmp_path / "run", "--json"))
    assert set(said["files"]) == {"latent", "training"}
    assert said["left_out"] == {name: DRAWN[name][1] for name in NAMES[:6]}
    assert said["left_out"]["map"] == "the model has no topics"


def test_training_needs_neither_data_nor_a_model(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    going = tmp_path / "run"
    shutil.copytree(run, going, ignore=shutil.ignore_patterns("*.safetensors", "plots"))
    told = json.loads((going / "run.json").read_text(encoding="utf-8"))
    told["data"]["path"] = str(tmp_path / "gone")
    (going / "run.json").write_text(json.dumps(told), encoding="utf-8")
    out_of(capsys, "plot", going, "--what", "training")
    assert [path.name for path in (going / "plots").iterdir()] == ["training.html"]
    assert "no trained model" in refused(capsys, "plot", going)
    assert "not a run folder" in refused(capsys, "plot", tmp_path, "--what", "training")
    (going / "metrics.jsonl").unlink()
    assert DRAWN["training"][1] in out_of(capsys, "plot", going, "--what", "training")


def test_data_that_moved_is_asked_for(
    run: Path, dated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run")
    told = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    told["data"]["path"] = str(tmp_path / "gone")
    (tmp_path / "run" / "run.json").write_text(json.dumps(told), encoding="utf-8")
    assert str(tmp_path / "gone") in refused(capsys, "plot", tmp_path / "run")
    out_of(capsys, "plot", tmp_path / "run", "--data", dated, "--what", "labels")


@pytest.mark.parametrize("option", ["--what", "--format"])
def test_nothing_asked_is_a_mistake(run: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "at least one name" in refused(capsys, "plot", run, option)


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


def test_png_without_a_browser_says_so(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = pytest.importorskip("kaleido.errors")

    def none_here(*_: Any, **__: Any) -> bytes:
        raise errors.ChromeNotFoundError("none")

    monkeypatch.setattr("kaleido.calc_fig_sync", none_here)
    said = refused(capsys, "plot", run, "--what", "training", "--format", "png", "--out", tmp_path)
    assert "Chrome" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chrome or Chromium browser")
def test_a_png_shows_ink_on_white() -> None:
    pytest.importorskip("kaleido")
    image = pytest.importorskip("PIL.Image")
    from io import BytesIO

    figure = drawn(exhibits(), ["map"])["map"].figure
    assert figure is not None
    pixels = np.asarray(image.open(BytesIO(png(figure))).convert("RGB"))
    assert pixels.shape == (2 * figure.layout.height, 2000, 3)
    assert (pixels[0, 0] == 255).all()
    assert 0.005 < (pixels < 250).any(axis=2).mean() < 0.5
    assert figure.layout.paper_bgcolor != "white", "and the figure itself is as it was"


def test_plots_are_those_of_the_model(run: Path, dated: Path) -> None:
    """From Python: figures by name, in the order asked for, with the numbers that the model has."""
    model, folder = TGVAE.from_pretrained(run), PreparedFolder.open(dated)
    train, test = Corpus(folder, "train"), Corpus(folder, "test")
    found = plots(model, train, test, ["labels", "documents", "latent", "labels"], run)
    assert list(found) == ["labels", "documents", "latent"]
    proportions, labels = theta(model, train), np.array(train.table["label"].to_pylist())
    expected = [proportions[labels == name].mean(0) for name in ("food", "space", "war")]
    np.testing.assert_allclose(found["labels"].figure.data[0].z, np.array(expected).T, rtol=1e-6)
    marks = [trace for trace in found["documents"].figure.data if trace.mode == "markers"]
    assert sum(len(trace.x) for trace in marks) == train.documents
    first = train.table["sentences"].to_pylist()[0][0][:20]
    assert any(first in unescape(text).replace("<br>", " ") for trace in marks for text in trace.hovertext)
    assert sum(len(t.x) for t in found["latent"].figure.data) == len(test.texts)


def test_bars_are_the_words_with_their_probabilities() -> None:
    rows = exhibits(*EVIL)
    figure = gallery.bars(rows)[1]
    assert figure is not None
    assert [bars.x for bars in figure.data] == [tuple(topic.probabilities) for topic in rows.topics or ()]
    assert "&lt;script&gt;" in figure.layout.yaxis.ticktext[0]
    many = topic_bars([f"topic {i}" for i in range(99)], [["w"]] * 99, [[0.5]] * 99)
    assert len(many.data) == MOST_BARS
    assert gallery.bars(Exhibits("nothing"))[1] is None


def test_similarity_is_one_less_the_distance() -> None:
    beta = np.array([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0.4, 0.6, 0, 0]])
    cells = topic_similarity(topic_distances(beta), ["a", "b", "c"]).data[0]
    place = {name: i for i, name in enumerate(cells.y)}
    assert abs(place["a"] - place["c"]) == 1, "like topics stand beside each other"
    between = topic_distances(beta)[0, 2] / FARTHEST
    assert cells.z[place["a"]][place["c"]] == pytest.approx(1 - between)
    assert cells.z[place["a"]][place["b"]] == pytest.approx(0)
    assert np.isnan(np.diag(cells.z)).all()


@pytest.mark.parametrize("topics", [1, 2])
def test_one_topic_or_two_are_drawn_too(topics: int) -> None:
    beta = np.random.default_rng(0).dirichlet(np.ones(5), topics)
    rows = [replace(row, number=i) for i, row in enumerate((exhibits().topics or ())[:topics])]
    shares = np.random.default_rng(1).dirichlet(np.ones(topics), 9)
    found = Exhibits("few", topics=rows, topic_distances=topic_distances(beta), theta=shares, document_text=["d"] * 9)
    assert all(plot.figure is not None for plot in drawn(found, ["topics", "map", "similarity", "documents"]).values())


def test_the_order_of_topics_is_the_best_of_all_for_points_on_a_line() -> None:
    points = np.array([5.0, 0, 9, 1, 6, 10])
    order = points[alike_together(np.abs(points[:, None] - points))]
    assert list(order) in ([0, 1, 5, 6, 9, 10], [10, 9, 6, 5, 1, 0])
    assert [alike_together(np.zeros((n, n))).tolist() for n in range(3)] == [[], [0], [0, 1]]


def test_neighbours_stay_neighbours_in_the_plane() -> None:
    """Of well-parted groups the nearest point is of the same group; and the same points give the same plane."""
    rng = np.random.default_rng(0)
    group = np.arange(90) % 3
    points = 10 * np.eye(3)[group] + rng.normal(size=(90, 3))
    found = neighbours_in_plane(points)
    apart = np.linalg.norm(found[:, None] - found, axis=2) + 1e9 * np.eye(90)
    assert (group[apart.argmin(1)] == group).mean() > 0.95
    np.testing.assert_array_equal(neighbours_in_plane(points), found)


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.ones((1, 3)), np.eye(4), np.ones((40, 3)), np.eye(5)])
def test_few_or_like_documents_have_places_too(points: np.ndarray) -> None:
    found = neighbours_in_plane(points) if len(points) else np.zeros((0, 2))
    assert found.shape == (len(points), 2)
    assert np.isfinite(found).all()


def test_a_map_of_many_documents_shows_a_sample_with_numbers_of_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgvae.evaluation.topic_pictures.MOST_MAPPED", 50)
    proportions = np.random.default_rng(0).dirichlet(np.full(3, 0.2), 500)
    *groups, numbers = document_map(proportions, [f"d{i}" for i in range(500)], ["a", "b", "c"]).data
    assert sum(len(group.x) for group in groups) == 50
    assert [group.name for group in groups] == ["a", "b", "c"]
    assert list(numbers.text) == ["0", "1", "2"]
    for group, x in zip(groups, numbers.x, strict=True):
        assert x == np.median(group.x)

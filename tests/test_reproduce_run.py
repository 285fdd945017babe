"""`tgvae reproduce`: a run made anew is the same, and what differs is named; a folder changed by hand is noticed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import data_prep.pipeline
from data_prep.pipeline import prepare
from tests.conftest import refused
from tests.test_data_prep_faults import SETTINGS
from tgvae.cli.main import main
from tgvae.cli.reproduce import SENTENCES, compare_sentences, sample_texts
from tgvae.data.schema import MANIFEST, PreparedFolder
from tgvae.models.sentence import SentenceConfig
from tgvae.recipes import Recipe
from tgvae.runs import RUN, load_run, open_data, start_run
from tgvae.training.checkpoint import CHECKPOINT
from tgvae.training.config import Phase, TrainConfig

SIZES = SentenceConfig(embedding_size=12, hidden_size=10, latent_size=4, flow_length=2, dropout=0.1)
CONFIG = TrainConfig({"sentences": Phase("sentence", 2, 1e-2, batch=600)}, device="cpu")
Out = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def made(prepared: PreparedFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with a copy of a prepared folder, a run on it, and the same run made anew by hand."""
    place = tmp_path_factory.mktemp("made")
    shutil.copytree(prepared.path, place / "data")
    start_run(Recipe("language-model", SIZES, CONFIG), place / "data", place / "run", quiet=True)
    start_run(Recipe("language-model", SIZES, CONFIG), place / "data", place / "run.again" / "run", quiet=True)
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy to play with; its run is of the data where that was made."""
    return shutil.copytree(made, tmp_path / "place")


@pytest.fixture
def reproduce(capsys: pytest.CaptureFixture[str]) -> Out:
    """Exit status and output of the command."""

    def run(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        try:
            status = main(["reproduce", "--workers", "1", *map(str, arguments)])
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return run


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_run_is_made_anew_and_is_the_same(made: Path, tmp_path: Path, reproduce: Out) -> None:
    status, told = reproduce(made / "run", "--out", tmp_path / "anew")
    assert status == 0
    assert "verdict: reproduced" in told
    assert "environment differs" not in told
    assert f"{SENTENCES} of {SENTENCES}" in told
    assert told.count("equal") == 3
    for name in ("model.safetensors", "last.safetensors", "config.json"):
        assert (tmp_path / "anew" / "run" / name).read_bytes() == (made / "run" / name).read_bytes()


def test_other_weights_are_noticed_and_measured(place: Path, reproduce: Out) -> None:
    weights = place / "run" / "model.safetensors"
    values = load_file(weights)
    name = max(values, key=lambda name: values[name].numel())
    values[name].view(-1)[3] += 0.5
    save_file(values, weights)
    status, told = reproduce(place / "run")
    assert status == 1
    assert f"weights   DIFFERENT largest difference 0.5, in {name}" in told
    assert "not reproduced in the same environment" in told


def test_other_versions_are_told_as_the_likely_reason(place: Path, reproduce: Out) -> None:
    described = json.loads((place / "run" / RUN).read_text())
    change(
        place / "run" / RUN,
        versions=described["versions"] | {"torch": "1.0"},
        machine=described["machine"] | {"cpu": "abacus"},
    )
    weights = place / "run" / "model.safetensors"
    save_file({name: value + 1 for name, value in load_file(weights).items()}, weights)
    status, told = reproduce(place / "run")
    assert status == 1
    assert "torch: was 1.0, now 2." in told
    assert "cpu: was abacus, now " in told
    assert "not reproduced; the environment differs" in told


def test_data_that_comes_out_otherwise_is_noticed(place: Path, reproduce: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_prep.pipeline, "CHUNK_DOCUMENTS", 50)  # as another version might
    status, told = reproduce(place / "run")
    assert status == 1
    assert "data      DIFFERENT " in told
    assert "train.arrow" in told


def test_a_corpus_that_is_another_now_is_not_prepared(place: Path, tmp_path: Path, reproduce: Out) -> None:
    (tmp_path / "documents.jsonl").write_text('{"text": "Another corpus."}\n')
    status, told = reproduce(place / "run", "--source", tmp_path / "documents.jsonl")
    assert status == 0
    assert "data      -         not prepared: the corpus has changed (input_sha256: " in told


@pytest.mark.parametrize("lost", ["corpus", "origin.json"])
def test_a_corpus_that_is_gone_is_told(lost: str, place: Path, reproduce: Out) -> None:
    origin = place / "data" / "origin.json"
    change(origin, source=["/nowhere/documents.jsonl"])
    if lost == "origin.json":
        origin.unlink()
    status, told = reproduce(place / "run", "--data", place / "data")
    assert status == 0
    assert ("documents.jsonl: no such file" if lost == "corpus" else "origin.json: does not say") in told


def test_data_and_corpus_may_have_moved(place: Path, tmp_path: Path, reproduce: Out) -> None:
    corpus = Path(json.loads((place / "data" / "origin.json").read_text())["source"][0])
    shutil.copy(corpus, tmp_path / corpus.name)
    described = json.loads((place / "run" / RUN).read_text())
    change(place / "run" / RUN, data=described["data"] | {"path": "/nowhere"})
    status, told = reproduce(place / "run")
    assert (status, "/nowhere: no such folder" in told) == (2, True)
    status, told = reproduce(place / "run", "--data", place / "data", "--source", tmp_path / corpus.name)
    assert status == 0
    assert f"prepared from {tmp_path / corpus.name}" in told


def test_a_run_that_has_not_ended_is_refused(prepared: PreparedFolder, place: Path, reproduce: Out) -> None:
    longer = TrainConfig({"sentences": Phase("sentence", 9, 1e-2, batch=600)}, device="cpu")
    saved = json.loads((place / "run" / RUN).read_text())
    saved["recipe"]["train"]["phases"]["sentences"]["epochs"] = longer.phases["sentences"].epochs
    change(place / "run" / RUN, **saved)
    status, told = reproduce(place / "run")
    assert status == 2
    assert "is not finished; finish it with `tgvae train --resume" in told
    (place / "run" / CHECKPOINT).unlink()  # nothing is known: other settings than those of the run made by hand
    status, told = reproduce(place / "run")
    assert (status, "other settings" in told) == (2, True)


@pytest.mark.parametrize("out", ["run", "."])
def test_a_run_is_not_compared_with_itself(out: str, place: Path, reproduce: Out) -> None:
    status, told = reproduce(place / "run", "--out", place / out)
    assert status == 2
    assert "choose another --out" in told


def test_summaries_are_compared_too(summarizer_run: Path) -> None:
    model, data = load_run(summarizer_run), open_data(summarizer_run)
    assert len(sample_texts(model, data)) == SENTENCES
    comparison = compare_sentences(model, load_run(summarizer_run), data)
    assert comparison.equal is True


def test_what_does_not_write_is_not_compared_by_its_sentences(tmp_path: Path, reproduce: Out) -> None:
    path = tmp_path / "ring.tsv"
    path.write_text("".join(f"n{i}\tn{(i + step) % 30}\n" for i in range(30) for step in (1, 7)))
    assert main(["train", str(path), "--recipe", "graph-vae", "--out", str(tmp_path / "run"), *SHORT]) == 0
    status, told = reproduce(tmp_path / "run")
    assert status == 0
    assert "sentences -         a graph-vae generates none" in told


SHORT = ["--train.phases.edges.epochs", "3", "--train.device", "cpu"]


@pytest.mark.parametrize("command", ["train", "evaluate", "inspect", "reproduce"])
@pytest.mark.parametrize("name", ["train.arrow", "topic_words.txt", "sentence.model", "skipped.jsonl"])
def test_a_file_changed_by_hand_is_named(
    command: str, name: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(made / "data", tmp_path / "data")
    content = bytearray((data / name).read_bytes() or b" ")
    content[len(content) // 2] ^= 1
    (data / name).write_bytes(content)
    arguments = {
        "train": [data, "--out", tmp_path / "new"],
        "evaluate": [made / "run", "--data", data],
        "inspect": [data],
        "reproduce": [made / "run", "--data", data],
    }
    told = refused(capsys, command, *arguments[command])
    assert f"{data / name}: changed since" in told
    assert not (tmp_path / "new").exists()


def test_a_manifest_changed_by_hand_is_not_that_of_the_run(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(made / "data", tmp_path / "data")
    change(data / MANIFEST, skipped={})
    assert "not the data that" in refused(capsys, "evaluate", made / "run", "--data", data)


def test_the_place_of_the_corpus_is_not_part_of_what_it_became(made: Path, tmp_path: Path) -> None:
    corpus = Path(json.loads((made / "data" / "origin.json").read_text())["source"][0])
    shutil.copy(corpus, tmp_path / corpus.name)
    moved = prepare(tmp_path / corpus.name, tmp_path / "moved", SETTINGS, workers=1)
    assert (moved / MANIFEST).read_bytes() == (made / "data" / MANIFEST).read_bytes()

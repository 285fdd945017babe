"""`tgvae reproduce`: repeated runs are equal, differences are named, and modified folders are detected."""

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
    """A folder with prepared data, a run, and the same run trained a second time."""
    place = tmp_path_factory.mktemp("made")
    shutil.copytree(prepared.path, place / "data")
    start_run(Recipe("language-model", SIZES, CONFIG), place / "data", place / "run", quiet=True)
    start_run(Recipe("language-model", SIZES, CONFIG), place / "data", place / "run.again" / "run", quiet=True)
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy that may be modified."""
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


def test_a_run_is_reproduced(made: Path, tmp_path: Path, reproduce: Out) -> None:
    status, message = reproduce(made / "run", "--out", tmp_path / "anew")
    assert status == 0
    assert "verdict: reproduced" in message
    assert "environment differs" not in message
    assert f"{SENTENCES} of {SENTENCES}" in message
    assert message.count("equal") == 3
    for name in ("model.safetensors", "last.safetensors", "config.json"):
        assert (tmp_path / "anew" / "run" / name).read_bytes() == (made / "run" / name).read_bytes()


def test_different_weights_are_measured(place: Path, reproduce: Out) -> None:
    weights = place / "run" / "model.safetensors"
    values = load_file(weights)
    name = max(values, key=lambda name: values[name].numel())
    values[name].view(-1)[3] += 0.5
    save_file(values, weights)
    status, message = reproduce(place / "run")
    assert status == 1
    assert f"weights   DIFFERENT largest difference 0.5, in {name}" in message
    assert "not reproduced in the same environment" in message


def test_other_versions_are_named(place: Path, reproduce: Out) -> None:
    described = json.loads((place / "run" / RUN).read_text())
    change(
        place / "run" / RUN,
        versions=described["versions"] | {"torch": "1.0"},
        machine=described["machine"] | {"cpu": "abacus"},
    )
    weights = place / "run" / "model.safetensors"
    save_file({name: value + 1 for name, value in load_file(weights).items()}, weights)
    status, message = reproduce(place / "run")
    assert status == 1
    assert "torch: was 1.0, now 2." in message
    assert "cpu: was abacus, now " in message
    assert "not reproduced; the environment differs" in message


def test_different_data_is_detected(place: Path, reproduce: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_prep.pipeline, "CHUNK_DOCUMENTS", 50)  # as another version might
    status, message = reproduce(place / "run")
    assert status == 1
    assert "data      DIFFERENT " in message
    assert "train.arrow" in message


def test_a_changed_corpus_is_not_prepared(place: Path, tmp_path: Path, reproduce: Out) -> None:
    (tmp_path / "documents.jsonl").write_text('{"text": "Another corpus."}\n')
    status, message = reproduce(place / "run", "--source", tmp_path / "documents.jsonl")
    assert status == 0
    assert "data      -         not prepared: the corpus has changed (input_sha256: " in message


@pytest.mark.parametrize("lost", ["corpus", "origin.json"])
def test_a_missing_corpus_is_reported(lost: str, place: Path, reproduce: Out) -> None:
    origin = place / "data" / "origin.json"
    change(origin, source=["/nowhere/documents.jsonl"])
    if lost == "origin.json":
        origin.unlink()
    status, message = reproduce(place / "run", "--data", place / "data")
    assert status == 0
    assert ("documents.jsonl: no such file" if lost == "corpus" else "origin.json: does not say") in message


def test_data_and_corpus_may_have_moved(place: Path, tmp_path: Path, reproduce: Out) -> None:
    corpus = Path(json.loads((place / "data" / "origin.json").read_text())["source"][0])
    shutil.copy(corpus, tmp_path / corpus.name)
    described = json.loads((place / "run" / RUN).read_text())
    change(place / "run" / RUN, data=described["data"] | {"path": "/nowhere"})
    status, message = reproduce(place / "run")
    assert (status, "/nowhere: no such folder" in message) == (2, True)
    status, message = reproduce(place / "run", "--data", place / "data", "--source", tmp_path / corpus.name)
    assert status == 0
    assert f"prepared from {tmp_path / corpus.name}" in message


def test_an_unfinished_run_is_rejected(prepared: PreparedFolder, place: Path, reproduce: Out) -> None:
    longer = TrainConfig({"sentences": Phase("sentence", 9, 1e-2, batch=600)}, device="cpu")
    saved = json.loads((place / "run" / RUN).read_text())
    saved["recipe"]["train"]["phases"]["sentences"]["epochs"] = longer.phases["sentences"].epochs
    change(place / "run" / RUN, **saved)
    status, message = reproduce(place / "run")
    assert status == 2
    assert "is not finished; finish it with `tgvae train --resume" in message
    (place / "run" / CHECKPOINT).unlink()  # nothing is known: other settings than those of the run made by hand
    status, message = reproduce(place / "run")
    assert (status, "other settings" in message) == (2, True)


@pytest.mark.parametrize("out", ["run", "."])
def test_a_run_is_not_compared_with_itself(out: str, place: Path, reproduce: Out) -> None:
    status, message = reproduce(place / "run", "--out", place / out)
    assert status == 2
    assert "choose another --out" in message


def test_summaries_are_compared_too(summarizer_run: Path) -> None:
    model, data = load_run(summarizer_run), open_data(summarizer_run)
    assert len(sample_texts(model, data)) == SENTENCES
    comparison = compare_sentences(model, load_run(summarizer_run), data)
    assert comparison.equal is True


def test_models_that_generate_no_text(tmp_path: Path, reproduce: Out) -> None:
    path = tmp_path / "ring.tsv"
    path.write_text("".join(f"n{i}\tn{(i + step) % 30}\n" for i in range(30) for step in (1, 7)))
    assert main(["train", str(path), "--recipe", "graph-vae", "--out", str(tmp_path / "run"), *SHORT]) == 0
    status, message = reproduce(tmp_path / "run")
    assert status == 0
    assert "sentences -         a graph-vae generates none" in message


SHORT = ["--train.phases.edges.epochs", "3", "--train.device", "cpu"]


@pytest.mark.parametrize("command", ["train", "evaluate", "inspect", "reproduce"])
@pytest.mark.parametrize("name", ["train.arrow", "topic_words.txt", "sentence.model", "skipped.jsonl"])
def test_a_modified_file_is_named(
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
    message = refused(capsys, command, *arguments[command])
    assert f"{data / name}: changed since" in message
    assert not (tmp_path / "new").exists()


def test_a_modified_manifest_is_detected(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = shutil.copytree(made / "data", tmp_path / "data")
    change(data / MANIFEST, skipped={})
    assert "not the data that" in refused(capsys, "evaluate", made / "run", "--data", data)


def test_the_manifest_does_not_depend_on_the_path_of_the_corpus(made: Path, tmp_path: Path) -> None:
    corpus = Path(json.loads((made / "data" / "origin.json").read_text())["source"][0])
    shutil.copy(corpus, tmp_path / corpus.name)
    moved = prepare(tmp_path / corpus.name, tmp_path / "moved", SETTINGS, workers=1)
    assert (moved / MANIFEST).read_bytes() == (made / "data" / MANIFEST).read_bytes()

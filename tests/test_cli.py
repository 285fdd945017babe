"""The commands as a user gives them, on the made-up corpus, from files to sentences."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import made_up_documents
from tgvae.cli import COMMANDS, main

SMALL = [
    "--model.topic.topics=3",
    "--model.topic.hidden-size=16",
    "--model.sentence.embedding-size=16",
    "--model.sentence.hidden-size=16",
    "--model.sentence.latent-size=4",
    "--train.phases.topics.epochs=4",
    "--train.phases.sentences.epochs=2",
    "--train.phases.sentences.batch=600",
    "--train.device=cpu",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with documents, a prepared corpus, and runs of three recipes."""
    place = tmp_path_factory.mktemp("cli")
    source = place / "documents.jsonl"
    source.write_text("".join(json.dumps(d) + "\n" for d in made_up_documents(200)), encoding="utf-8")
    prepare = ["prepare", str(source), "--out", str(place / "data"), "--vocabulary-size", "400", "--workers", "1"]
    assert main([*prepare, "--min-document-words", "3", "--splits", "0.8", "0.1", "0.1"]) == 0
    train = ["train", str(place / "data"), "--out"]
    assert main([*train, str(place / "run"), *SMALL]) == 0
    sizes = [a.replace("model.sentence", "model") for a in SMALL if "topic" not in a]
    assert main([*train, str(place / "lm"), "--recipe", "language-model", *sizes]) == 0
    assert main([*train, str(place / "vae"), "--recipe", "sentence-vae", *sizes]) == 0
    return place


def out_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 0
    return capsys.readouterr().out


def test_inspect(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(out_of(capsys, "inspect", place / "data", "--json"))
    assert sum(found["counts"]["documents"].values()) == 200
    assert set(found["labels"]) == {"war", "food", "space"}
    assert "documents" in out_of(capsys, "inspect", place / "data")


def test_topics(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(out_of(capsys, "topics", place / "run", "--json"))
    assert sorted(t["topic"] for t in found["topics"]) == [0, 1, 2]
    assert abs(sum(t["share"] for t in found["topics"]) - 1) < 1e-5
    assert all(len(t["sentences"]) == 1 and len(t["words"]) == 10 for t in found["topics"])
    assert "NPMI" in out_of(capsys, "topics", place / "run")


def test_generate_in_every_way(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    like = place / "like.txt"
    like.write_text("The army saw a battle.", encoding="utf-8")
    ways: list[list[str | Path]] = [
        [],
        ["--topic", "1"],
        ["--topic", "army", "soldier", "--strength", "1.5"],
        ["--mixture", "0=0.5", "2=2"],
        ["--like", like],
        ["--between", "The army was near.", "No bread."],
        ["--topic", "0", "--decode.strategy", "beam", "--decode.max-length", "12"],
    ]
    for way in ways:
        rows = out_of(capsys, "generate", place / "run", "--num", "3", "--json", *way).splitlines()
        assert len(rows) == 3
        assert all({"text", "log_prob", "finished"} == set(json.loads(row)) for row in rows)
    again = out_of(capsys, "generate", place / "run", "--topic", "1", "--seed", "4")
    assert again == out_of(capsys, "generate", place / "run", "--topic", "1", "--seed", "4")
    assert again != out_of(capsys, "generate", place / "run", "--topic", "1", "--seed", "5")
    assert out_of(capsys, "generate", place / "run", "--reconstruct", "The army was near.").count("\n") == 1


def test_evaluate_side_by_side(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [place / name for name in ("run", "vae", "lm")]
    options = ["--samples", "3", "--per-topic", "4", "--lda", "--json"]
    report = json.loads(out_of(capsys, "evaluate", *runs, *options))
    joint, vae, lm = (report["runs"][str(run)] for run in runs)
    for figures in (joint, vae):
        assert figures["nll, IW 3"]["value"] < figures["-ELBO"]["value"] + 0.5
        assert figures["-ELBO"]["value"] == pytest.approx(
            sum(f["value"] for name, f in figures.items() if name.startswith(("nll/", "kl/")))
        )
    assert "kl/z" not in lm
    assert {"topic NPMI", "topic NPMI: LDA", "fidelity: natural", "fluency, strength 1.5"} <= set(joint)
    assert joint["fidelity by classifier, strength 1"]["value"] <= 1
    assert "perplexity" in out_of(capsys, "evaluate", place / "lm")


def test_benchmark_script(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    script = Path(__file__).parent.parent / "scripts" / "benchmark.py"
    monkeypatch.setattr(
        sys, "argv", [str(script), str(place / "run"), "--threads", "1", "--steps", "3", "--batches", "8"]
    )
    capsys.readouterr()
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    measured = json.loads(capsys.readouterr().out)
    assert measured["training tokens/s"] > 0
    assert set(measured["sentences/s"]) == {"sample, batch 8", "greedy, batch 8", "beam 5, batch 8"}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "did you mean 'train'"),
        (["train", "data", "--out", "x", "--recipe", "tgvea"], "did you mean 'tgvae'"),
        (["train", "nowhere", "--out", "x"], "no such folder"),
        (["train", "data", "--out", "run"], "exists already"),
        (["train", "--resume", "data"], "not a run folder"),
        (["generate", "nowhere"], "no trained model"),
        (["generate", "vae", "--topic", "1"], "cannot be steered"),
        (["generate", "run", "--topic", "99"], "no topic 99"),
        (["generate", "run", "--topic", "qwertz"], "topic vocabulary"),
        (["generate", "run", "--mixture", "1:2"], "TOPIC=WEIGHT"),
        (["generate", "run", "--like", "missing.txt"], "missing.txt"),
        (["generate", "run", "--topic", "1", "--mixture", "1=2"], "give one of"),
        (["topics", "lm"], "has no topics"),
        (["evaluate"], "at least one"),
        (["inspect", "run"], "manifest.json"),
        (["prepare", "missing.txt", "--out", "x"], "missing.txt"),
    ],
)
def test_mistakes_are_told_with_a_remedy(
    arguments: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    assert message in refused(capsys, *arguments)
    assert not (place / "x").exists()


def test_settings_out_of_range_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["generate", str(place / "run"), "--decode.temperature", "0"])
    assert stop.value.code == 2
    assert "temperature is 0.0" in " ".join(capsys.readouterr().err.split())


def test_debug_shows_the_traceback(place: Path) -> None:
    with pytest.raises(ValueError, match="did you mean"):
        main(["trian", "--debug"])


def test_help_is_quick_and_complete() -> None:
    code = "import sys; from tgvae.cli import main; main(['--help']); assert 'torch' not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert f"tgvae {name}" in capsys.readouterr().out

"""The scripts of single stages: each runs its command of `tgvae`."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from tests.conftest import made_up_documents
from tgvae.data.schema import PreparedFolder

SCRIPTS = Path(__file__).parent.parent / "scripts"
QUICK = ("--samples", 1, "--weighted-sentences", 1, "--generated", 4, "--per-topic", 1, "--reverse", 0)


def script(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    """Run a script as `python scripts/NAME.py ARGUMENTS` does; it must succeed."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
    assert end.value.code == 0


def test_prepare_and_train(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = (json.dumps(document) + "\n" for document in made_up_documents(60))
    (tmp_path / "documents.jsonl").write_text("".join(rows), encoding="utf-8")
    data, run = tmp_path / "data", tmp_path / "run"
    script(monkeypatch, "prepare", tmp_path / "documents.jsonl", "--out", data, "--workers", 1)
    assert len(PreparedFolder.open(data).split("train")) > 40
    tiny = ("--recipe", "topic", "--model.topics", 2, "--train.phases.topics.epochs", 1, "--train.device", "cpu")
    script(monkeypatch, "train", data, "--out", run, *tiny)
    assert (run / "model.safetensors").is_file()


def test_generate_evaluate_and_summarize(
    monkeypatch: pytest.MonkeyPatch,
    guided_run: Path,
    summarizer_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script(monkeypatch, "generate", guided_run, "--topic", 1, "--num", 2, "--json")
    assert len(capsys.readouterr().out.splitlines()) == 2
    script(monkeypatch, "evaluate", guided_run, *QUICK)
    assert "perplexity" in capsys.readouterr().out
    (tmp_path / "text.txt").write_text("Yesterday Bado saw the army. No soldier was near the fleet.", encoding="utf-8")
    script(monkeypatch, "summarize", summarizer_run, tmp_path / "text.txt")
    assert capsys.readouterr().out.strip()

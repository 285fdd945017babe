"""Studies over seeds: both commands with tiny settings, and their means by hand."""

from __future__ import annotations

import math
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

from paper_tables import header, with_error
from scripts import studies


def test_mean_and_standard_error() -> None:
    """Of 1, 2 and 6 the mean is 3, the variance (4 + 1 + 9) / 2."""
    assert with_error([1, 2, 6]) == f"3.00 ± {math.sqrt(7 / 3):.2f}" == "3.00 ± 1.53"
    assert with_error([0.5, 0.5]) == "0.50 ± 0.00"
    assert with_error([2.346]) == "2.35"


def test_a_table_says_how_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["scripts/studies.py", "--seeds", "3"])
    command, nothing, used = header("Means over seeds").split("\n")
    assert (command, nothing) == ("`scripts/studies.py --seeds 3`", "")
    assert f"torch {version('torch')}, tgvae {version('tgvae')}. Means over seeds." in used


@pytest.fixture(autouse=True)
def _memory_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "keep_memory", lambda: None)  # it would last for all tests of this process


def test_links_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ring = "\n".join(f"{i}\t{(i + step) % 40}" for i in range(40) for step in (1, 2))
    (tmp_path / "ring.tsv").write_text(ring)
    studies.main(
        ["links", str(tmp_path / "ring.tsv"), "--out", str(tmp_path / "out"), "--seeds", "0", "1", "--epochs", "2"]
    )
    text = (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    rows = [line.split(" | ")[:2] for line in text.splitlines() if line.startswith("| ring")]
    assert [row[1] for row in rows] == ["graph-vae", "graph-autoencoder", "chance", "common neighbours"]
    assert text.count("50.00 ± 0.00") == 2


def test_denoising_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("none", "mask 0.3", "latent 0.3")
    monkeypatch.setattr(studies, "NOISES", {name: studies.NOISES[name] for name in names})
    tiny = ("--seeds", "0", "--epochs", "1", "--samples", "2", "--model.hidden-sizes", "4", "--model.latent-size", "2")
    studies.main(["denoising", "--out", str(tmp_path), "--data", "digits", *tiny])
    rows = [line.strip("| ").split(" | ") for line in (tmp_path / "digits.md").read_text().splitlines()[-3:]]
    assert [row[0] for row in rows] == list(names)
    assert (tmp_path / "digits" / "mask-0.3" / "0" / "model.safetensors").is_file()


def test_differences_to_no_noise_are_taken_seed_by_seed() -> None:
    """Validation is better read corrupted, so test differences are those of that reading: 8 - 10 and 9 - 10."""
    found = {"none": [(5.0, 10.0) * 2] * 2, "mask 0.3": [(6.0, 12.0, 4.0, 8.0), (6.0, 12.0, 4.0, 9.0)]}
    none, mask = studies.noise_table(found).rows
    assert none == ["none", "5.00 ± 0.00", "", "10.00 ± 0.00", "", ""]
    assert mask[-1] == "-1.50 ± 0.50"

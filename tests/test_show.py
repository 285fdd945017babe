"""`tgvae show`: pages, metrics, reuse of runs, and errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from tgvae.applications import APPLICATIONS
from tgvae.cli.main import main
from tgvae.cli.show import ApplicationName
from tgvae.models.base import WEIGHTS, load
from tgvae.training.loop import Trainer

QUICK = ("--epochs", "2")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 images of two classes, and a copy without labels next to it."""
    folder = tmp_path_factory.mktemp("vectors")
    labels = np.arange(120) % 2
    x = np.random.default_rng(0).uniform(0, 0.3, (120, 4, 4))
    x[labels == 1, :2] += 0.7
    np.savez(folder / "bars.npz", x=x, labels=np.array(["low", "high"])[labels])
    np.savez(folder / "bare.npz", x=x)
    return folder / "bars.npz"


@pytest.fixture(scope="module")
def out(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of `interpolation` and `manifold`."""
    folder = tmp_path_factory.mktemp("shown")
    for use in ("interpolation", "manifold"):
        assert main(["show", use, "--data", str(file), "--out", str(folder), *QUICK]) == 0
    return folder


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return the error message of a command that fails."""
    assert main(["show", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_every_application_is_an_option() -> None:
    assert set(get_args(ApplicationName)) == set(APPLICATIONS)


def test_page_is_self_contained_and_describes_the_runs(out: Path, file: Path) -> None:
    page = (out / "interpolation.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!#)', page[: page.index("<script>")] + page[page.rindex("</script>") :])
    for text in ("Interpolation, ", "Interpolation of images", "2 epochs, seed 0", "runs/digits-vae", str(file)):
        assert text in page
    assert sorted(run.name for run in (out / "runs").iterdir()) == ["digits-vae", "digits-vae-latent-2"]


def test_existing_runs_are_reused(out: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second application of the same model trains nothing, and repeating a command repeats its metrics."""
    weights = out / "runs" / "digits-vae" / WEIGHTS
    before, arguments = weights.stat().st_mtime_ns, ["--data", str(file), "--out", str(out), *QUICK, "--json"]
    assert main(["show", "clusters", *arguments]) == 0
    first = capsys.readouterr()
    assert "training" not in first.err
    assert weights.stat().st_mtime_ns == before
    found = json.loads(first.out)
    assert Path(found["page"]).is_file()
    assert found["sections"]["clusters and classes"]["accuracy"]["size"] == 108
    assert main(["show", "clusters", *arguments]) == 0
    assert capsys.readouterr().out == first.out


def test_runs_of_other_settings_or_data_are_refused(out: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("interpolation", "--out", out)
    for other in (["--epochs", 3], [*QUICK, "--seed", 1]):
        assert "choose another --out" in refused(capsys, *common, "--data", file, *other)
    assert "digits: not the data that" in refused(capsys, *common, "--data", "digits", *QUICK)


def test_interrupted_training_continues(file: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["show", "interpolation", "--data", str(file), "--out", str(tmp_path), *QUICK]
    save = Trainer._save

    def killed(self: Trainer, optimizer: object) -> None:
        save(self, optimizer)
        if self.progress.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save", killed)
        assert main(arguments) == 130
    assert not (tmp_path / "interpolation.html").exists()
    assert main(arguments) == 0
    resumed, whole = (load(folder / "runs" / "digits-vae").state_dict() for folder in (tmp_path, out))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole), "the same weights"


def test_anomalies_trains_without_one_class(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["show", "anomalies", "--out", str(tmp_path), *QUICK, "--data"]
    assert main([*common, str(file), "--label", "high"]) == 0
    assert main([*common, f"{file}:not=high"]) == 0, "the same run"
    assert "detection of class high" in capsys.readouterr().out.lower()
    assert [run.name for run in (tmp_path / "runs").iterdir()] == ["digits-vae-without-high"]
    assert "the classes are high, low" in refused(capsys, *common[1:], file, "--label", "8")


def test_a_given_run_is_used(out: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = out / "runs" / "digits-vae-latent-2", out / "runs" / "digits-vae"
    assert main(["show", "manifold", "--run", str(run), "--out", str(tmp_path)]) == 0
    errors = capsys.readouterr().err
    assert f"wrote: {tmp_path / 'manifold.html'}\n" in errors
    assert f"tgvae evaluate {run}\n" in errors
    assert not (tmp_path / "runs").exists(), "nothing is trained"
    assert "latent size of 2, not 10" in refused(capsys, "manifold", "--run", other, "--out", tmp_path)
    assert "leave out --run" in refused(capsys, "rate-distortion", "--run", run)
    assert "train it on" in refused(capsys, "anomalies", "--run", run)
    assert "not the data" in refused(capsys, "samples", "--run", run, "--data", "digits")


def test_errors_are_reported_before_training(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--data", file, "--out", tmp_path / "out")
    for use, options, message in (
        ("samples", ["--recipe", "tgvae"], "not a recipe of vectors; choose from digits-vae"),
        ("completion", ["--recipe", "digits-autoencoder"], "not a point one"),
        ("manifold", ["--recipe", "digits-discrete-vae"], "needs a normal latent"),
        ("samples", ["--epochs", "0"], "at least 1"),
        ("clusters", ["--data", file.with_name("bare.npz")], "needs labels"),
        ("samples", ["--data", "nowhere.npz"], "no such file"),
        ("samples", ["--run", tmp_path], "give a folder made by `tgvae train`"),
    ):
        assert message in refused(capsys, use, *common, *options)
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit) as stopped:
        main(["show", "dreams"])
    assert stopped.value.code == 2
    assert "rate-distortion" in capsys.readouterr().err


def test_training_options_are_refused_with_a_run(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in (["--epochs", 3], ["--label", "3"], ["--recipe", "digits-beta-vae"]):
        assert "are options of training" in refused(capsys, "clusters", "--run", out / "runs" / "digits-vae", *option)

"""What runs are trained on: named, found again, told apart, and refused before a folder is made."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tgvae.cli.main import main
from tgvae.data.corruption import Corruption
from tgvae.data.graphs import Graph
from tgvae.data.schema import PreparedFolder
from tgvae.data.vectors import Vectors, open_vectors
from tgvae.datasets import DATA_TYPES, fingerprint
from tgvae.errors import UserError
from tgvae.models.sentence import SentenceConfig
from tgvae.recipes import RECIPES, Recipe, denoising, in_phases
from tgvae.runs import build, load_run, open_data, resume_run, start_run
from tgvae.training.config import Phase

EDGES = [(i, j) for block in (0, 12) for i in range(block, block + 12) for j in range(i + 1, block + 12)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one, with vectors and a graph."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).uniform(0, 255, (80, 4, 4)) * (np.arange(80) % 2)[:, None, None]
    np.savez(tmp_path / "grey.npz", x=x, labels=np.arange(80) % 2)
    (tmp_path / "two.tsv").write_text("".join(f"n{i}\tn{j}\n" for i, j in EDGES), encoding="utf-8")
    return tmp_path


def short(recipe: Recipe, epochs: int = 2) -> Recipe:
    recipe = in_phases(recipe, lambda phase: replace(phase, epochs=epochs))
    return replace(recipe, train=replace(recipe.train, device="cpu"))


def normal() -> Recipe:
    recipe = short(RECIPES["digits-vae"]())
    return replace(recipe, model=replace(recipe.model, likelihood="normal", hidden_sizes=(8,)))


def test_runs_find_their_data_from_any_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_run(normal(), "grey.npz:not=1", place / "a", quiet=True)
    start_run(short(RECIPES["graph-vae"]()), "two.tsv", place / "b", quiet=True)
    start_run(short(RECIPES["digits-vae"]()), "digits", place / "digits", quiet=True)  # the name of a packaged set
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    for run in ("a", "b", "digits"):
        resume_run(place / run)
    assert isinstance(open_data(place / "digits"), Vectors)


def test_fingerprints_tell_data_apart() -> None:
    vectors, graph = open_vectors("digits"), Graph(list("abc"), np.array([[0, 1]]), "g")
    train = vectors.splits["train"]
    other = [
        replace(vectors, splits=vectors.splits | {"train": replace(train, x=1 - train.x)}),
        replace(vectors, splits=vectors.splits | {"train": replace(train, labels=train.labels[::-1])}),
        replace(vectors, space=replace(vectors.space, picture=())),
        graph,
        replace(graph, names=list("abd")),
        replace(graph, names=list("abcd")),
        replace(graph, labels=np.array([0, 1, 2])),
        replace(graph, edges=np.array([[0, 2]])),
    ]

    def hash_of(data: Vectors | Graph) -> str:
        return fingerprint(DATA_TYPES["graph" if isinstance(data, Graph) else "vectors"].describe(data))

    assert len({hash_of(data) for data in (vectors, *other)}) == 1 + len(other)
    assert hash_of(open_vectors("digits")) == hash_of(vectors)


@pytest.mark.parametrize(
    ("recipe", "source", "message"),
    [
        ("digits-vae", "grey.npz", r"needs values in \[0, 1\]"),
        ("graph-vae", "few.tsv", "edges are too few"),
        ("digits-vae", "nowhere.npz", "no such file"),
    ],
)
def test_what_cannot_be_trained_on_leaves_no_folder(recipe: str, source: str, message: str, place: Path) -> None:
    (place / "few.tsv").write_text("a b\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        start_run(RECIPES[recipe](), source, place / "run")
    assert not (place / "run").exists()


def test_corruption_that_would_do_nothing_is_refused_at_once(prepared: PreparedFolder, tmp_path: Path) -> None:
    noise = Corruption("drop", 0.5)
    for name, match in (("language-model", "does not support denoising"), ("sentence-vae", "is for images")):
        recipe = RECIPES[name]()
        wrong = noise if name == "language-model" else Corruption("gaussian", 0.5)
        small = replace(denoising(recipe, wrong), model=SentenceConfig(8, 8, 4, 0))
        with pytest.raises(UserError, match=match):
            start_run(small, prepared.path, tmp_path / name, quiet=True)
    with pytest.raises(UserError, match="rate is 0; give a rate"):
        Phase("vector", corruption=Corruption("mask"))
    for setting in ("batch", "epochs", "patience"):
        with pytest.raises(UserError, match=f"{setting} is 0"):
            Phase("vector", **{setting: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_a_normal_likelihood_starts_at_the_spread_of_the_data_and_learns_from_there(unit: float, place: Path) -> None:
    """Values from 0 to 255, or thousandths of that: the gradient of log sigma is D - sum of squares / sigma^2."""
    data = open_vectors("grey.npz")
    data = replace(
        data, splits={name: replace(s, x=(unit * s.x).astype(np.float32)) for name, s in data.splits.items()}
    )
    torch.manual_seed(0)
    model, train = build(normal(), data), data.splits["train"]
    spread = float(np.sqrt(np.mean((train.x - train.x.mean(0)) ** 2)))
    x = model.likelihood(torch.zeros(1, 10))
    assert x.stddev.mean().item() == pytest.approx(spread, rel=1e-4)
    batch = train.gather(np.arange(len(train.x)))
    x.log_prob(batch.x).mean().backward()
    squares = (batch.x - x.mean).square().sum(1).mean() / spread**2
    assert model.log_scale.grad.item() == pytest.approx(squares.item() - 16, rel=1e-3, abs=1e-3)


def test_graphs_of_other_splits_are_not_measured_together(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        recipe = short(RECIPES["graph-vae"](), 1)
        start_run(replace(recipe, train=replace(recipe.train, seed=seed)), "two.tsv", place / str(seed), quiet=True)
    shutil.copytree(place / "0", place / "same")
    assert main(["evaluate", "0", "same"]) == 0
    assert main(["evaluate", "0", "1"]) == 2
    assert "holds out other edges" in capsys.readouterr().err
    assert main(["evaluate", "1"]) == 0
    assert main(["compare", "0", "1"]) == 2
    assert "another split of the edges" in capsys.readouterr().err


def test_a_collapsed_latent_is_told_when_training_stops_early(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = short(RECIPES["digits-vae"](), 60)
    phases = in_phases(recipe, lambda phase: replace(phase, patience=1, learning_rate=1e-7))
    start_run(phases, "digits", place / "run")
    told = capsys.readouterr().err
    assert "the latent has collapsed" in told
    assert len(load_run(place / "run").state_dict()) > 0


def test_marks_of_runs_stand_each_for_itself(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for size in (1, 3):
        recipe = normal()
        start_run(
            replace(recipe, model=replace(recipe.model, latent_size=size)), "grey.npz", place / str(size), quiet=True
        )
    capsys.readouterr()
    assert main(["evaluate", "1", "3", "--samples", "0"]) == 0
    (line,) = [row for row in capsys.readouterr().out.splitlines() if row.strip().startswith("-ELBO per image")]
    assert line.split("PCA")[1].count("/") == 1, "components are as many as the latent has dimensions"

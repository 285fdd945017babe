"""The grid of the paper on the made-up corpus: every cell once, interrupted and taken up again."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tgvae import runs
from tgvae.data.schema import PreparedFolder
from tgvae.errors import UserError
from tgvae.evaluation.metric import Metric
from tgvae.evaluation.report_io import FOLDER, REPORT, load_evaluation
from tgvae.models.base import load
from tgvae.models.tgvae import TGVAEConfig
from tgvae.models.topic import TopicConfig
from tgvae.runs import read_recipe
from tgvae.training.loop import Trainer

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import paper_tables

CELLS = ["lm", "vae-k0", "vae-k1", "tgvae-t3-k0", "tgvae-t3-k1", "prodlda-t3"]
ARGUMENTS = [
    *("--topics", "3", "--flows", "0", "1", "--epochs", "1", "--seed", "5"),
    *("--sentence.embedding-size", "8", "--sentence.hidden-size", "8", "--sentence.latent-size", "4"),
    *("--config.samples", "2", "--config.weighted-sentences", "10", "--config.generated", "8"),
    *("--config.reverse", "0", "--config.per-topic", "2"),
]


class InProcess:
    """Stands for a pool: does every job here, at once."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, function: Callable[..., Any], *arguments: Iterable[Any]) -> list[Any]:
        return [function(*each) for each in zip(*arguments, strict=True)]


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    path = Path(__file__).parent.parent / "scripts" / "reproduce.py"
    spec = importlib.util.spec_from_file_location("reproduce_grid", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["reproduce_grid"] = module  # the settings' types are looked up there
    spec.loader.exec_module(module)
    module.ProcessPoolExecutor = InProcess
    yield module
    del sys.modules["reproduce_grid"]


def grid(script: ModuleType, prepared: PreparedFolder, out: Path) -> None:
    """The command as a user gives it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["reproduce.py", str(prepared.path), "--out", str(out), *ARGUMENTS])
        patch.setattr(torch, "set_num_threads", lambda _: None)  # those of a tiny model only wait for one another
        script.main()


@pytest.fixture(scope="module")
def out(script: ModuleType, prepared: PreparedFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reproduce") / "grid"
    grid(script, prepared, out)
    return out


def rows_of(tables: str) -> list[list[list[str]]]:
    """The cells of every Markdown table."""
    blocks = [[line for line in block.splitlines() if line.startswith("|")] for block in tables.split("\n\n")]
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in block] for block in blocks if block]


def test_every_cell_is_a_run_with_its_settings(out: Path) -> None:
    assert sorted(path.name for path in out.iterdir()) == sorted([*CELLS, "tables.md"])
    for cell in CELLS:
        assert (out / cell / FOLDER / REPORT).is_file()
        recipe = read_recipe(out / cell)
        assert recipe.train.seed == 5
        if isinstance(recipe.model, TGVAEConfig | TopicConfig):
            assert getattr(recipe.model, "topic", recipe.model).topics == 3
        if not isinstance(recipe.model, TopicConfig):
            assert recipe.train.phases["sentences"].epochs == 1
            sentence = getattr(recipe.model, "sentence", recipe.model)
            flow = int(cell[-1]) if cell != "lm" else 0
            assert (sentence.hidden_size, sentence.flow_length) == (8, flow)
    protocols = [load_evaluation(out / cell)[0]["config"] for cell in CELLS]
    assert all(protocol == protocols[0] for protocol in protocols), "one protocol for all"
    assert protocols[0]["samples"] == 2


def test_tables_hold_every_cell_and_the_published_rows(out: Path) -> None:
    text = (out / "tables.md").read_text(encoding="utf-8")
    assert "seed 5" in text.split("**")[0]
    tables = rows_of(text)
    assert text.count("**") == 2 * len(tables)
    for rows in tables:
        assert len({len(row) for row in rows}) == 1, "as many columns in every row"
        assert set(rows[1]) == {"---"}
    reports = {cell: load_evaluation(out / cell)[1] for cell in CELLS}
    assert [len(report) for report in reports.values()] == [2, 3, 3, 5, 5, 1], "sections"
    shown = {
        ("language", "perplexity_elbo"): "perplexity, ELBO",
        ("generation", "self_bleu_2"): "self-BLEU-2",
        ("topics", "topic_npmi"): "topic NPMI",
        ("guidance", "fidelity_1"): "fidelity, strength 1",
        ("latent", "active_units"): "active units",
    }
    for (section, id), name in shown.items():
        (found,) = [rows for rows in tables if name in rows[0]]
        assert [row[0] for row in found[2:]] == [cell for cell in CELLS if section in reports[cell]]
        for cell, *row in found[2:]:
            assert row[found[0].index(name) - 1] == paper_tables.value(reports[cell][section][id])


def test_the_papers_rows_stand_beside_the_largest_models(out: Path) -> None:
    perplexity, npmi, bleu = rows_of((out / "tables.md").read_text(encoding="utf-8"))[:3]
    for rows, theirs in ((perplexity, paper_tables.PERPLEXITY), (npmi, paper_tables.NPMI), (bleu, paper_tables.BLEU)):
        assert rows[0] == ["", "this corpus", *paper_tables.PUBLISHED_ON]
        shown = {row[0]: row[2:] for row in rows}
        assert all(shown[name] == cells for name, cells in theirs.items())
        assert len(shown) == len(rows), "every name once"
    ours = {row[0]: row[1] for row in (*perplexity, *npmi, *bleu)}
    cells = {"GRU language model": "lm", "VAE": "vae-k0", "VAE + Householder": "vae-k1", "TGVAE": "tgvae-t3-k1"}
    for name, cell in cells.items():
        report = load_evaluation(out / cell)[1]
        figure = report["language"]["perplexity_elbo"]
        assert {row[0]: row[1] for row in perplexity}[name] == f"{figure.value:.1f}"
        expected = " / ".join(f"{report['generation'][f'test_bleu_{n}'].value:.3f}" for n in (2, 3, 4))
        assert ours[f"{name}, test-BLEU"] == expected
    coherence = load_evaluation(out / "tgvae-t3-k1")[1]["topics"]["topic_npmi_window_10"]
    assert {row[0]: row[1] for row in npmi[2:]} == {
        "LDA": f"{coherence.baselines['lda']:.3f}",
        "TCNLM": "",
        "TGVAE": f"{coherence.value:.3f}",
    }


def test_a_finished_grid_is_only_printed(
    script: ModuleType, prepared: PreparedFolder, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is left to be done")

    monkeypatch.setattr(runs, "start_run", never)
    monkeypatch.setattr(script, "evaluate_run", never)
    monkeypatch.setattr(Trainer, "_train_epoch", never)
    before = (out / "tables.md").read_text(encoding="utf-8")
    capsys.readouterr()
    grid(script, prepared, out)
    assert (out / "tables.md").read_text(encoding="utf-8") == before == capsys.readouterr().out


def test_a_trained_cell_is_only_measured(
    script: ModuleType, prepared: PreparedFolder, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = out / "vae-k1" / FOLDER / REPORT
    before = report.read_text(encoding="utf-8")
    report.unlink()
    measured = []
    evaluate_run = script.evaluate_run
    monkeypatch.setattr(
        script, "evaluate_run", lambda run, *a, **k: measured.append(run.name) or evaluate_run(run, *a, **k)
    )
    monkeypatch.setattr(runs, "start_run", None)
    grid(script, prepared, out)
    assert measured == ["vae-k1"]
    assert report.read_text(encoding="utf-8") == before, "the same figures"


def test_an_interrupted_cell_goes_on(
    script: ModuleType, prepared: PreparedFolder, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after its checkpoint was written: resumed, not begun again."""
    options = script.Options(prepared.path, tmp_path)
    recipe = read_recipe(out / "lm")
    save = Trainer._save

    def killed(self: Trainer, optimizer: object) -> None:
        save(self, optimizer)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "set_num_threads", lambda _: None)
        patch.setattr(Trainer, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            script.train_cell(options, "lm", recipe)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(runs, "start_run", None)
    script.train_cell(options, "lm", recipe)
    ours, theirs = load(tmp_path / "lm").state_dict(), load(out / "lm").state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    other = replace(recipe, train=replace(recipe.train, seed=6))
    with pytest.raises(UserError, match="trained with other settings than requested; choose another --out"):
        script.train_cell(options, "lm", other)


def test_a_cell_that_never_reached_a_checkpoint_starts_again(
    script: ModuleType, prepared: PreparedFolder, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lm").mkdir()
    (tmp_path / "lm" / "run.json").write_text("{}")
    trained = []

    def start(recipe: Any, data: Path, run: Path, overwrite: bool, quiet: bool) -> str:
        trained.append((recipe.kind, data, run, overwrite))
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "start_run", start)
    with pytest.raises(KeyboardInterrupt):
        grid(script, prepared, tmp_path)
    assert trained == [("language-model", prepared.path, tmp_path / "lm", True)]


def test_sizes_of_the_paper(script: ModuleType, prepared: PreparedFolder) -> None:
    options = script.Options(prepared.path, Path("out"))
    names = list(script.cells(options))
    assert names[:3] == ["lm", "vae-k0", "vae-k10"]
    assert names[3:12] == [f"tgvae-t{t}-k{k}" for t in (10, 30, 50) for k in (0, 1, 10)]
    assert names[12:] == ["prodlda-t10", "prodlda-t30", "prodlda-t50"]
    no_flow = script.cells(replace(options, flows=(0,), topics=(3,)))
    assert list(no_flow) == ["lm", "vae-k0", "tgvae-t3-k0", "prodlda-t3"]


def test_tables_do_without_the_weighted_bound(out: Path) -> None:
    reports = {cell: load_evaluation(out / cell)[1] for cell in CELLS}
    with_it = paper_tables.all_tables(reports)
    for report in reports.values():
        report["language"] = {name: f for name, f in report.get("language", {}).items() if "_iw" not in name}
    without = paper_tables.all_tables(reports)
    assert "perplexity, IW 2" in "".join(with_it)
    assert "IW" not in "".join(without)
    assert len(with_it) == len(without)


@pytest.mark.parametrize(
    ("figure", "shown"),
    [
        (None, ""),
        (Metric(12.34, "nats"), "12.3"),
        (Metric(-0.1234, "share"), "-0.123"),
        (Metric(0.5, "share", baselines={"real_text": 0.25, "chance": 10.0}), "0.500 (0.250, 10.0)"),
    ],
)
def test_numbers(figure: Metric | None, shown: str) -> None:
    assert paper_tables.value(figure) == shown

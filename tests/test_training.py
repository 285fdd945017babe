"""The loop: it learns, resumes exactly, stops on nonsense, and says when something has collapsed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tgvae.config_io import from_json
from tgvae.data.corpus import Corpus
from tgvae.data.graphs import Graph
from tgvae.data.schema import PreparedFolder
from tgvae.data.vectors import VectorBatch, open_vectors
from tgvae.datasets import Data
from tgvae.errors import UserError
from tgvae.evaluation.generation import perplexity_under
from tgvae.models.base import Model, load
from tgvae.models.pretrained_lm import BaseModelUser
from tgvae.models.sentence import SentenceConfig
from tgvae.models.tgvae import TGVAEConfig
from tgvae.models.topic import TopicConfig
from tgvae.models.vae import VectorVAE
from tgvae.models.vgae import GraphVAE
from tgvae.recipes import RECIPES, Recipe
from tgvae.runs import build, fit_language_model, load_run, open_data, read_recipe, resume_run, start_run
from tgvae.schedules import Schedule
from tgvae.training import loop
from tgvae.training.checkpoint import Progress
from tgvae.training.config import Phase, TrainConfig
from tgvae.training.logger import MetricLogger, warnings
from tgvae.training.loop import DivergedError

SMALL = TGVAEConfig(
    TopicConfig(topics=3, word_embedding_size=8, hidden_size=16),
    SentenceConfig(embedding_size=12, hidden_size=10, latent_size=4, flow_length=2),
)


def small_recipe(epochs: int = 2) -> Recipe:
    phases = {
        "topics": Phase("document", epochs=2, batch=32, weights={"kl/g": Schedule("linear")}),
        "sentences": Phase("sentence", epochs=epochs, batch=600, weights={"kl/z": Schedule("linear")}),
    }
    return Recipe("tgvae", SMALL, TrainConfig(phases, device="cpu"))


def test_training_lowers_the_bound_and_fills_the_run_folder(prepared: PreparedFolder, tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = start_run(small_recipe(epochs=4), prepared.path, run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    bounds = [line["perplexity"] for line in lines if line["kind"] == "valid" and "nll/tokens" in line]
    assert bounds[-1] < 0.9 * bounds[0]
    names = {p.name for p in run.iterdir()}
    assert {"config.json", "model.safetensors", "run.json", "last.safetensors", "metrics.jsonl", "tensorboard"} <= names
    again = load(run)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    assert read_recipe(run) == small_recipe(epochs=4)
    assert open_data(run).path == prepared.path


class KilledError(Exception):
    """Stands for a kill at some step."""


def killed_run(recipe: Recipe, source: str | Path, run: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed after the first checkpoint at or after ``step``."""
    save = loop.Trainer._save

    def killed(self: loop.Trainer, optimizer: object) -> None:
        save(self, optimizer)
        if self.progress.step >= step:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_save", killed)
        with pytest.raises(KilledError):
            start_run(recipe, source, run)


@pytest.mark.parametrize("step", [3, 9, 13])
def test_resumed_run_equals_an_uninterrupted_one(
    step: int, prepared: PreparedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the topic phase, at the start of the second, and within an epoch of it: bit-equal weights."""
    recipe = small_recipe()
    recipe = replace(recipe, train=replace(recipe.train, save_minutes=0.0))
    start_run(recipe, prepared.path, tmp_path / "whole")
    killed_run(recipe, prepared.path, tmp_path / "cut", step, monkeypatch)
    resume_run(tmp_path / "cut")
    weights = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_same_seed_same_weights_other_seed_others(prepared: PreparedFolder, tmp_path: Path) -> None:
    recipe = small_recipe(epochs=1)
    a = start_run(recipe, prepared.path, tmp_path / "a").state_dict()
    b = start_run(recipe, prepared.path, tmp_path / "b").state_dict()
    other = replace(recipe, train=replace(recipe.train, seed=1))
    c = start_run(other, prepared.path, tmp_path / "c").state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["topic.words"], c["topic.words"])


def test_a_loss_that_is_not_finite_stops_with_its_place(
    prepared: PreparedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = loop.objective

    def broken(terms: dict, weights: dict, floors: dict) -> torch.Tensor:
        terms["nll/words"] = terms["nll/words"] * float("nan")
        return objective(terms, weights, floors)

    monkeypatch.setattr(loop, "objective", broken)
    with pytest.raises(
        DivergedError, match=r"step 0: objective, gradient, nll/words not finite.* train rows at fault: d\d+"
    ):
        start_run(small_recipe(), prepared.path, tmp_path / "run")


def test_run_folders_are_not_overwritten_or_taken_for_others(prepared: PreparedFolder, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError, match="not a run folder"):
        resume_run(tmp_path)
    start_run(small_recipe(epochs=1), prepared.path, run)
    with pytest.raises(UserError, match="exists already"):
        start_run(small_recipe(epochs=1), prepared.path, run)
    (run / "last.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="not a checkpoint"):
        resume_run(run)
    (run / "last.safetensors").unlink()  # to train from the start would lose the model
    with pytest.raises(UserError, match="no checkpoint"):
        resume_run(run)
    (run / "run.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        resume_run(run)


def test_another_corpus_is_noticed(prepared: PreparedFolder, tmp_path: Path) -> None:
    start_run(small_recipe(epochs=1), prepared.path, tmp_path / "run")
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    described["data"]["manifest_sha256"] = "0" * 64
    (tmp_path / "run" / "run.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match="not the data"):
        open_data(tmp_path / "run")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json_and_builds(name: str, prepared: PreparedFolder) -> None:
    recipe = RECIPES[name]()
    if recipe.kind in ("topic", "tgvae", "summarizer"):  # the made-up corpus has few words
        few = TopicConfig(topics=3)
        recipe = replace(recipe, model=few if recipe.kind == "topic" else replace(recipe.model, topic=few))
    kind = Model.kinds[recipe.kind]
    assert from_json(kind.config_class, json.loads(json.dumps(asdict(recipe.model))), "x") == recipe.model
    assert from_json(TrainConfig, json.loads(json.dumps(asdict(recipe.train))), "x") == recipe.train
    if issubclass(kind, BaseModelUser):  # built in tests/test_pretrained.py, with a base model
        return
    data: Data = prepared
    if kind is VectorVAE:
        data = open_vectors("digits")
    elif kind is GraphVAE:
        data = Graph(list("abcd"), np.array([[0, 1], [1, 2], [2, 3]]), "a chain")
    assert isinstance(build(recipe, data), kind)


def test_warnings_fire_on_a_run_made_to_collapse(
    prepared: PreparedFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A KL weight of 30 empties the latent; the run must say so in words."""
    recipe = small_recipe()
    sentences = replace(recipe.train.phases["sentences"], weights={"kl/z": Schedule(end=30.0)})
    phases = recipe.train.phases | {"sentences": sentences}
    start_run(replace(recipe, train=replace(recipe.train, phases=phases)), prepared.path, tmp_path / "run")
    assert "the latent has collapsed" in capsys.readouterr().err


def test_warnings_are_about_what_is_wrong() -> None:
    good = {"kl/z": 3.0, "topics_in_use": 1.0, "diversity": 0.8, "fidelity": 0.6, "chance": 0.02}
    assert warnings(good) == []
    for name, value, word in (
        ("kl/z", 0.1, "latent"),
        ("topics_in_use", 0.3, "topics have collapsed"),
        ("diversity", 0.2, "repeat"),
        ("fidelity", 0.03, "guidance"),
    ):
        (told,) = warnings(good | {name: value})
        assert word in told


def test_topics_learned_are_the_themes(prepared: PreparedFolder, corpus: Corpus, tmp_path: Path) -> None:
    """Three planted themes are three topics, and documents of a theme are of its topic."""
    recipe = replace(small_recipe(), kind="topic", model=SMALL.topic)
    phase = replace(recipe.train.phases["topics"], epochs=15, learning_rate=5e-3)
    model = start_run(
        replace(recipe, train=TrainConfig({"topics": phase}, device="cpu")), prepared.path, tmp_path / "r"
    )
    main = model.topic.theta(torch.from_numpy(corpus.bags.toarray())).argmax(-1)
    labels = corpus.table["label"].to_pylist()
    found = {(label, int(topic)) for label, topic in zip(labels, main, strict=True)}
    assert len(found) == 3


def test_the_fused_optimiser_steps_as_the_plain_one(prepared: PreparedFolder, tmp_path: Path) -> None:
    recipe = small_recipe()
    corpora = {split: Corpus(prepared, split) for split in ("train", "valid")}
    phase, rows = recipe.train.phases["sentences"], corpora["train"].rows("sentence")
    weights = []
    for fused in (True, False):
        trainer = loop.Trainer(build(recipe, prepared), corpora, recipe.train, tmp_path, None)
        optimizer: Any = trainer.optimizer(phase)
        assert optimizer.param_groups[0]["fused"]
        if not fused:
            optimizer = torch.optim.AdamW(trainer.model.parameters(), betas=(0.9, 0.99), weight_decay=0, foreach=False)
        for number, index in enumerate(rows.batches(600, 0)[:8]):
            torch.manual_seed(number)
            trainer.update(phase, optimizer, rows.gather(index), number / 8, 1e-3)
        weights.append(trainer.model.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=0, atol=1e-6)


def test_a_checkpoint_with_other_shapes_is_refused(prepared: PreparedFolder, tmp_path: Path) -> None:
    """AdamW would go on with the wrong moments."""
    recipe, run = small_recipe(epochs=1), tmp_path / "run"
    start_run(recipe, prepared.path, run, quiet=True)
    path = run / loop.CHECKPOINT
    with safe_open(path, "pt") as file:
        tensors, header = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    key = next(key for key, value in tensors.items() if key.startswith("optimizer.") and value.dim() == 2)
    save_file(tensors | {key: tensors[key].T.contiguous()}, path, header)
    with pytest.raises(UserError, match="earlier version"):
        resume_run(run)


def test_the_journal_writes_means_over_steps(tmp_path: Path) -> None:
    """Of terms over rows and steps, by hand; two processes that have a quarter and three quarters of each batch."""
    norm, here = torch.tensor(2.0), [torch.tensor([1.0, 3.0]), torch.tensor([5.0])]
    other = torch.stack([torch.tensor(2 * 0.75 * 10), 2 * 0.75 * norm, torch.tensor(0.0)])
    with MetricLogger(tmp_path, True, lambda sums: sums + other) as journal:
        journal.begin(0)
        journal.begin_epoch("title", 2, 0)
        for step, values in enumerate(here):
            batch = VectorBatch(values[:, None], values[:, None], torch.arange(len(values)))
            journal.step(step, {"nll/x": values}, norm, 0.1, batch, 0.25)
        journal.validation(Progress(step=2), Phase("vector"), {"nll/x": 1.0}, {}, better=True)
    train, valid = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert train["nll/x"] == pytest.approx((0.25 * 2 + 0.75 * 10 + 0.25 * 5 + 0.75 * 10) / 2)
    assert train["gradient_norm"] == pytest.approx(2.0)
    assert (train["step"], train["learning_rate"], valid["nll/x"]) == (1, 0.1, 1.0)


@pytest.mark.parametrize("seed", [20261122, 2**32 - 1])
def test_large_seeds_work(seed: int, prepared: PreparedFolder, tmp_path: Path) -> None:
    recipe = small_recipe(epochs=1)
    start_run(replace(recipe, train=replace(recipe.train, seed=seed)), prepared.path, tmp_path / "run")


def test_seeds_out_of_range_are_refused() -> None:
    for seed in (-1, 2**32):
        with pytest.raises(UserError, match="seed"):
            TrainConfig(seed=seed)


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(
    prepared: PreparedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe()
    model = build(recipe, prepared)
    corpora = {split: Corpus(prepared, split) for split in ("train", "valid")}
    model.topic.words.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(DivergedError, match="gradient"):
        loop.train(model, corpora, recipe.train, tmp_path)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_overwriting_leaves_nothing_of_the_old_run(
    prepared: PreparedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_run(small_recipe(epochs=1), prepared.path, tmp_path / "run")
    monkeypatch.setattr("tgvae.runs.train", lambda model, *_, **__: model)
    start_run(small_recipe(epochs=1), prepared.path, tmp_path / "run", overwrite=True)
    with pytest.raises(UserError, match="no trained model"):
        load_run(tmp_path / "run")


def test_every_batch_is_in_the_metrics(prepared: PreparedFolder, tmp_path: Path) -> None:
    """Short epochs too: there are training figures before every validation."""
    start_run(small_recipe(), prepared.path, tmp_path / "run")
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert kinds == ["train", "valid"] * 4


def test_a_fitted_language_model_knows_its_text_and_leaves_nothing(
    prepared: PreparedFolder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    texts = [corpus.text(i) for i in range(100)]
    monkeypatch.setattr("tgvae.runs.TemporaryDirectory", partial(TemporaryDirectory, dir=tmp_path))
    before = contents(prepared.path)
    capsys.readouterr()
    draw = torch.get_rng_state()
    model = fit_language_model(texts, prepared, seed=1)
    assert list(tmp_path.iterdir()) == []
    assert contents(prepared.path) == before
    assert capsys.readouterr() == ("", ""), "it is quiet"
    recipe = replace(RECIPES["language-model"](), model=model.config)
    fresh, fitted = (perplexity_under(m, texts) for m in (build(recipe, prepared), model))
    assert fitted < 0.5 * fresh
    torch.set_rng_state(draw)
    again = fit_language_model(texts, prepared, seed=1)
    assert perplexity_under(again, texts) == fitted, "a function of texts and seed"


def contents(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}

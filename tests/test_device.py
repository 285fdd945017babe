"""In which precision a run is computed, and that a run folder says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.test_training import small_recipe
from tgvae.data.schema import PreparedFolder
from tgvae.errors import UserError
from tgvae.models.base import WEIGHTS
from tgvae.runs import RUN, ensure_run, start_run
from tgvae.training import device
from tgvae.training.config import TrainConfig
from tgvae.training.device import resolve_precision


def with_instructions(monkeypatch: pytest.MonkeyPatch, **found: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)


@pytest.mark.parametrize("name", ["amx_bf16", "avx512_bf16"])
def test_auto_is_bfloat16_where_the_processor_has_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    auto = TrainConfig(precision="auto", device="cpu")
    for has in (True, False):
        with_instructions(monkeypatch, avx2=True, **{name: has})
        assert resolve_precision(auto) == ("bf16" if has else "no")
        assert resolve_precision(replace(auto, precision="no")) == "no"
        assert resolve_precision(replace(auto, precision="bf16")) == "bf16"
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as before torch 2.11
    assert resolve_precision(auto) == "no"


@pytest.mark.parametrize(
    ("version", "capability", "wanted"), [("13", (9, 0), "bf16"), ("13", (7, 5), "no"), (None, (9, 4), "no")]
)
def test_auto_is_bfloat16_where_the_gpu_has_it(
    version: str | None, capability: tuple[int, int], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "on_cpu", lambda config: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.version, "cuda", version)
    assert resolve_precision(TrainConfig(precision="auto")) == wanted


def test_a_run_says_its_precision_and_keeps_it_elsewhere(
    prepared: PreparedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = small_recipe(epochs=1), tmp_path / "run"
    recipe = replace(recipe, train=replace(recipe.train, precision="auto"))
    with_instructions(monkeypatch, avx512_bf16=True)
    start_run(recipe, prepared.path, run, quiet=True)
    assert json.loads((run / RUN).read_text())["recipe"]["train"]["precision"] == "bf16"
    weights = (run / WEIGHTS).read_bytes()
    with_instructions(monkeypatch, avx512_bf16=False)
    ensure_run(recipe, prepared.path, run, quiet=True)  # it is done: nothing is left to train
    assert (run / WEIGHTS).read_bytes() == weights
    asked = replace(recipe, train=replace(recipe.train, precision="no"))
    with pytest.raises(UserError, match="other settings"):
        ensure_run(asked, prepared.path, run, quiet=True)


def test_bfloat16_learns_as_float32_does(prepared: PreparedFolder, tmp_path: Path) -> None:
    recipe, scores = small_recipe(epochs=2), {}
    for precision in ("no", "bf16"):
        config = replace(recipe.train, precision=precision)
        start_run(replace(recipe, train=config), prepared.path, tmp_path / precision, quiet=True)
        lines = map(json.loads, (tmp_path / precision / "metrics.jsonl").read_text().splitlines())
        scores[precision] = [line["perplexity"] for line in lines if line["kind"] == "valid"]
    assert scores["bf16"] != scores["no"]
    assert scores["bf16"] == pytest.approx(scores["no"], rel=0.02)

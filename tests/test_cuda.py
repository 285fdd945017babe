"""The same code on a GPU: a step, a bound, sentences and figures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.test_training import small_recipe
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.evaluation.report import Protocol, figures
from tgvae.models.tgvae import TGVAE
from tgvae.runs import start_run
from tgvae.training.config import TrainConfig

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_training_and_figures_on_a_gpu(precision: str, prepared: PreparedFolder, tmp_path: Path) -> None:
    recipe = small_recipe()
    config = TrainConfig(recipe.train.phases, device="auto", precision=precision)
    model = start_run(type(recipe)(recipe.kind, recipe.model, config), prepared.path, tmp_path / "run")
    assert isinstance(model, TGVAE)
    assert model.device.type == "cuda"
    train, test = Corpus(prepared, "train"), Corpus(prepared, "test")
    on_gpu = figures(model, train, test, Protocol(samples=5, per_topic=2), judge=None)
    on_cpu = figures(model.to("cpu"), train, test, Protocol(samples=5, per_topic=2), judge=None)
    assert on_gpu["document perplexity"].value == pytest.approx(on_cpu["document perplexity"].value, rel=0.05)
    assert on_gpu["topic NPMI"].value == pytest.approx(on_cpu["topic NPMI"].value, abs=1e-5)

"""The same code on a GPU: a step, a bound, sentences and figures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.test_training import small_recipe
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.errors import out_of_memory
from tgvae.evaluation.report import EvalConfig, evaluate
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
    protocol = EvalConfig(samples=5, generated=20, reverse=0, per_topic=2)
    on_gpu = evaluate(model, train, test, protocol).report
    on_cpu = evaluate(model.to("cpu"), train, test, protocol).report
    for section, name, tolerance in (
        ("language", "perplexity_elbo", 0.05),
        ("topics", "document perplexity", 0.05),
        ("topics", "topic_npmi", 1e-5),
    ):
        assert on_gpu[section][name].value == pytest.approx(on_cpu[section][name].value, rel=tolerance)


def test_too_little_memory_of_a_gpu_is_known_as_such() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(10**15, device="cuda")
    assert out_of_memory(error.value)

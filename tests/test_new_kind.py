"""A new kind of model needs its own file, a line in the registry and a recipe: nothing else in the package changes.

The kind of this test is defined here. It is trained, saved, loaded, evaluated, described by a model card and served.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import out_of
from tgvae.data.batch import Batch
from tgvae.data.schema import PreparedFolder
from tgvae.data.tokenizers import SentenceTokenizer
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.distributions import TokenSequence
from tgvae.errors import UserError
from tgvae.generation.decode import DecodeSettings
from tgvae.models.base import CARD, Capability, Model, TextModel, load
from tgvae.models.text_generation import Sentence, write
from tgvae.random import make_generator
from tgvae.recipes import Recipe
from tgvae.runs import read_recipe, start_run
from tgvae.trace import Observed, Trace
from tgvae.training.config import Phase, TrainConfig


@dataclass(frozen=True)
class UnigramConfig:
    """Settings of the unigram model."""

    initial_logit: float = 0.0


class UnigramDecoder(nn.Module):
    """p(y) = prod_m softmax(b)[y_m]: a decoder whose state never changes."""

    def __init__(self, size: int, initial_logit: float, pad_id: int) -> None:
        super().__init__()
        self.bias, self.pad_id = nn.Parameter(torch.full((size,), initial_logit)), pad_id

    def forward(self, inputs: Tensor, z: Tensor) -> TokenSequence:
        states = torch.zeros(*z.shape[:2], inputs.shape[1], 1)
        return TokenSequence(states, torch.zeros(len(self.bias), 1), self.bias, self.pad_id)

    def start(self, z: Tensor) -> Tensor:
        return z

    def step(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.bias.expand(len(tokens), -1), state


class UnigramModel(TextModel):
    """Sentences of independent tokens."""

    units = ("sentence",)
    config_class = UnigramConfig

    def __init__(self, config: UnigramConfig, tokenizer: SentenceTokenizer, vocabulary: TopicVocabulary) -> None:
        super().__init__(config, tokenizer, vocabulary)
        self.decoder = UnigramDecoder(len(tokenizer), config.initial_logit, tokenizer.pad_id)

    @classmethod
    def capabilities_of(cls, config: Any) -> frozenset[Capability]:
        return frozenset({Capability.GENERATION})

    def trace(self, batch: Batch, samples: int = 1, temperature: float = 1.0, latent_noise: float = 0.0) -> Trace:
        y = self.decoder(batch.inputs, torch.zeros(1, len(batch.lengths), 0))
        return Trace(observed={"tokens": Observed(y, batch.targets, "sentence")})

    @torch.no_grad()
    def generate(self, num: int = 5, settings: DecodeSettings | None = None, seed: int = 0) -> list[Sentence]:
        z, generator = torch.zeros(num, 0), make_generator(seed)
        return write(self.decoder, self.tokenizer, z, settings or DecodeSettings(), generator)


RECIPE = Recipe(
    "unigram",
    UnigramConfig(),
    TrainConfig({"sentences": Phase("sentence", epochs=30, learning_rate=0.3, batch=512)}, device="cpu"),
)


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    UnigramModel.kind = "unigram"  # a kind in the package names itself in its class body
    Model.kinds["unigram"] = UnigramModel
    yield
    del Model.kinds["unigram"]


@pytest.fixture(scope="module")
def run(prepared: PreparedFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("new") / "run"
    start_run(RECIPE, prepared.path, run, quiet=True)
    return run


def test_it_learns_the_frequencies_of_tokens(run: Path, prepared: PreparedFolder) -> None:
    model = load(run)
    assert isinstance(model, UnigramModel)
    counts = torch.zeros(len(prepared.tokenizer))
    for sentences in prepared.split("train")["tokens"].to_pylist():
        for sentence in sentences:
            ids = torch.tensor([*sentence, prepared.tokenizer.eos_id])
            counts.index_add_(0, ids, torch.ones(len(ids)))
    learnt = model.decoder.bias.detach().softmax(-1)
    assert 0.5 * (learnt - counts / counts.sum()).abs().sum() < 0.1, "total variation distance"


def test_its_recipe_is_read_back(run: Path) -> None:
    assert read_recipe(run) == RECIPE


def test_units_it_lacks_are_refused(prepared: PreparedFolder, tmp_path: Path) -> None:
    documents = Recipe("unigram", UnigramConfig(), TrainConfig({"documents": Phase("document", epochs=1)}))
    with pytest.raises(UserError, match="unit is document, but a unigram trains on sentence"):
        start_run(documents, prepared.path, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_it_is_evaluated(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(out_of(capsys, "evaluate", run, "--json", "--generated", "30", "--reverse", "0"))
    assert json.dumps(found).count("perplexity") > 1
    assert (run / "evaluation" / "report.html").is_file()


def test_it_has_a_model_card(run: Path) -> None:
    assert "unigram" in (run / CARD).read_text(encoding="utf-8")


def test_it_generates_by_the_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert out_of(capsys, "generate", run, "--num", "3", "--seed", "1").count("\n") == 3


def test_it_is_served(run: Path) -> None:
    testclient = pytest.importorskip("fastapi.testclient", reason="the extra web is not installed")
    from tgvae.web.app import create_app
    from tgvae.web.page_data import collect_page_data

    model = load(run)
    app = create_app(model, collect_page_data(model, "run", None, "not available"))
    web = testclient.TestClient(app, base_url="http://localhost:8000")
    sentences = web.post("/api/generate", json={"num": 2, "seed": 3}).json()["sentences"]
    assert len(sentences) == 2
    assert web.get("/api/run").json()["capabilities"] == ["generation"]

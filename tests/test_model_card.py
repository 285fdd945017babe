"""Model cards of every kind of model, with hostile text and for unknown kinds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from tgvae.data.graphs import Graph
from tgvae.data.schema import SPLITS, PreparedFolder
from tgvae.data.vectors import open_vectors
from tgvae.evaluation.metric import Metric
from tgvae.evaluation.model_card import USES, data_sizes, flatten, render_card, use_of, write_card
from tgvae.evaluation.report_io import save_evaluation
from tgvae.models.base import CARD, WEIGHTS, Capability
from tgvae.models.topic import TopicConfig
from tgvae.recipes import Recipe
from tgvae.runs import load_run, read_run, start_run
from tgvae.training.config import Phase, TrainConfig

SIZES = {"documents": "8 train, 1 valid, 1 test"}
REPORT = {
    "language": {
        "perplexity": Metric(81.25, "per word, with KL", "IWAE, 10 draws", 500, 0, 1.5, baselines={"GRU": 80.0})
    }
}


def described(kind: str = "tgvae", **data: str) -> dict[str, Any]:
    """A run.json of a kind."""
    phases = {"one": {"unit": "document", "epochs": 3, "batch": 64, "learning_rate": 1e-3}}
    return {
        "recipe": {"kind": kind, "model": {"topic": {"topics": 7}}, "train": {"seed": 5, "phases": phases}},
        "data": {"path": "/home/somebody/secret/corpus", "manifest_sha256": "ab" * 32} | data,
        "versions": {"torch": "2.13.0"},
        "machine": {"device": "cpu"},
    }


TEXT = {Capability.GENERATION}
GUIDED = {Capability.TOPICS, Capability.GENERATION, Capability.LATENT, Capability.GUIDANCE}


def card(name: str, description: dict[str, Any], parameters: int, sizes: dict[str, str], evaluated: Any) -> str:
    return render_card(name, description, GUIDED, parameters, sizes, evaluated)


@pytest.mark.parametrize(
    ("capabilities", "task", "words"),
    [
        (GUIDED, "text-generation", "topics and generates"),
        ({Capability.TOPICS}, None, "topics of documents"),
        (TEXT | {Capability.LATENT}, "text-generation", "continuous latent"),
        (TEXT, "text-generation", "word by word"),
        ({Capability.SUMMARIES}, "summarization", "summarizes"),
        ({Capability.SUMMARIES, Capability.TOPICS}, "summarization", "summarizes"),
        ({Capability.VECTORS}, None, "vectors"),
        ({Capability.GRAPH}, None, "nodes of a graph"),
        (set(), None, "latent representation of its data"),
    ],
)
def test_cards_by_capability(capabilities: set[Capability], task: str | None, words: str) -> None:
    """Also of a kind that this package does not know: it may have any capabilities, or none."""
    text = render_card("run", described("unheard-of"), capabilities, 1234, SIZES, None)
    header = ModelCard(text).data
    assert header.library_name == "tgvae"
    assert header.license == "unknown", "not stated"
    assert "unheard-of" in header.tags
    assert ("topic-model" in header.tags) == (Capability.TOPICS in capabilities)
    assert header.pipeline_tag == task
    assert words in text
    stated = render_card("run", described(licence="CC BY-SA 4.0"), capabilities, 1234, SIZES, None)
    assert ModelCard(stated).data.license == "other", "the licence of the data is not that of the weights"


def test_a_toy_kind_has_a_card(prepared: PreparedFolder, tmp_path: Path) -> None:
    """A new kind of model needs no entry anywhere for its card."""

    class Toy(torch.nn.Linear):
        capabilities = frozenset({Capability.TOPICS})

    run = tmp_path / "toy"
    run.mkdir()
    path = write_card(run, described("toy"), Toy(2, 3), prepared)  # type: ignore[arg-type]
    assert "A toy of 9 parameters that learns topics" in path.read_text(encoding="utf-8")


def test_every_use_is_reachable() -> None:
    assert [use_of(use.requires) for use in USES] == list(USES)


def test_it_says_what_there_is() -> None:
    text = card(
        "my run", described(name="Letters", licence="CC BY 4.0", citation="Somebody 1999"), 1234567, SIZES, None
    )
    for said in (
        "# my run",
        "1,234,567 parameters",
        "| source | Letters |",
        "| licence | CC BY 4.0 |",
        "| citation | Somebody 1999 |",
        f"| SHA-256 | {'ab' * 32} |",
        "| documents | 8 train, 1 valid, 1 test |",
        "| topic.topics | 7 |",
        "| phase one | at most 3 epochs, batches of 64 documents, rate 0.001 |",
        "| seed | 5 |",
        "| torch | 2.13.0 |",
        "| device | cpu |",
    ):
        assert said in text
    assert "Intended use and limits" in text


def test_no_figure_that_was_not_measured() -> None:
    text = card("run", described(), 1, SIZES, None)
    assert "Not evaluated yet; run `tgvae evaluate FOLDER`." in text
    assert "perplexity" not in text


def test_figures_have_units_marks_and_estimators() -> None:
    text = card("run", described(), 1, SIZES, ({"split": "valid"}, REPORT))
    assert "the valid split" in text
    assert "| perplexity | 81.2 ± 1.5 | per word, with KL | GRU 80.00 | IWAE, 10 draws |" in text
    assert "Not evaluated" not in text


def test_the_place_of_the_data_is_not_told() -> None:
    text = card("run", described(), 1, SIZES, None)
    assert "somebody" not in text
    assert "| source | corpus |" in text


def test_text_of_strangers_is_no_markup() -> None:
    evil = "x | y\n# Buy <script>alert(1)</script> [here](http://x) ![i](j) `a` *b* _c_ $d$ ~e~"
    hostile = {evil: {evil: Metric(1.0, evil, evil, 500, 0, 1.5, baselines={evil: 80.0})}}
    text = card(evil, described(name=evil, licence=evil, citation=evil), 1, {evil: evil}, ({}, hostile))
    plainly = card("run", described(name="n", licence="l", citation="c"), 1, {"s": "t"}, ({}, REPORT))
    assert "<script" not in text
    assert re.findall(r"^#+ ", text, re.MULTILINE) == re.findall(r"^#+ ", plainly, re.MULTILINE), "not one heading more"
    assert text.count("\n") == plainly.count("\n")
    assert not re.search(r"(?<!\\)\]\((?!https://github.com/tgvae)", text), "nor a link"
    for line, other in zip(text.splitlines(), plainly.splitlines(), strict=True):
        assert len(re.findall(r"(?<!\\)\|", line)) == len(re.findall(r"(?<!\\)\|", other)), "nor a column"
    assert ModelCard(text).data.license == "other"


def test_settings_are_flat() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}


def test_sizes_are_those_of_the_data(prepared: PreparedFolder) -> None:
    rows = {split: prepared.split(split).num_rows for split in SPLITS}
    assert data_sizes(prepared)["documents"] == ", ".join(f"{count} {split}" for split, count in rows.items())
    assert data_sizes(open_vectors("digits")) == {"vectors": "1,438 train, 180 valid, 179 test"}
    graph = Graph(["a", "b", "c"], np.array([[0, 1], [1, 2]]), "there")
    assert data_sizes(graph) == {"nodes": "3", "edges": "2"}


def test_figures_stay_while_they_are_of_the_weights(prepared: PreparedFolder, tmp_path: Path) -> None:
    run, config = tmp_path / "run", TopicConfig(topics=2, word_embedding_size=8, hidden_size=8)
    train = TrainConfig({"topics": Phase("document", epochs=1, batch=64)}, device="cpu")
    start_run(Recipe("topic", config, train), prepared.path, run, quiet=True)
    told, model = read_run(run), load_run(run)

    def written() -> str:
        return write_card(run, told, model, prepared).read_text(encoding="utf-8")

    assert written() == (run / CARD).read_text(encoding="utf-8")
    assert "Not evaluated" in written()
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in written()
    assert json.loads((run / "run.json").read_text())["data"]["manifest_sha256"] in written()
    save_evaluation(run, {"split": "test"}, REPORT, "")
    assert "81.2 ±" in written()
    with (run / WEIGHTS).open("ab") as file:
        file.write(b" ")
    assert "81.2 ±" not in written(), "of other weights"

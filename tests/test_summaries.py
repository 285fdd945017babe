"""Metrics of summaries against counts by hand, and the whole evaluation of a summarizer."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tgvae import Summarizer
from tgvae.cli.main import main
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.errors import UserError
from tgvae.evaluation.report import EvalConfig, evaluate
from tgvae.evaluation.report_io import FOLDER, PAGE, REPORT
from tgvae.evaluation.rouge import rouge
from tgvae.evaluation.summaries import (
    HeldOutSummaries,
    new_words,
    summarize_held_out,
    summary_metrics,
    topic_pull,
)
from tgvae.models.base import Capability
from tgvae.models.summarizer import SummarizerConfig
from tgvae.runs import load_run

QUICK = EvalConfig(samples=2, weighted_sentences=5, summaries=6)
FOUND = HeldOutSummaries(
    index=np.array([2, 5]),
    ids=["a", "b"],
    documents=[["Red birds sing.", "They sing well."], ["Blue fish swim."]],
    references=[["Red birds sing", "Singing birds"], ["Fish of the sea"]],
    generated={"beam": ["Red birds fly home", "Fish"], "greedy": ["Red", "Birds"]},
    finished=np.array([True, False]),
)


@pytest.fixture(scope="module")
def trained(summarizer_run: Path) -> Summarizer:
    return load_run(summarizer_run, require=Capability.SUMMARIES)


@pytest.fixture(scope="module")
def plain(titled: PreparedFolder) -> Summarizer:
    return Summarizer(SummarizerConfig(latent="none"), titled.tokenizer, titled.topic_vocabulary)


def test_figures_by_hand(plain: Summarizer) -> None:
    figures = summary_metrics(plain, FOUND, (1.0,), seed=0)
    assert figures["summary_length"].value == 2.5
    assert figures["summary_length"].baselines == {"references": 3.5}
    assert figures["unfinished"].value == 0.5
    assert figures["new_words"].value == pytest.approx(2 / 5), "fly, home of red, birds, fly, home, fish"
    assert figures["new_words"].baselines == {"references": pytest.approx(3 / 7)}, "of, the, sea"
    scores = rouge(FOUND.generated["beam"], FOUND.references).values
    for kind in ("1", "2", "L"):
        figure = figures[f"rouge_{kind.lower()}"]
        assert figure.value == pytest.approx(scores[f"rouge{kind}"].mean())
        assert figures[f"rouge_{kind.lower()}_75_bytes"].value == pytest.approx(scores[f"rouge{kind}_75_bytes"].mean())
        assert set(figure.baselines) == {
            "first_sentence",
            "lead_10_words",
            "lead_15_words",
            "lexrank",
            "oracle_sentence",
        }
        assert figure.baselines["first_sentence"] <= figure.baselines["oracle_sentence"]
        assert figure.parts is not None
        assert figure.parts.paired
        assert figure.parts.unit.tolist() == [2, 5]
    assert figures["rouge_1"].value == pytest.approx((2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3) + 2 / 5) / 2)
    assert figures["rouge_1_greedy"].value == pytest.approx((1 / 2 + 0) / 2)
    assert not {"different_summaries", "topic_pull_1"} & set(figures)


def both(*summaries: str) -> dict[str, list[str]]:
    """The same summaries for both decoding strategies."""
    return {strategy: [*summaries] for strategy in ("beam", "greedy")}


def test_references_without_a_word_of_rouge_are_left_out(plain: Summarizer) -> None:
    some = summary_metrics(plain, replace(FOUND, references=[["…"], ["Fish of the sea"]]), (), seed=0)["rouge_1"]
    assert some.value == pytest.approx(2 / 5)
    assert some.parts is not None
    assert some.parts.unit.tolist() == [5]
    other_scripts = replace(FOUND, references=[["鸟"], ["ماهی در دریا"]], generated=both("鸟", "ماهی"))
    found = summary_metrics(plain, other_scripts, (), seed=0)
    assert found["rouge_1"].value == pytest.approx((1 + 2 / 4) / 2)


def test_rouge_is_left_out_without_any_word(plain: Summarizer) -> None:
    found = summary_metrics(plain, replace(FOUND, references=[["!"], ["…"]]), (), seed=0)
    assert not any(id.startswith("rouge") for id in found)
    assert {"summary_length", "new_words"} <= set(found), "the rest is reported"


def test_summaries_of_several_sentences_are_tokenised_sentence_by_sentence(plain: Summarizer) -> None:
    """The tokenizer splits off a full stop at the end of a text only: "won." would be a new word."""
    documents = [["The army won.", "It rained."], ["Fish swim."]]
    summaries = ["The army won. It rained.", "Fish swim. Fish rained."]
    assert new_words(summaries, documents).tolist() == [[0, 5], [1, 4]]


def test_words_are_stemmed_for_english_only(plain: Summarizer) -> None:
    found = replace(FOUND, references=[["birds"], ["fish"]], generated=both("bird", "fish"))
    english = summary_metrics(plain, found, (), seed=0)["rouge_1"]
    german = summary_metrics(plain, replace(found, language="german"), (), seed=0)["rouge_1"]
    assert (english.value, english.unit) == (1, "F1, stemmed")
    assert (german.value, german.unit) == (0.5, "F1")


def test_the_seed_reaches_guided_summaries(
    trained: Summarizer, titled: PreparedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = summarize_held_out(trained, trained.examples(Corpus(titled, "test")), 3, seed=0)
    seeds: list[int] = []
    summarize = trained.summarize

    def recorded(*arguments: Any, seed: int = 0, **options: Any) -> Any:
        seeds.append(seed)
        return summarize(*arguments, seed=seed, **options)

    monkeypatch.setattr(trained, "summarize", recorded)
    topic_pull(trained, found, 1.0, seed=7)
    assert set(seeds) == {7}


def test_held_out_documents_are_drawn_once_and_alike(trained: Summarizer, titled: PreparedFolder) -> None:
    pairs = trained.examples(Corpus(titled, "test"))
    some, again, all_of_them = (summarize_held_out(trained, pairs, count, seed=3) for count in (5, 5, 10**6))
    assert some.index.tolist() == again.index.tolist() == sorted(set(some.index.tolist()))
    assert some.generated == again.generated
    assert all_of_them.index.tolist() == pairs.index.tolist()
    titles = pairs.table["title"].to_pylist()
    assert [given[0] for given in some.references] == [titles[i] for i in some.index]
    place = {number: row for row, number in enumerate(all_of_them.index.tolist())}
    expected = [all_of_them.generated["beam"][place[number]] for number in some.index.tolist()]
    assert some.generated["beam"] == expected


def test_further_references_come_from_the_metadata(trained: Summarizer, titled: PreparedFolder) -> None:
    pairs = copy.copy(trained.examples(Corpus(titled, "test")))
    more = json.dumps({"reference_1": "Another", "reference_2": "Third", "year": 3})
    at = pairs.table.schema.get_field_index("metadata")
    pairs.table = pairs.table.set_column(at, "metadata", pa.array([more] * len(pairs.table)))
    found = summarize_held_out(trained, pairs, 2, seed=0)
    assert [given[1:] for given in found.references] == [["Another", "Third"]] * 2


def test_the_evaluation_of_a_summarizer(trained: Summarizer, titled: PreparedFolder) -> None:
    corpora = Corpus(titled, "train"), Corpus(titled, "test")
    found = evaluate(trained, *corpora, QUICK)
    assert list(found.report) == ["language", "summaries", "topics"]
    for section, figures in found.report.items():
        for name, figure in figures.items():
            assert math.isfinite(figure.value), (section, name)
            assert figure.unit, (section, name)
            assert figure.size, (section, name)
    language, summaries = found.report["language"], found.report["summaries"]
    parts = language["reconstruction_per_title"].value + language["kl_per_title"].value
    assert language["neg_elbo_per_title"].value == pytest.approx(parts)
    assert language["perplexity_without_kl_z"].value < language["perplexity_elbo"].value
    assert summaries["rouge_1"].value > summaries["rouge_1"].baselines["lead_10_words"], (
        "it has learned to copy the name"
    )
    assert 0.2 - 1e-9 <= summaries["different_summaries"].value <= 1
    assert summaries["topic_pull_1"].baselines["chance"] == pytest.approx(1 / 3)
    without = evaluate(
        Summarizer(replace(trained.config, latent="normal"), titled.tokenizer, titled.topic_vocabulary), *corpora, QUICK
    )
    assert list(without.report) == ["language", "summaries"]
    assert "topic_pull_1" not in without.report["summaries"]


def test_a_corpus_without_titles_cannot_be_evaluated_on(corpus: Corpus, prepared: PreparedFolder) -> None:
    model = Summarizer(SummarizerConfig(latent="none"), prepared.tokenizer, prepared.topic_vocabulary)
    with pytest.raises(UserError, match="no document of the train split has a title"):
        evaluate(model, corpus, corpus, QUICK)


def test_the_command_writes_report_and_page(summarizer_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--samples", "2", "--weighted-sentences", "5", "--summaries", "6"]
    assert main(["evaluate", str(summarizer_run), *options]) == 0
    assert "ROUGE-1" in capsys.readouterr().out
    report = json.loads((summarizer_run / FOLDER / REPORT).read_text(encoding="utf-8"))
    assert len(report["summaries"]) == 6
    shown = (summarizer_run / FOLDER / PAGE).read_text(encoding="utf-8")
    assert all(row["references"][0] in shown for row in report["summaries"])

"""`tgvae score`: log p of sentences against teacher forcing by hand, and of documents against evaluation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import obeyed, refused
from tgvae.cli import score
from tgvae.cli.score import Score
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.data.tokenizers import word_tokenize
from tgvae.evaluation.likelihood import importance_weighted_nll, sentence_bound
from tgvae.formatting import format_number
from tgvae.models.base import load
from tgvae.models.sentence import LanguageModel, SentenceConfig, SentenceVAE
from tgvae.models.tgvae import TGVAE
from tgvae.random import derive_seed

SENTENCES = ["The army was near the fleet.", "Soup oven the a the!", "They saw a planet with its orbit."]


@pytest.fixture(scope="module")
def lm_run(prepared: PreparedFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    run = tmp_path_factory.mktemp("lm")
    LanguageModel.from_data(SentenceConfig(embedding_size=8, hidden_size=8), prepared).save(run)
    return run


def scores(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in obeyed(capsys, "score", *arguments, "--json").out.splitlines()]


@torch.no_grad()
def forced(model: LanguageModel, text: str) -> float:
    """log p of a sentence, token by token."""
    ids = [*model.tokenizer.encode(text), model.tokenizer.eos_id]
    state, before, log_prob = model.decoder.start(torch.zeros(1, 0)), model.tokenizer.bos_id, 0.0
    for token in ids:
        logits, state = model.decoder.step(torch.tensor([before]), state)
        log_prob, before = log_prob + logits[0].log_softmax(-1)[token].item(), token
    return log_prob


def test_language_model_is_exact(lm_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(SENTENCES), encoding="utf-8")
    model: Any = load(lm_run)
    rows = scores(capsys, lm_run, text)
    assert [row["text"] for row in rows] == SENTENCES
    assert [row["sentence"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert row["log_prob"] == pytest.approx(forced(model, row["text"]), abs=1e-3)
        assert row["words"] == len(word_tokenize(row["text"])) + 1
        assert row["perplexity"] == pytest.approx(math.exp(-row["log_prob"] / row["words"]))
        assert (row["bound"], row["samples"], row["given"]) == ("exact", None, "sentence alone")
    (document,) = scores(capsys, lm_run, text, "--by", "document")
    assert document["log_prob"] == pytest.approx(sum(row["log_prob"] for row in rows), abs=1e-3)
    assert document["words"] == sum(row["words"] for row in rows)


def test_documents_score_as_in_evaluation(prepared: PreparedFolder, guided_run: Path, guided: TGVAE) -> None:
    corpus = Corpus(prepared, "test")
    folder = PreparedFolder(guided_run, {"settings": {"max_sentence_words": 1000}})
    documents = corpus.table["sentences"].to_pylist()
    for bound in ("elbo", "importance-weighted"):
        options = Score(guided_run, by="document", bound=bound, samples=1)  # type: ignore[arg-type]
        log_prob, words, scored = score.bounds(guided, folder, documents, options, seed=3)
        if bound == "elbo":
            expected = sentence_bound(guided, corpus, derive_seed(3, 0))
        else:
            expected = importance_weighted_nll(guided, corpus, 1, seed=3).bound
        parent = corpus.sentences[:, 0]
        np.testing.assert_allclose(log_prob, -np.bincount(parent, expected.total().numpy()), rtol=1e-6)
        np.testing.assert_array_equal(words, np.bincount(parent, expected.words.numpy()))
        np.testing.assert_array_equal(scored, np.bincount(parent))


def test_bounds_are_ordered(prepared: PreparedFolder, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SentenceVAE.from_data(SentenceConfig(embedding_size=8, hidden_size=8, latent_size=2), prepared).eval()
    model.save(tmp_path)
    folder = PreparedFolder(tmp_path, {"settings": {"max_sentence_words": 1000}})
    found = {
        bound: score.bounds(model, folder, [SENTENCES], Score(tmp_path, bound=bound, samples=200), 0)[0][0]  # type: ignore[arg-type]
        for bound in ("elbo", "importance-weighted")
    }
    assert found["elbo"] < found["importance-weighted"]


def test_context_matters_by_document_only(guided_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join([SENTENCES[0]] * 3), encoding="utf-8")
    rows = scores(capsys, guided_run, text, "--samples", "300")
    (document,) = scores(capsys, guided_run, text, "--samples", "300", "--by", "document")
    assert {row["given"] for row in rows} == {"sentence alone"}
    assert (document["given"], document["bound"]) == ("rest of the document", "importance-weighted")
    assert document["log_prob"] != pytest.approx(sum(row["log_prob"] for row in rows), abs=1e-3)


def test_top_lists_the_most_surprising(lm_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.jsonl"
    long = "word " * 1000
    texts = [*SENTENCES, "", None, long]
    rows = [json.dumps({"id": f"d{number}", "text": text}) for number, text in enumerate(texts)]
    table.write_text("\n".join(rows), encoding="utf-8")
    everything = scores(capsys, lm_run, table)
    assert [row["id"] for row in everything] == ["d0", "d1", "d2", "d5"]
    assert (everything[-1]["log_prob"], everything[-1]["perplexity"], everything[-1]["unscored"]) == (None, None, 1)
    best = sorted(everything[:3], key=lambda row: -row["perplexity"])
    assert scores(capsys, lm_run, table, "--top", "2") == best[:2]
    documents = scores(capsys, lm_run, table, "--by", "document")
    assert [row["log_prob"] is None for row in documents] == [False, False, False, True, True, True]
    shown = obeyed(capsys, "score", lm_run, table).out
    total = sum(row["log_prob"] for row in everything[:3]) / sum(row["words"] for row in everything[:3])
    assert f"perplexity per word {format_number(math.exp(-total))}" in shown
    assert "exact, given: sentence alone" in shown


def test_models_without_sentences_are_refused(
    summarizer_run: Path, lm_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("The army.", encoding="utf-8")
    assert "does not support generation" in refused(capsys, "score", summarizer_run, tmp_path / "a.txt")
    assert "samples is 0" in refused(capsys, "score", lm_run, tmp_path / "a.txt", "--samples", "0")
    assert "top is 0" in refused(capsys, "score", lm_run, tmp_path / "a.txt", "--top", "0")

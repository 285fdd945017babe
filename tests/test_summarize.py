"""`tgvae summarize`: inputs of every kind, order, resumption, and what is said of odd documents."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import named_documents
from tgvae.cli import main
from tgvae.commands import summarize
from tgvae.commands.documents import keep_whole, windows
from tgvae.runs import load_summarizer

DOCUMENTS = named_documents(23, seed=7)
FAST = ["--decode.strategy", "greedy", "--decode.max-length", "8"]


def write_jsonl(path: Path, documents: list[dict[str, str]]) -> Path:
    content = "".join(json.dumps(d, ensure_ascii=False) + "\n" for d in documents)
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summarize, "WINDOW", 5)


@pytest.fixture
def out_of(summarizer_run: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[object]:
    def run(*arguments: str | Path) -> tuple[str, str]:
        capsys.readouterr()
        assert main(["summarize", str(summarizer_run), *map(str, arguments), *FAST]) == 0
        return capsys.readouterr()

    return run


def test_a_table_is_streamed_in_order(out_of, summarizer_run: Path, tmp_path: Path) -> None:
    """More documents than a window, of different lengths: ids in order, texts as from Python."""
    documents = [d | {"text": d["text"] * (1 + i % 2)} for i, d in enumerate(DOCUMENTS)]
    rows = [
        json.loads(line) for line in out_of(write_jsonl(tmp_path / "d.jsonl.gz", documents), "--json")[0].splitlines()
    ]
    assert [row["id"] for row in rows] == [d["id"] for d in documents]
    expected = load_summarizer(summarizer_run).summarize(
        [d["text"] for d in documents], settings=summarize.DecodeSettings("greedy", max_length=8)
    )
    assert [row["summaries"][0]["text"] for row in rows] == [summaries[0].text for summaries in expected]
    assert all(set(row["summaries"][0]) == {"text", "log_prob", "score", "finished"} for row in rows)
    assert all(len(row["topics"]) == 3 and sum(row["topics"].values()) == pytest.approx(1) for row in rows)
    assert [row["cut"] for row in rows] == [i % 2 == 1 for i in range(len(rows))]


def test_every_kind_of_input(out_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, title = DOCUMENTS[0]["text"], DOCUMENTS[0]["title"]
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    for name in ("folder/a.txt", "folder/deep/b.txt", "notes.md"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    table = write_jsonl(tmp_path / "t.jsonl", [{"key": "x", "body": text}])
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    columns = ["--fields.text", "body", "--fields.id", "key"]
    shown, _ = out_of(tmp_path / "folder", tmp_path / "notes.md", table, "-", *columns)
    assert shown == f"{title}\n" * 5
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert out_of()[0] == f"{title}\n", "standard input is the default"


def test_odd_documents_have_rows_and_are_counted(out_of, tmp_path: Path) -> None:
    texts = ["", DOCUMENTS[0]["text"], "<i>Zoë</i>\u2028saw “軍”\n\nno\tarmy.", DOCUMENTS[1]["text"] * 9, None]
    table = write_jsonl(tmp_path / "d.jsonl", [{"id": str(i), "text": t} for i, t in enumerate(texts)])
    shown, told = out_of(table, "--num", "2")
    lines = shown.splitlines()
    assert len(lines) == 10
    assert lines[:2] == lines[8:] == ["(empty document)"] * 2
    assert all(line.isprintable() and line != "(empty document)" for line in lines[2:8])
    assert "of 5 documents cut after 14 tokens" in told
    assert "2 of 5 documents empty" in told
    rows = [json.loads(line) for line in out_of(table, "--json")[0].splitlines()]
    assert [row["empty"] for row in rows] == [True, False, False, False, True]
    assert rows[0]["summaries"] == []


@pytest.mark.parametrize("form", [["--json"], ["--num", "3"]])
def test_an_interrupted_file_is_gone_on_with(form: list[str], out_of, tmp_path: Path) -> None:
    """Cut at any byte, the file ends as that of an uninterrupted run, and nothing is made twice."""
    table, out = write_jsonl(tmp_path / "d.jsonl", DOCUMENTS), tmp_path / "deep" / "out.txt"
    assert out_of(table, *form, "--out", out)[0] == ""
    whole = out.read_bytes()
    assert whole.decode() == out_of(table, *form)[0]
    for cut in (0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1, len(whole)):
        out.write_bytes(whole[:cut])
        out_of(table, *form, "--out", out)
        assert out.read_bytes() == whole, cut


def test_what_is_done_is_not_done_again(out_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole windows are kept, so that a batch is as it would have been."""
    table, out = write_jsonl(tmp_path / "d.jsonl", DOCUMENTS), tmp_path / "out.jsonl"
    out_of(table, "--json", "--out", out)
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:17]) + lines[17][:9])
    seen: list[str] = []
    original = summarize.summarized
    monkeypatch.setattr(summarize, "summarized", lambda m, w, o: seen.extend(d.id for d in w) or original(m, w, o))
    out_of(table, "--json", "--out", out)
    assert seen == [d["id"] for d in DOCUMENTS[15:]]


def test_summaries_of_other_documents_are_not_mixed_in(
    out_of, summarizer_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = write_jsonl(tmp_path / "d.jsonl", DOCUMENTS), tmp_path / "out.jsonl"
    out_of(write_jsonl(tmp_path / "o.jsonl", DOCUMENTS[3:12]), "--json", "--out", out)
    for other in (table, write_jsonl(tmp_path / "few.jsonl", DOCUMENTS[:2])):
        assert main(["summarize", str(summarizer_run), str(other), "--json", "--out", str(out), *FAST]) == 2
        assert "other documents" in capsys.readouterr().err


def test_topic_and_several_summaries(out_of, tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text(DOCUMENTS[0]["text"], encoding="utf-8")
    for way in (["--topic", "1"], ["--topic", "army", "--strength", "2"], ["--num", "4", "--seed", "3"]):
        shown, _ = out_of(text, *way)
        assert shown.count("\n") == (4 if "--num" in way else 1)
        assert shown == out_of(text, *way)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.txt"], "missing.txt"),
        (["missing.jsonl"], "no such file"),
        (["."], "no .txt file"),
        (["bad.jsonl"], "no field 'text'"),
        (["good.txt", "--topic", "99"], "no topic 99"),
        (["good.txt", "--num", "0"], "at least 1"),
    ],
)
def test_mistakes_are_told_with_a_remedy(
    arguments: list[str],
    message: str,
    summarizer_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if arguments != ["."]:
        Path("good.txt").write_text("The army.", encoding="utf-8")
        write_jsonl(Path("bad.jsonl"), [{"id": "1", "words": "The army."}])
    assert main(["summarize", str(summarizer_run), *arguments, *FAST]) == 2
    assert message in capsys.readouterr().err


def test_keep_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    assert keep_whole(path, 2) == (0, "")
    path.write_bytes("a\nb\nç\nd\ne\nhal".encode())
    assert keep_whole(path, 2) == (4, "d\n")
    assert path.read_bytes() == "a\nb\nç\nd\n".encode()
    assert keep_whole(path, 5) == (0, "")
    assert path.read_bytes() == b""


def test_windows() -> None:
    assert list(windows(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(windows([], 2)) == []

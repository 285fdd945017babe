"""`tgvae summarize`: inputs, order, output files, continuing, and remarks about unusual documents."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data_prep.settings import Fields
from tests.conftest import named_documents
from tgvae.cli import summarize
from tgvae.cli.inputs import Document, batched, find_inputs, read_documents
from tgvae.cli.main import main
from tgvae.errors import UserError
from tgvae.models.base import Capability
from tgvae.runs import load_run

DOCUMENTS = named_documents(23, seed=7)
FAST = ["--decode.strategy", "greedy", "--decode.max-length", "8"]
GREEDY = summarize.DecodeSettings("greedy", max_length=8)

Refused = Callable[..., str]
OutOf = Callable[..., tuple[str, str]]


def write_jsonl(path: Path, documents: list[dict[str, str]]) -> Path:
    content = "".join(json.dumps(d, ensure_ascii=False) + "\n" for d in documents)
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summarize, "BATCH", 5)


@pytest.fixture
def status_of(summarizer_run: Path) -> Callable[..., int]:
    return lambda *arguments: main(["summarize", *FAST, str(summarizer_run), *map(str, arguments)])


@pytest.fixture
def out_of(status_of: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> OutOf:
    """Return standard output and error of a command that succeeds."""

    def run(*arguments: str | Path) -> tuple[str, str]:
        capsys.readouterr()
        assert status_of(*arguments) == 0
        return capsys.readouterr()

    return run


@pytest.fixture
def refused(status_of: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> Refused:
    """Return the error message of a command that fails without output."""

    def run(*arguments: str | Path) -> str:
        capsys.readouterr()
        assert status_of(*arguments) == 2
        shown, stderr = capsys.readouterr()
        assert shown == ""
        return stderr

    return run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "d.jsonl", DOCUMENTS)


def files_in(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Return content and modification time of every file."""
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def watch(monkeypatch: pytest.MonkeyPatch, note: Callable[[list[Document]], None]) -> None:
    """Call ``note`` with every batch before it is summarized."""
    original = summarize.summarize_batch

    def summarize_batch(model: object, batch: list[Document], options: object) -> object:
        if batch:
            note(batch)
        return original(model, batch, options)  # type: ignore[arg-type]

    monkeypatch.setattr(summarize, "summarize_batch", summarize_batch)


def stop_after(done: int, status_of: Callable[..., int], *arguments: str | Path) -> None:
    """Interrupt a command after ``done`` batches."""
    seen = []

    def note(window: list[Document]) -> None:
        seen.append(window)
        if len(seen) > done:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, note)
        assert status_of(*arguments) == 130


def test_tables_are_summarized_in_order(out_of: OutOf, summarizer_run: Path, tmp_path: Path) -> None:
    """More documents than a batch, of different lengths: ids in order, texts as from Python."""
    documents = [d | {"text": d["text"] * (1 + i % 2)} for i, d in enumerate(DOCUMENTS)]
    rows = [
        json.loads(line) for line in out_of(write_jsonl(tmp_path / "d.jsonl.gz", documents), "--json")[0].splitlines()
    ]
    assert [row["id"] for row in rows] == [d["id"] for d in documents]
    model = load_run(summarizer_run, require=Capability.SUMMARIES)
    expected = model.summarize([d["text"] for d in documents], settings=GREEDY)
    assert [row["summaries"][0]["text"] for row in rows] == [summaries[0].text for summaries in expected]
    assert all(set(row["summaries"][0]) == {"text", "log_prob", "score", "finished"} for row in rows)
    assert all(len(row["topics"]) == 3 and sum(row["topics"].values()) == pytest.approx(1) for row in rows)
    assert [row["cut"] for row in rows] == [i % 2 == 1 for i in range(len(rows))]


@pytest.mark.parametrize("to_file", [False, True])
def test_no_more_than_a_batch_is_in_memory(
    to_file: bool, out_of: OutOf, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    ahead: list[int] = []

    def counted(files: list[str], fields: Fields) -> Iterator[Document]:
        for document in read_documents(files, fields):
            taken.append(document.id)
            yield document

    monkeypatch.setattr(summarize, "read_documents", counted)
    watch(monkeypatch, lambda batch: ahead.append(len(taken)))
    out_of(table, *(["--out", tmp_path / "out"] if to_file else []))
    assert ahead == [5, 10, 15, 20, 23]


def test_tables_are_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"id": "a", "text": "One."}\nbroken\n', encoding="utf-8")
    documents = read_documents([str(path)], Fields())
    assert next(documents) == Document("a", "One.")
    with pytest.raises(UserError, match=r"d\.jsonl:2: not JSON"):
        next(documents)


def test_every_kind_of_input(out_of: OutOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, title = DOCUMENTS[0]["text"], DOCUMENTS[0]["title"]
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    for name in ("folder/a.txt", "folder/deep/b.txt", "notes.md"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name in ("folder/c.txt.gz", "paper.txt.gz"):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    table = write_jsonl(tmp_path / "t.jsonl", [{"key": "x", "body": text, "split": "first half"}])
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    columns = ["--fields.text", "body", "--fields.id", "key"]
    shown, _ = out_of(tmp_path / "folder", tmp_path / "paper.txt.gz", tmp_path / "notes.md", table, "-", *columns)
    assert shown == f"{title}\n" * 7
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert out_of()[0] == f"{title}\n", "standard input is the default"
    split = write_jsonl(tmp_path / "s.jsonl", [{"split": text}])
    assert out_of(split, "--fields.text", "split")[0] == f"{title}\n"


def test_folders_are_read_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt.gz", "c/a.txt", "d.txt/e.txt", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_inputs([str(tmp_path), "-"])
    assert found == [str(tmp_path / name) for name in ("a.txt.gz", "b.txt", "c/a.txt", "d.txt/e.txt", "notes.md")] + [
        "-"
    ]


def test_a_pipe_is_read_once(out_of: OutOf) -> None:
    """As the shell makes one for <(command)."""
    reading, writing = os.pipe()
    os.write(writing, DOCUMENTS[0]["text"].encode())
    os.close(writing)
    assert out_of(f"/dev/fd/{reading}")[0] == f"{DOCUMENTS[0]['title']}\n"
    os.close(reading)


def test_empty_and_long_documents_are_counted(out_of: OutOf, tmp_path: Path) -> None:
    texts = ["", DOCUMENTS[0]["text"], "<i>Zoë</i>\u2028saw “軍”\n\nno\tarmy.", DOCUMENTS[1]["text"] * 9, None]
    table = write_jsonl(tmp_path / "d.jsonl", [{"id": str(i), "text": t} for i, t in enumerate(texts)])
    shown, stderr = out_of(table, "--num", "2")
    lines = shown.splitlines()
    assert len(lines) == 10
    assert lines[:2] == lines[8:] == ["(empty document)"] * 2
    assert all(line.isprintable() and line != "(empty document)" for line in lines[2:8])
    assert "of 5 documents cut after 14 tokens" in stderr
    assert "2 of 5 documents empty" in stderr
    alike = sum(first == second for first, second in zip(lines[2:8:2], lines[3:8:2], strict=True))
    assert re.findall(r"(\d+) of 5 documents have fewer", stderr) == [str(alike)] * (alike > 0)
    rows = [json.loads(line) for line in out_of(table, "--json")[0].splitlines()]
    assert [row["empty"] for row in rows] == [True, False, False, False, True]
    assert rows[0]["summaries"] == []


def test_lone_surrogates_are_escaped(out_of: OutOf, tmp_path: Path) -> None:
    """In an id, in a text, and in a file name."""
    table = tmp_path / "d.jsonl"
    table.write_text(json.dumps({"id": "\ud800x", "text": f"\udfff{DOCUMENTS[0]['text']}"}) + "\n", encoding="ascii")
    odd = Path(os.fsdecode(os.fsencode(tmp_path / "odd") + b"\xff.txt"))
    odd.write_text(DOCUMENTS[1]["text"], encoding="utf-8")
    out = tmp_path / "out.jsonl"
    assert out_of(table, odd, "--json", "--out", out)[0] == ""
    assert [json.loads(line)["id"] for line in out.read_text("utf-8").splitlines()] == ["\\ud800x", str(odd)]
    assert out_of(table, odd, "--json")[0] == out.read_text("utf-8")


@pytest.mark.parametrize("form", [["--json"], ["--num", "3"]])
def test_an_interrupted_file_is_continued(
    form: list[str], out_of: OutOf, refused: Refused, status_of: Callable[..., int], table: Path, tmp_path: Path
) -> None:
    """The result equals that of an uninterrupted command, also if a document was written in part."""
    out = tmp_path / "deep" / "out.txt"
    whole = out_of(table, *form)[0].encode()
    for done, partial in ((0, b""), (1, b""), (3, whole[:9]), (4, b"\xe2")):
        stop_after(done, status_of, table, *form, "--out", out)
        written = out.read_bytes()
        assert whole.startswith(written)
        out.write_bytes(written + partial)
        if done:
            before = files_in(tmp_path)
            for skip in ("0", "99"):
                stderr = refused(table, *form, "--out", out, "--skip", skip)
                assert f"continue its {5 * done} documents with --skip {5 * done}" in stderr
            assert files_in(tmp_path) == before
        out_of(table, *form, "--out", out, "--skip", str(5 * done))
        assert out.read_bytes() == whole, done
        out.unlink()


def test_stopping_says_how_to_continue(
    status_of: Callable[..., int], out_of: OutOf, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = out_of(table)[0]
    stop_after(2, status_of, table)
    first, stderr = capsys.readouterr()
    assert "stopped after 10 documents; continue with --skip 10" in stderr
    assert first + out_of(table, "--skip", "10")[0] == whole


def test_a_repaired_input_is_continued(status_of: Callable[..., int], out_of: OutOf, tmp_path: Path) -> None:
    table, out = tmp_path / "d.jsonl", tmp_path / "out.jsonl"
    write_jsonl(table, [*DOCUMENTS[:12], {"id": "?", "text": 5}, *DOCUMENTS[12:]])
    assert status_of(table, "--json", "--out", out) == 2
    assert out.read_bytes().count(b"\n") == 10
    out_of(write_jsonl(table, DOCUMENTS), "--json", "--out", out, "--skip", "10")
    assert out.read_text(encoding="utf-8") == out_of(table, "--json")[0]


def test_an_empty_file_is_written_and_any_other_is_not(
    out_of: OutOf, refused: Refused, table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.txt"
    out.touch()
    out_of(table, "--out", out)
    assert out.read_text(encoding="utf-8") == out_of(table)[0]
    for content in (b"my notes\n" * 40, b"no line"):
        out.write_bytes(content)
        assert "choose another --out" in refused(table, "--out", out)
        assert out.read_bytes() == content
    (tmp_path / "d.csv").write_text("id,text\n", encoding="utf-8")
    out_of(tmp_path / "d.csv", "--out", tmp_path / "empty.txt")
    assert (tmp_path / "empty.txt").read_bytes() == b""


def test_the_output_is_not_an_input(
    out_of: OutOf, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts/deep").mkdir(parents=True)
    for name in ("paper.txt", "texts/a.txt", "texts/empty.txt"):
        Path(name).write_text("" if "empty" in name else DOCUMENTS[0]["text"], encoding="utf-8")
    os.link("paper.txt", "hard.txt")
    Path("soft.txt").symlink_to("texts/a.txt")
    before = files_in(tmp_path)
    pairs = [
        ("paper.txt", "paper.txt"),
        ("paper.txt", tmp_path / "texts" / ".." / "paper.txt"),
        ("paper.txt", "hard.txt"),
        ("texts", "soft.txt"),
        ("texts/empty.txt", "texts/empty.txt"),
        ("texts", "texts/empty.txt"),
        ("texts", "texts/new.jsonl"),
        (".", "texts/deep/new.jsonl"),
    ]
    for given, out in pairs:
        assert "or inside it; choose another --out" in refused("paper.txt", given, "--out", out)
    assert "not a file" in refused("paper.txt", "--out", "texts")
    assert "texts/a.txt" in refused("paper.txt", "--out", "texts/a.txt/new")
    assert files_in(tmp_path) == before
    out_of("texts/a.txt", "--out", "texts/a.md")


@pytest.mark.parametrize("other", ["missing.txt", "missing.jsonl", "empty", "x" * 300])
def test_all_inputs_are_checked_first(
    other: str, refused: Refused, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    before = files_in(tmp_path)
    assert other[:100] in refused(table, other)
    refused(table, other, "--out", "deep/out.txt")
    assert files_in(tmp_path) == before
    assert not Path("deep").exists()


@pytest.mark.parametrize(
    "way", [{"topic": 1}, {"topic": "army", "strength": 2.0}, {"num": 4, "seed": 3}, {"num": 4, "seed": 4}]
)
def test_options_reach_the_model(way: dict[str, object], out_of: OutOf, summarizer_run: Path, tmp_path: Path) -> None:
    """Scores are those of the same call from Python, and differ from those of a call without options."""
    text = tmp_path / "t.txt"
    text.write_text(DOCUMENTS[0]["text"], encoding="utf-8")
    words = [word for name, value in way.items() for word in (f"--{name}", str(value))]
    (row,) = map(json.loads, out_of(text, "--json", *words)[0].splitlines())
    model = load_run(summarizer_run, require=Capability.SUMMARIES)
    (expected,) = model.summarize([DOCUMENTS[0]["text"]], settings=GREEDY, **way)
    (plain,) = model.summarize([DOCUMENTS[0]["text"]], way.get("num", 1), settings=GREEDY)
    scores = [summary["log_prob"] for summary in row["summaries"]]
    assert scores == pytest.approx([summary.log_prob for summary in expected])
    assert scores != pytest.approx([summary.log_prob for summary in plain])
    assert out_of(text, *words)[0] == "".join(f"{summary.text}\n" for summary in expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.txt"], "missing.txt: no such file"),
        (["missing.jsonl"], "no such file"),
        (["."], "no .txt file"),
        (["bad.jsonl"], "bad.jsonl:1: no field 'text' for the text (fields here: id, words)"),
        (["bad.txt"], "bad.txt: cannot be read as UTF-8 text"),
        (["bad.txt.gz"], "bad.txt.gz: cannot be read as UTF-8 text"),
        (["good.txt", "--topic", "99"], "no topic 99"),
        (["good.txt", "--num", "0"], "at least 1"),
    ],
)
@pytest.mark.parametrize("to_file", [False, True])
def test_errors_are_explained(
    arguments: list[str],
    message: str,
    to_file: bool,
    refused: Refused,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if arguments != ["."]:
        Path("good.txt").write_text("The army.", encoding="utf-8")
        Path("bad.txt").write_bytes(b"\xff")
        Path("bad.txt.gz").write_bytes(gzip.compress(b"The army.")[:-9])
        write_jsonl(Path("bad.jsonl"), [{"id": "1", "words": "The army."}])
    assert message in refused(*arguments, *(["--out", tmp_path / "out.txt"] if to_file else []))
    if "--num" in arguments or "--topic" in arguments:
        assert not list(tmp_path.glob("out.txt*"))


def test_summaries_that_are_cut_or_alike_are_counted(out_of: OutOf, table: Path) -> None:
    def summaries(*options: str) -> tuple[list[list[dict[str, object]]], str]:
        shown, stderr = out_of(table, "--json", "--num", "3", *options)
        return [json.loads(line)["summaries"] for line in shown.splitlines()], stderr

    def alike(rows: list[list[dict[str, object]]]) -> int:
        return sum(len({summary["text"] for summary in row}) < 3 for row in rows)

    rows, stderr = summaries()
    more = "--decode.strategy sample varies more"
    assert alike(rows) > 0
    assert f"\n{alike(rows)} of 23 documents have fewer than 3 different summaries; {more}\n" in f"\n{stderr}"
    assert "different" not in out_of(table)[1]
    sample = ["--decode.strategy", "sample", "--decode.max-length", "6", "--decode.temperature"]
    rows, stderr = summaries(*sample, "2")
    long = sum(not summary["finished"] for row in rows for summary in row)
    assert 0 < long < 69
    assert f"{long} of 69 summaries cut at 6 tokens\n" in stderr
    rows, stderr = summaries(*sample, "0.01")
    assert f"{alike(rows)} of 23 documents have fewer than 3 different summaries\n" in stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stdout", ["terminal", "pipe"])
@pytest.mark.parametrize("to_file", [False, True])
def test_progress_is_not_mixed_with_summaries(
    stdout: str,
    to_file: bool,
    status_of: Callable[..., int],
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = {"stdout": Terminal() if stdout == "terminal" else io.StringIO(), "stderr": Terminal()}
    for name, stream in streams.items():
        monkeypatch.setattr(f"sys.{name}", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("tgvae.progress.DELAY", 0.01)
    watch(monkeypatch, lambda batch: time.sleep(0.1))
    assert status_of(table, "--json", *(["--out", tmp_path / "out"] if to_file else [])) == 0
    shown, stderr = (stream.getvalue() for stream in streams.values())
    rows = (tmp_path / "out").read_text(encoding="utf-8") if to_file else shown
    assert [json.loads(line)["id"] for line in rows.splitlines()] == [d["id"] for d in DOCUMENTS]
    assert ("summarizing documents" in stderr) == (to_file or stdout == "pipe")


def test_batched() -> None:
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batched([], 2)) == []

"""`tgvae summarize`: inputs of every kind, order, what becomes of output files, and what is said of odd documents."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from data_prep.settings import Fields
from tests.conftest import named_documents
from tgvae.cli import summarize
from tgvae.cli.inputs import Document, find_inputs, read_documents, windows
from tgvae.cli.main import main
from tgvae.cli.resumable import ResumableFile
from tgvae.errors import UserError
from tgvae.models.base import WEIGHTS, Capability
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
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summarize, "WINDOW", 5)


@pytest.fixture
def status_of(summarizer_run: Path) -> Callable[..., int]:
    return lambda *arguments: main(["summarize", *FAST, str(summarizer_run), *map(str, arguments)])


@pytest.fixture
def out_of(status_of: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> OutOf:
    """Standard output and error of a command that ends well."""

    def run(*arguments: str | Path) -> tuple[str, str]:
        capsys.readouterr()
        assert status_of(*arguments) == 0
        return capsys.readouterr()

    return run


@pytest.fixture
def refused(status_of: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> Refused:
    """What is told of a mistake; nothing was written to standard output."""

    def run(*arguments: str | Path) -> str:
        capsys.readouterr()
        assert status_of(*arguments) == 2
        shown, told = capsys.readouterr()
        assert shown == ""
        return told

    return run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "d.jsonl", DOCUMENTS)


def files_in(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Content and time of change of every file."""
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def watch(monkeypatch: pytest.MonkeyPatch, note: Callable[[list[Document]], None]) -> None:
    """Call ``note`` with every window before it is summarized."""
    original = summarize.summarized

    def summarized(model: object, window: list[Document], options: object) -> object:
        if window:
            note(window)
        return original(model, window, options)

    monkeypatch.setattr(summarize, "summarized", summarized)


def stop_after(done: int, status_of: Callable[..., int], *arguments: str | Path) -> None:
    """A command that is interrupted when it has written so many windows."""
    seen = []

    def note(window: list[Document]) -> None:
        seen.append(window)
        if len(seen) > done:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, note)
        assert status_of(*arguments) == 130


def test_a_table_comes_in_order(out_of: OutOf, summarizer_run: Path, tmp_path: Path) -> None:
    """More documents than a window, of different lengths: ids in order, texts as from Python."""
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
def test_no_more_than_a_window_is_in_memory(
    to_file: bool, out_of: OutOf, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    ahead: list[int] = []

    def counted(files: list[str], fields: Fields) -> Iterator[Document]:
        for document in read_documents(files, fields):
            taken.append(document.id)
            yield document

    monkeypatch.setattr(summarize, "read_documents", counted)
    watch(monkeypatch, lambda window: ahead.append(len(taken)))
    out_of(table, *(["--out", tmp_path / "out"] if to_file else []))
    assert ahead == [5, 10, 15, 20, 23]


def test_a_row_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
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


def test_a_folder_stands_for_its_texts_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt.gz", "c/a.txt", "d.txt/e.txt", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_inputs([str(tmp_path), "-"])
    assert found == [str(tmp_path / name) for name in ("a.txt.gz", "b.txt", "c/a.txt", "d.txt/e.txt")] + ["-"]


def test_a_pipe_is_read_once(out_of: OutOf) -> None:
    """As the shell makes one for <(command)."""
    reading, writing = os.pipe()
    os.write(writing, DOCUMENTS[0]["text"].encode())
    os.close(writing)
    assert out_of(f"/dev/fd/{reading}")[0] == f"{DOCUMENTS[0]['title']}\n"
    os.close(reading)


def test_odd_documents_have_rows_and_are_counted(out_of: OutOf, tmp_path: Path) -> None:
    texts = ["", DOCUMENTS[0]["text"], "<i>Zoë</i>\u2028saw “軍”\n\nno\tarmy.", DOCUMENTS[1]["text"] * 9, None]
    table = write_jsonl(tmp_path / "d.jsonl", [{"id": str(i), "text": t} for i, t in enumerate(texts)])
    shown, told = out_of(table, "--num", "2")
    lines = shown.splitlines()
    assert len(lines) == 10
    assert lines[:2] == lines[8:] == ["(empty document)"] * 2
    assert all(line.isprintable() and line != "(empty document)" for line in lines[2:8])
    assert "of 5 documents cut after 14 tokens" in told
    assert "2 of 5 documents empty" in told
    alike = sum(first == second for first, second in zip(lines[2:8:2], lines[3:8:2], strict=True))
    assert re.findall(r"(\d+) of 5 documents have fewer", told) == [str(alike)] * (alike > 0)
    rows = [json.loads(line) for line in out_of(table, "--json")[0].splitlines()]
    assert [row["empty"] for row in rows] == [True, False, False, False, True]
    assert rows[0]["summaries"] == []


def test_lone_surrogates_are_escaped(out_of: OutOf, tmp_path: Path) -> None:
    """In an id from JSON, in a text, and in the name of a file that is not UTF-8."""
    table = tmp_path / "d.jsonl"
    table.write_text(json.dumps({"id": "\ud800x", "text": f"\udfff{DOCUMENTS[0]['text']}"}) + "\n", encoding="ascii")
    odd = Path(os.fsdecode(os.fsencode(tmp_path / "odd") + b"\xff.txt"))
    odd.write_text(DOCUMENTS[1]["text"], encoding="utf-8")
    out = tmp_path / "out.jsonl"
    assert out_of(table, odd, "--json", "--out", out)[0] == ""
    assert [json.loads(line)["id"] for line in out.read_text("utf-8").splitlines()] == ["\\ud800x", str(odd)]
    assert out_of(table, odd, "--json")[0] == out.read_text("utf-8")
    assert "nothing is left to do" in out_of(table, odd, "--json", "--out", out)[1]


@pytest.mark.parametrize("form", [["--json"], ["--num", "3"]])
def test_an_interrupted_file_is_gone_on_with(
    form: list[str],
    out_of: OutOf,
    status_of: Callable[..., int],
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file ends as that of an uninterrupted run, whatever was half written, and nothing is made twice."""
    out = tmp_path / "deep" / "out.txt"
    whole = out_of(table, *form)[0].encode()
    for done, half in ((0, b""), (1, b""), (3, whole[:9]), (4, b"\xe2")):
        stop_after(done, status_of, table, *form, "--out", out)
        there = out.read_bytes()
        assert whole.startswith(there)
        out.write_bytes(there + half)
        seen: list[str] = []
        with monkeypatch.context() as patch:
            watch(patch, lambda window, seen=seen: seen.extend(d.id for d in window))
            told = out_of(table, *form, "--out", out)[1]
        assert out.read_bytes() == whole, done
        assert seen == [d["id"] for d in DOCUMENTS[5 * done :]]
        assert (f"{5 * done} documents are there already\n" in told) == (done > 0)
        out.unlink()


def test_a_mended_input_is_gone_on_with(out_of: OutOf, refused: Refused, tmp_path: Path) -> None:
    """A damaged row late in a table costs nothing of what was done before it."""
    table, out = tmp_path / "d.jsonl", tmp_path / "out.jsonl"
    write_jsonl(table, [*DOCUMENTS[:12], {"id": "?"}, *DOCUMENTS[12:]])
    assert "d.jsonl:13: no field 'text'" in refused(table, "--json", "--out", out)
    assert out.read_bytes().count(b"\n") == 10
    out_of(write_jsonl(table, DOCUMENTS), "--json", "--out", out)
    assert out.read_text(encoding="utf-8") == out_of(table, "--json")[0]


@pytest.mark.parametrize("form", [["--json"], ["--num", "2"]])
def test_a_finished_file_is_left_alone(form: list[str], out_of: OutOf, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "results" / "out.txt"
    out_of(table, *form, "--out", out)
    before = files_in(tmp_path)
    told = out_of(table, *form, "--out", out)[1]
    assert "23 documents are there already, and these are all: nothing is left to do" in told
    assert files_in(tmp_path) == before


def test_a_removed_or_empty_file_is_begun_anew(out_of: OutOf, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    out.touch()
    out_of(table, "--json", "--out", out)
    for change in (out.unlink, lambda: out.write_bytes(b"")):
        change()
        told = out_of(table, "--num", "2", "--out", out)[1]
        assert "already" not in told
        assert out.read_text(encoding="utf-8") == out_of(table, "--num", "2")[0]


def test_a_table_without_rows_gives_an_empty_file(out_of: OutOf, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("id,text\n", encoding="utf-8")
    out_of(tmp_path / "d.csv", "--out", tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_bytes() == b""


CHANGES = {
    "json": ["--json"],
    "num": ["--num", "3"],
    "seed": ["--seed", "1"],
    "topic": ["--topic", "1"],
    "strength": ["--strength", "2"],
    "decode": ["--decode.min-length", "2"],
    "fields": ["--fields.text", "title"],
}


@pytest.mark.parametrize("finished", [False, True])
def test_other_options_are_not_mixed_in(
    finished: bool, out_of: OutOf, status_of: Callable[..., int], refused: Refused, table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.txt"
    arguments = [table, "--num", "2", "--out", out]
    if finished:
        out_of(*arguments)
    else:
        stop_after(2, status_of, *arguments)
    before = files_in(tmp_path)
    for name, change in CHANGES.items():
        assert f"was begun with other {name};" in refused(*arguments, *change)
        assert files_in(tmp_path) == before


def test_another_run_is_not_mixed_in(out_of: OutOf, table: Path, summarizer_run: Path, tmp_path: Path) -> None:
    """Weights count, not the name of the folder."""
    out, run = tmp_path / "out.txt", tmp_path / "run"
    out_of(table, "--out", out)
    before = out.read_bytes()
    shutil.copytree(summarizer_run, run)
    arguments = ["summarize", *FAST, str(run), str(table), "--out", str(out)]
    assert main(arguments) == 0
    weights = load_file(run / WEIGHTS)
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, run / WEIGHTS)
    assert main(arguments) == 2
    assert out.read_bytes() == before


@pytest.mark.parametrize("form", [["--json"], ["--num", "2"]])
def test_summaries_of_other_documents_are_not_mixed_in(
    form: list[str], out_of: OutOf, refused: Refused, tmp_path: Path
) -> None:
    table, out = tmp_path / "d.jsonl", tmp_path / "out.txt"
    changed = [*DOCUMENTS[:4], DOCUMENTS[4] | {"text": "The army."}, *DOCUMENTS[5:9]]
    out_of(write_jsonl(table, DOCUMENTS[:9]), *form, "--out", out)
    for others in (DOCUMENTS[1:], DOCUMENTS[:2], DOCUMENTS[8::-1], changed):
        write_jsonl(table, others)
        before = files_in(tmp_path)
        assert "other documents" in refused(table, *form, "--out", out)
        assert files_in(tmp_path) == before


FOREIGN = {
    "a file of somebody": {"out.txt": "mine\n" * 40},
    "a note of somebody": {"out.txt.progress.json": '{"mine": 1}'},
    "a note that is no JSON": {"out.txt.progress.json": "mine"},
    "a file that is written to": {"out.txt": None},
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("form", [["--json"], ["--num", "2"]])
def test_nothing_else_is_overwritten(
    name: str, form: list[str], out_of: OutOf, refused: Refused, table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.txt"
    for path, content in FOREIGN[name].items():
        if content is None:  # what the command wrote, changed since in its middle, cut, and replaced
            out_of(table, *form, "--out", out)
            whole = out.read_bytes()
            contents = [whole[:9] + b"?" + whole[10:], whole[:-1], b"mine\n", whole.replace(b"the", b"a")]
        else:
            contents = [content.encode()]
        for data in contents:
            (tmp_path / path).write_bytes(data)
            before = files_in(tmp_path)
            assert "choose another --out, or remove the file" in refused(table, *form, "--out", out)
            assert files_in(tmp_path) == before


def test_a_file_in_the_place_of_one_just_begun_is_not_taken_for_it(
    status_of: Callable[..., int], refused: Refused, table: Path, tmp_path: Path
) -> None:
    """No byte of it was written by the command that noted what it is made with."""
    out = tmp_path / "out.txt"
    stop_after(0, status_of, table, "--out", out)
    assert out.read_bytes() == b""
    out.write_text("mine\n", encoding="utf-8")
    assert "is not what was written there" in refused(table, "--out", out)
    assert out.read_text(encoding="utf-8") == "mine\n"


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
    assert "cannot be written" in refused("paper.txt", "--out", "texts/a.txt/new")
    assert files_in(tmp_path) == before
    out_of("texts/a.txt", "--out", "texts/a.md")


@pytest.mark.parametrize("other", ["missing.txt", "missing.jsonl", "empty", "x" * 300])
def test_all_inputs_are_looked_at_before_any_is_summarized(
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
def test_mistakes_are_told_with_a_remedy(
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


def test_summaries_that_are_cut_or_alike_are_counted(
    out_of: OutOf, status_of: Callable[..., int], table: Path, tmp_path: Path
) -> None:
    def summaries(*options: str) -> tuple[list[list[dict[str, object]]], str]:
        shown, told = out_of(table, "--json", "--num", "3", *options)
        return [json.loads(line)["summaries"] for line in shown.splitlines()], told

    def alike(rows: list[list[dict[str, object]]]) -> int:
        return sum(len({summary["text"] for summary in row}) < 3 for row in rows)

    rows, told = summaries()
    more = "--decode.strategy sample varies more"
    assert 0 < alike(rows[15:]) < alike(rows)
    assert f"\n{alike(rows)} of 23 documents have fewer than 3 different summaries; {more}\n" in f"\n{told}"
    assert "different" not in out_of(table)[1]
    stop_after(3, status_of, table, "--num", "3", "--out", tmp_path / "out.txt")
    told = out_of(table, "--num", "3", "--out", tmp_path / "out.txt")[1]
    assert f"{alike(rows[15:])} of 8 new documents have fewer than 3" in told

    sample = ["--decode.strategy", "sample", "--decode.max-length", "6", "--decode.temperature"]
    rows, told = summaries(*sample, "2")
    long = sum(not summary["finished"] for row in rows for summary in row)
    assert 0 < long < 69
    assert f"{long} of 69 summaries cut at 6 tokens\n" in told
    rows, told = summaries(*sample, "0.01")
    assert f"{alike(rows)} of 23 documents have fewer than 3 different summaries\n" in told


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("shown_on", ["terminal", "pipe"])
@pytest.mark.parametrize("told_on", ["terminal", "pipe"])
@pytest.mark.parametrize("to_file", [False, True])
def test_progress(
    shown_on: str,
    told_on: str,
    to_file: bool,
    status_of: Callable[..., int],
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It moves on a terminal that has no summaries; else it is plain lines. Summaries stay as they are."""
    streams = {name: Terminal() if on == "terminal" else io.StringIO() for name, on in
               (("stdout", shown_on), ("stderr", told_on))}  # fmt: skip
    for name, stream in streams.items():
        monkeypatch.setattr(f"sys.{name}", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(summarize, "PATIENCE", 0.01)
    monkeypatch.setattr(summarize, "EVERY", 0.02)
    watch(monkeypatch, lambda window: time.sleep(0.05))
    assert status_of(table, "--json", *(["--out", tmp_path / "out"] if to_file else [])) == 0
    shown, told = (stream.getvalue() for stream in streams.values())
    if to_file:
        assert shown == ""
        shown = (tmp_path / "out").read_text(encoding="utf-8")
    assert [json.loads(line)["id"] for line in shown.splitlines()] == [d["id"] for d in DOCUMENTS]
    moves = told_on == "terminal" and (to_file or shown_on == "pipe")
    assert ("\x1b[" in told) == moves
    plain = [line for line in told.split("\n") if line.startswith("5 documents, ") and line.endswith(" a second")]
    assert bool(plain) != moves


def test_a_short_command_shows_no_progress(out_of: OutOf, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summarize, "PATIENCE", 60.0)
    (closing,) = out_of(table)[1].splitlines()
    assert closing.startswith("next: tgvae evaluate ")


def test_a_block_is_noted_when_it_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is told, and what was written of the block is not taken for a whole one."""
    path, documents = tmp_path / "out", [Document(str(i), "x") for i in range(4)]
    with ResumableFile(path, {"seed": 0}) as file:
        file.append(documents[:2], "a\nb\n")

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(UserError, match=r"cannot be written.*No space left"):
                file.append(documents[2:], "c\nd\n")
    assert path.read_bytes() == b"a\nb\nc\nd\n"
    again, stream = ResumableFile(path, {"seed": 0}), iter(documents)
    assert again.skip(stream) == 2
    assert next(stream) == documents[2]
    with again:
        assert path.read_bytes() == b"a\nb\n"
        again.append(documents[2:], "C\nD\n")
    assert path.read_bytes() == b"a\nb\nC\nD\n"
    assert ResumableFile(path, {"seed": 0}).skip(iter(documents)) == 4


def test_windows() -> None:
    assert list(windows(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(windows([], 2)) == []

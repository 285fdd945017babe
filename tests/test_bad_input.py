"""Dirty corpora and odd options: each is told in a message that names place and remedy, or gives a right result.

The campaign in ``scripts/campaigns/fuzz.py`` tries arbitrary bytes.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from data_prep.corpora import open_corpus
from data_prep.corpora.base import RawDocument, Skipped
from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tests.conftest import out_of, refused
from tgvae.cli.main import main
from tgvae.data.languages import WordRules
from tgvae.data.schema import SKIPPED, SPLITS, PreparedFolder
from tgvae.data.tokenizers import clean_text, cut_words, split_sentences, word_tokenize
from tgvae.errors import UserError
from tgvae.files import write_bytes

TEXT = "The army was near the border. Nobody saw the general with his soldiers, again."
TINY = PrepareSettings(
    vocabulary_size=2000,
    min_document_words=1,
    min_document_frequency=1,
    max_document_frequency=1,
    stop_words="none",
    duplicates="keep",
)
SMALL = (
    *("--vocabulary-size", "300", "--min-document-words", "1", "--min-document-frequency", "1", "--workers", "1"),
    *("--duplicates", "keep"),
)
ALL_WORDS = ("--max-document-frequency", "1", "--stop-words", "none", "--splits", "0.8", "0.1", "0.1")
TRAIN = (
    *("--model.topic.topics=2", "--model.topic.hidden-size=4", "--train.phases.topics.epochs=2"),
    *("--model.sentence.embedding-size=4", "--model.sentence.hidden-size=4", "--model.sentence.latent-size=2"),
    *("--train.phases.sentences.epochs=2", "--train.device=cpu"),
)


def read(source: Path) -> list[RawDocument | Skipped]:
    return list(open_corpus(source, PrepareSettings()).documents())


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


ODD = st.one_of(st.text(max_size=80), st.text("ab. \"'`!?<>&;\n\t\u0301\u200f\u05d0\U0001f600\u4e00", max_size=80))


@settings(derandomize=True, deadline=None, max_examples=15, phases=[Phase.explicit, Phase.generate])
@given(documents=st.lists(st.one_of(ODD, st.lists(ODD, max_size=4)), max_size=8))
def test_every_document_is_in_a_split_or_skipped_once(
    documents: list[str | list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """And what it becomes is what a few lines make of it."""
    place = tmp_path_factory.mktemp("odd")
    texts = {f"{split} {i}": f"{TEXT} {i}." for split in SPLITS for i in range(2)}
    texts |= {f"train odd {i}": text for i, text in enumerate(documents)}
    rows = [{"id": name, "text": text, "split": name.split()[0]} for name, text in texts.items()]
    folder = PreparedFolder.open(prepare(jsonl(place / "c.jsonl", *rows), place / "out", TINY, workers=1), verify=True)
    found = {row["id"]: row for split in SPLITS for row in folder.split(split).to_pylist()}
    skipped = [json.loads(line)["id"] for line in (folder.path / SKIPPED).read_bytes().splitlines()]
    assert Counter([*found, *skipped]) == Counter(list(texts))
    for name, row in found.items():
        given = texts[name]
        sentences = split_sentences(clean_text(given)) if isinstance(given, str) else list(map(clean_text, given))
        sentences = [" ".join(s.split()) if isinstance(given, list) else s for s in sentences if s]
        assert row["sentences"] == sentences
        for sentence, tokens, words, topic_words in zip(
            sentences, row["tokens"], row["words"], row["topic_words"], strict=True
        ):
            known = [w for w in WordRules().words(sentence) if w in folder.topic_vocabulary.words]
            assert [folder.topic_vocabulary.words[i] for i in topic_words] == known
            if words:
                assert folder.tokenizer.decode(tokens).split() == sentence.split()


BAD_ROWS: list[tuple[str, str]] = [
    ('{"text": "x", "n": ' + "[" * 100_000 + "}", r"c\.jsonl:2: not JSON \(maximum recursion"),
    ('{"text": "x", "n": ' + "1" * 10_000 + "}", r"c\.jsonl:2: not JSON \(Exceeds the limit"),
    ('{"text": ' + "[" * 900 + "]" * 900 + "}", r"c\.jsonl:2: field 'text' holds \[\[.*--fields\.text"),
    ('{"text": "x", "split": "' + "y" * 999 + '"}', r"c\.jsonl:2: field 'split' says 'y{40}'; a split is"),
]


@pytest.mark.parametrize(("row", "message"), BAD_ROWS)
def test_rows_that_cannot_be_read(row: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"text": "x"}\n' + row + "\n")
    with pytest.raises(UserError, match=message):
        read(tmp_path / "c.jsonl")


def test_cells_that_are_missing_are_none(tmp_path: Path) -> None:
    """NaN is what pandas writes for them, "" what CSV has."""
    for missing in (None, "", float("nan")):
        row = {"text": "x", **dict.fromkeys(("id", "title", "label", "summary", "split"), missing)}
        first, second = read(jsonl(tmp_path / "c.jsonl", row, {"text": missing}))
        assert isinstance(first, RawDocument)
        assert (first.id, first.title, first.label, first.summary, first.split) == ("c/1", None, None, None, None)
        assert second == Skipped("c/2", f"{tmp_path / 'c.jsonl'}:2", "empty")


def test_lone_surrogates_in_ids_are_escaped(tmp_path: Path) -> None:
    good = [{"id": f"{split}{i}", "text": TEXT, "split": split} for split in SPLITS for i in range(2)]
    odd = {"id": "\ud800", "text": f"{TEXT} \udfff", "label": "\ud800", "split": "train", "more": "\ud800"}
    source = jsonl(tmp_path / "c.jsonl", *good, odd, {"id": "\ud801", "text": None})
    folder = PreparedFolder.open(prepare(source, tmp_path / "out", TINY, workers=1))
    row = folder.split("train").to_pylist()[-1]
    assert (row["id"], row["label"], json.loads(row["metadata"])) == ("\\ud800", None, {"more": "\ud800"})
    assert json.loads((folder.path / SKIPPED).read_bytes())["id"] == "\\ud801"


def test_parquet_that_python_cannot_hold(tmp_path: Path) -> None:
    latin = pa.array([b"caf\xe9"], pa.binary()).view(pa.string())
    tables = {
        "two columns are called 'text'": pa.table([["x"], ["y"]], names=["text", "text"]),
        "not a readable parquet.*'utf-8' codec": pa.table({"text": latin}),
        "not a readable parquet.*out of range": pa.table({"text": ["x"], "t": pa.array([2**62], pa.timestamp("us"))}),
    }
    for message, table in tables.items():
        pq.write_table(table, tmp_path / "c.parquet")
        with pytest.raises(UserError, match=rf"c\.parquet: .*{message}"):
            read(tmp_path / "c.parquet")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def make_unreadable(path: Path) -> None:
    path.symlink_to("/proc/self/mem")  # a file whose first byte cannot be read, whoever asks


PLACES: list[tuple[Callable[[Path], None], str]] = [
    (make_pipe, "special file"),
    (make_dangling, "broken link"),
    (make_unreadable, "empty file"),
]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc and pipes")
@pytest.mark.parametrize(("make", "reason"), PLACES)
def test_special_files_are_listed(make: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", {"text": "x"})
    make(tmp_path / "b.jsonl")
    skipped, document = read(tmp_path)
    assert (skipped, document.id) == (Skipped("b.jsonl", str(tmp_path / "b.jsonl"), reason), "a/1")
    with pytest.raises(UserError, match=rf"b\.jsonl: {reason}; fix or move it"):
        list(open_corpus(tmp_path, PrepareSettings(strict=True)).documents())
    if make is not make_unreadable:
        with pytest.raises(UserError, match=r"no such file|not a file"):
            read(tmp_path / "b.jsonl")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names of files are bytes")
def test_names_of_files(tmp_path: Path) -> None:
    odd = tmp_path / "[red]a\nb עברית 😀.jsonl"
    jsonl(odd, {"text": "x"})
    assert [document.where for document in read(odd)] == [f"{odd}:1"]
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("x")
    with pytest.raises(UserError, match=r"\\udcff\.txt: the name is not UTF-8; rename it"):
        read(tmp_path / os.fsdecode(b"\xff.txt"))
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / ("a" * 5000))


def test_gzipped_twice_and_gzipped_nothing(tmp_path: Path) -> None:
    twice = tmp_path / "c.jsonl.gz"
    twice.write_bytes(gzip.compress(gzip.compress(b'{"text": "x"}\n')))
    with pytest.raises(UserError, match=r"c\.jsonl\.gz: no text in a known encoding.* if it is compressed, unpack it"):
        read(twice)
    (tmp_path / "texts" / "a").mkdir(parents=True)
    (tmp_path / "texts" / "a" / "b.txt.gz").write_bytes(gzip.compress(b""))
    (document,) = read(tmp_path / "texts")
    assert isinstance(document, RawDocument)
    assert document.text == ""


LONG = ["!", '"', "''", "``", "<", "&", ". ", "a", "A. ", '<a b="', 'x="1" ', "\u0301", "<!--", "``'' "]


@pytest.mark.parametrize("part", LONG)
def test_time_is_linear_in_the_length_of_a_line(part: str) -> None:
    """100,000 characters in five seconds of a slow core; quadratic methods took half a minute and more."""
    start = time.process_time()
    for sentence in split_sentences(clean_text((part * 100_000)[:100_000])):
        words = word_tokenize(sentence)
        cut_words(sentence, words, len(words))
    assert time.process_time() - start < 5


def test_a_very_long_word_is_a_sentence() -> None:
    long = "!" * 4000
    assert split_sentences(f"We saw it. Then {long} came. It went.") == [
        "We saw it.",
        "Then",
        long,
        "came.",
        "It went.",
    ]
    assert split_sentences(f"Then {long[1:]} came.") != ["Then", long[1:], "came."]


NOT_PREPARED: list[tuple[list[str], list[str], str]] = [
    (["😀 😀👨\u200d👩"] * 9, [], "of 9 documents 9 were skipped, 9 as no letters"),
    (list("abcdefghij") * 9, [], "three letters or more"),
    (["We go to the army."] * 99, ["--stop-words", "english"], "Fewer than two topic words"),
    ([TEXT] * 99, ["--tokenizer", "words", "--min-word-count", "1000"], "lower --min-word-count"),
    ([TEXT], [], "valid split is empty"),
]


@pytest.mark.parametrize(("texts", "arguments", "message"), NOT_PREPARED)
def test_what_cannot_be_modelled_is_told_before_there_is_a_folder(
    texts: list[str], arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = jsonl(tmp_path / "c.jsonl", *({"text": text} for text in texts)), tmp_path / "out"
    command = ["prepare", source, "--out", out, *SMALL, *ALL_WORDS, *arguments]
    assert message in refused(capsys, *command)
    assert [path.name for path in tmp_path.iterdir()] == ["c.jsonl"]
    write_bytes(
        tmp_path / "good.jsonl", b"".join(json.dumps({"text": f"{TEXT} {i}."}).encode() + b"\n" for i in range(60))
    )
    out_of(capsys, "prepare", tmp_path / "good.jsonl", "--out", out, *SMALL, *ALL_WORDS)
    assert message in refused(capsys, *command, "--overwrite")
    PreparedFolder.open(out, verify=True)


SCRIPTS = {
    "all equal": [TEXT],
    "words alone": ["Army. Soldier! Battle?", "Weapon. Enemy? General."],
    "arabic": ["كان الجيش قرب الحدود. رأى الجنرال الجندي في المعركة.", "السلام عليكم ورحمة الله. الكتاب على الطاولة."],
    "hebrew": ["הצבא היה ליד הגבול. הגנרל ראה את החייל.", "שלום לכולם היום. הספר על השולחן."],
    "devanagari": ["सेना सीमा के पास थी। जनरल ने सैनिक को देखा।", "किताब मेज पर है। आज मौसम अच्छा है।"],
    "chinese, parted": ["军队 在 边境 附近 。 将军 看见 了 士兵 。", "书 在 桌子 上 。 今天 天气 很 好 。"],
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_from_documents_to_sentences_in_any_script(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = jsonl(tmp_path / "c.jsonl", *({"text": text} for text in SCRIPTS[name] * 30))
    out_of(capsys, "prepare", source, "--out", tmp_path / "data", *SMALL, *ALL_WORDS)
    out_of(capsys, "train", tmp_path / "data", "--out", tmp_path / "run", *TRAIN)
    written = out_of(capsys, "generate", tmp_path / "run", "--topic", "1", "--json").splitlines()
    assert len([json.loads(line) for line in written]) == 5
    words = {word for text in SCRIPTS[name] for s in split_sentences(text) for word in WordRules().words(s)}
    shown = json.loads(out_of(capsys, "topics", tmp_path / "run", "--json", "--sentences", "1000"))
    assert {word for topic in shown["topics"] for word in topic["words"]} <= words
    modelled = sum(len(row["words"]) for row in PreparedFolder.open(tmp_path / "data").split("train").to_pylist())
    assert all(len(topic["sentences"]) == modelled for topic in shown["topics"]), "all there are, none twice"


def test_more_topics_than_words_are_refused(
    prepared: PreparedFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(capsys, "train", prepared.path, "--out", tmp_path / "run", *TRAIN, "--model.topic.topics=999")
    assert "999 topics, but only" in told
    assert not (tmp_path / "run").exists()


OPTIONS: list[tuple[str, list[str], str]] = [
    ("generate", ["--num", "0"], "num is 0"),
    ("generate", ["--num", "99999999999"], "less than 1000001"),
    ("generate", ["--seed", "-1"], "seed is -1"),
    ("generate", ["--seed", str(2**70)], "seed is"),
    ("generate", ["--strength", "nan"], "strength is nan"),
    ("generate", ["--strength", "1e300"], "strength is 1e+300"),
    ("generate", ["--topic", ""], "none of the words of ''"),
    ("generate", ["--topic", "9" * 5000], "none of the words of '999"),
    ("generate", ["--topic", "٩"], "no topic 9"),
    ("generate", ["--mixture", "0=1", "0=2"], "topic 0 has two weights"),
    ("generate", ["--mixture", "0=nan"], "the weight of topic 0 is nan"),
    ("generate", ["--mixture", "0=1e39"], "give a number from 0 to 1e+30"),
    ("generate", ["--mixture", "9" * 5000 + "=1"], "is not of the form TOPIC=WEIGHT"),
    ("generate", ["--like", "/dev"], "cannot be read"),
    ("generate", ["--between", "", "x"], "has no words"),
    ("topics", ["--words", "1"], "words is 1; it must be at least 2"),
    ("topics", ["--sentences", "-1"], "sentences is -1"),
    ("evaluate", ["--seed", "-1"], "seed is -1"),
    ("evaluate", ["--strengths", "1", "nan"], "must be finite numbers"),
    ("evaluate", ["--device", "nope"], "--device nope: "),
    ("evaluate", ["--device", "meta"], "--device meta: "),
    ("compare", ["other", "--seed", "-1"], "seed is -1"),
]


@pytest.mark.parametrize(("command", "arguments", "message"), OPTIONS)
def test_options_out_of_range(
    command: str, arguments: list[str], message: str, guided_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    status = None
    with suppress(SystemExit):  # what a dataclass of settings refuses, tyro tells in a frame, and ends with 2
        status = main([command, str(guided_run), *arguments])
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert status in (None, 2)
    assert message in told
    assert "Traceback" not in told


def test_summarize_refuses_odd_options(
    summarizer_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("Yesterday he saw the army.")
    for name, value in {"num": "0", "seed": "-1", "strength": "nan", "device": "nope"}.items():
        told = refused(capsys, "summarize", summarizer_run, tmp_path / "a.txt", f"--{name}", value)
        assert f"{name} is {value}" in told or f"--{name} {value}: " in told

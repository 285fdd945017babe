"""Paired line files: what of a folder belongs together, and the way from there to pairs to train on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from data_prep.corpora import open_corpus
from data_prep.corpora.base import RawDocument
from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tgvae.data.corpus import Corpus
from tgvae.data.pairs import Pairs
from tgvae.data.schema import SPLITS, PreparedFolder
from tgvae.errors import UserError

TRAIN = {"train.article.txt": "the army won .\nthe UNK lost #.# %\n", "train.title.txt": "army wins\nUNK loses\n"}
VALID = {"valid.article.filter.txt": "soup is good .\n", "valid.title.filter.txt": "good soup\n"}
TEST = {"test.article.txt": "rain fell .\n", "test.title.txt": "rain\n"}
DUC = {
    "input.txt": "Fog came down .\nSnow fell .\n",
    "task1_ref0.txt": "Fog\nSnow\n",
    "task1_ref1.txt": "Fog ``again''\n\n",
    "task1_ref2.txt": "A fog\nA snow\n",
}
SETTINGS = PrepareSettings(
    stop_words="none",
    min_document_frequency=1,
    max_document_frequency=1.0,
    min_document_words=3,
    min_word_count=1,
    vocabulary_size=300,
)


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


def inside(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    return {f"{folder}/{name}": content for name, content in files.items()}


def read(folder: Path) -> list[RawDocument]:
    return [d for d in open_corpus(folder, PrepareSettings()).documents() if isinstance(d, RawDocument)]


def seen(documents: Iterable[RawDocument]) -> set[tuple[Any, ...]]:
    return {(d.id, d.split, d.text, d.summary) for d in documents}


HEADLINES = {
    ("train.article/1", "train", "the army won .", "army wins"),
    ("train.article/2", "train", "the UNK lost #.# %", "UNK loses"),
    ("valid.article.filter/1", "valid", "soup is good .", "good soup"),
}
RAIN = ("test.article/1", "test", "rain fell .", "rain")


@pytest.mark.parametrize(
    "files",
    [
        TRAIN | VALID | TEST,
        inside("train", TRAIN | VALID) | inside("other", TEST),
        {f"{name}.gz": content for name, content in (TRAIN | VALID | TEST).items()},
        {"train.article.txt.gz": TRAIN["train.article.txt"], "train.title.txt": TRAIN["train.title.txt"]}
        | VALID
        | TEST,
        {name: content.replace("\n", "\r\n") for name, content in (TRAIN | VALID | TEST).items()},
        {name: content.rstrip("\n") for name, content in (TRAIN | VALID | TEST).items()},
        TRAIN | VALID | TEST | {"README.txt": "Not of the corpus.", "more/vocabulary.txt": "the\n"},
    ],
    ids=["flat", "subfolders", "gz", "one gz", "CRLF", "no last newline", "other files"],
)
def test_lines_of_the_same_number_are_a_pair(files: dict[str, str], tmp_path: Path) -> None:
    documents = read(write(tmp_path, files))
    assert seen(documents) == HEADLINES | {RAIN}
    for document in documents:
        name, number = document.id.split("/")
        path, line = document.where.rsplit(":", 1)
        assert Path(path).name.removesuffix(".gz") == f"{name}.txt"
        assert line == number
        assert (document.metadata, document.title, document.label) == ({}, None, None)


@pytest.mark.parametrize("name", ["validation", "dev", "val"])
def test_other_names_of_the_valid_split(name: str, tmp_path: Path) -> None:
    valid = {key.replace("valid", name): content for key, content in VALID.items()}
    assert {d.id: d.split for d in read(write(tmp_path, TRAIN | valid))}[f"{name}.article.filter/1"] == "valid"


@pytest.mark.parametrize("folder", ["", "DUC2004/"])
def test_a_test_set_with_several_references(folder: str, tmp_path: Path) -> None:
    """The first is the summary, blank ones are left out, all are cleaned in the end."""
    documents = read(write(tmp_path, TRAIN | VALID | {f"{folder}{name}": text for name, text in DUC.items()}))
    tested = [document for document in documents if document.split == "test"]
    assert seen(documents) - seen(tested) == HEADLINES
    assert [(d.id, d.text, d.summary, d.metadata) for d in tested] == [
        ("input/1", "Fog came down .", "Fog", {"reference_1": 'Fog "again"', "reference_2": "A fog"}),
        ("input/2", "Snow fell .", "Snow", {"reference_2": "A snow"}),
    ]
    described = open_corpus(tmp_path, PrepareSettings()).describe()["name"].split(", ")
    assert set(described) == {"train.article.txt", "valid.article.filter.txt", f"{folder}input.txt"}


def test_training_files_alone_are_a_corpus_to_split(tmp_path: Path) -> None:
    assert {d.split for d in read(write(tmp_path, TRAIN))} == {None}


def test_a_folder_of_other_texts_is_as_it_was(tmp_path: Path) -> None:
    names = ["input.txt", "pos/input.txt", "article.txt", "cats.article.txt", "train.articles.txt", "task1.txt"]
    documents = read(write(tmp_path, {name: f"Text.\nOf {name}.\n" for name in names}))
    assert {d.id: d.text for d in documents} == {name[:-4]: f"Text.\nOf {name}.\n" for name in names}


def test_tables_come_first(tmp_path: Path) -> None:
    """The other files are listed."""
    write(tmp_path, TRAIN | VALID | {"a.jsonl": '{"text": "Row."}\n'})
    assert [d.text for d in read(tmp_path)] == ["Row."]


# From files to pairs


@pytest.mark.parametrize("tokenizer", ["words", "sentencepiece"])
@pytest.mark.parametrize("lowercase", [False, True])
def test_prepared_and_paired(tokenizer: Any, lowercase: bool, tmp_path: Path) -> None:
    """Blank articles are skipped and counted, blank titles give no pair; UNK is unk in sources and targets."""
    train = {
        "train.article.txt": "the army of UNK won in <unk> .\n\nthe army lost a battle .\n" * 3,
        "train.title.txt": "army of UNK won\nno text\n \n" * 3,
    }
    settings = PrepareSettings(**vars(SETTINGS) | {"tokenizer": tokenizer, "lowercase": lowercase})
    folder = write(tmp_path / "pairs", train | VALID | inside("DUC2004", DUC))
    out = PreparedFolder.open(prepare(folder, tmp_path / "out", settings, workers=1), verify=True)
    assert out.manifest["counts"]["documents"] == {"train": 6, "valid": 1, "test": 2}
    assert out.manifest["skipped"] == {"empty": 3}
    assert out.split("train")["id"].to_pylist() == [f"train.article/{n}" for n in (1, 3, 4, 6, 7, 9)]
    assert json.loads(out.split("test")["metadata"][0].as_py()) == {
        "reference_1": 'Fog "again"',
        "reference_2": "A fog",
    }

    pairs = Pairs(Corpus(out, "train"), "auto", source_tokens=100)
    assert (pairs.field, pairs.index.tolist(), pairs.left_out) == ("summary", [0, 2, 4], 3)
    batch, vocabulary = pairs.gather([0, 1]), pairs.vocabulary
    assert batch.source[0].tolist() == batch.source[1].tolist(), "whatever stands before it"
    assert vocabulary.decode(batch.source[0].tolist()) in (
        "the army of <unk> won in <unk>.",
        "the army of <unk> won in <unk> .",
    )
    assert vocabulary.decode(batch.targets[0, :-1].tolist()) == "army of <unk> won"
    assert (batch.source[0] == out.tokenizer.unk_id).sum() == 2
    assert (batch.targets[0] == out.tokenizer.unk_id).sum() == 1
    assert len(Pairs(Corpus(out, "test"), "auto", source_tokens=100).lengths) == 2


def test_the_first_pairs_of_each_split(tmp_path: Path) -> None:
    train = {name: content * 5 for name, content in TRAIN.items()}
    settings = PrepareSettings(**vars(SETTINGS) | {"tokenizer": "words", "limit": 1})
    prepare(write(tmp_path / "pairs", train | VALID | DUC), tmp_path / "out", settings, workers=1)
    folder = PreparedFolder.open(tmp_path / "out")
    assert [folder.split(split).num_rows for split in SPLITS] == [1, 1, 1]


# What must fail, and how


def without(files: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: content for key, content in files.items() if key != name}


FAULTS: list[tuple[dict[str, str | bytes], str]] = [
    (without(TRAIN, "train.title.txt"), r"/train\.title\.txt: no such file.* train\.article\.txt belongs with it"),
    (without(TRAIN, "train.article.txt"), r"/train\.article\.txt: no such file.* train\.title\.txt belongs with it"),
    (TRAIN | without(VALID, "valid.title.filter.txt") | {"valid.title.txt": "x\n"}, r"/valid\.title\.filter\.txt: no"),
    (TRAIN | inside("a", without(DUC, "input.txt")), r"/a/input\.txt: no such file.* task1_ref0\.txt belongs with it"),
    (TRAIN | {"a/input.txt": "x\n"}, r"/a/task1_ref0\.txt: no such file.* input\.txt belongs with it"),
    (TRAIN | without(DUC, "task1_ref1.txt"), r"/task1_ref1\.txt: no such file"),
    ({"task1_ref0.txt": "x\n"}, r"/input\.txt: no such file"),
    (inside("a", TRAIN) | inside("b", TRAIN), r"/b/train\.article\.txt: .*/a/train\.article\.txt is the train split"),
    (
        TRAIN | inside("DUC", DUC) | inside("Giga", DUC),
        r"/Giga/input\.txt: .*/DUC/input\.txt is the test split already",
    ),
    (TRAIN | TEST | DUC, r"/test\.article\.txt: .*/input\.txt is the test split already; move one out"),
    (
        TRAIN | {"train.title.txt.gz": "x\n"},
        r"/train\.title\.txt\.gz: has the same role as train\.title\.txt; remove one",
    ),
    (DUC, r"no train\.article\.txt, and a corpus cannot be prepared without training documents"),
    (VALID | TEST, r"no train\.article\.txt"),
    (TRAIN | {"train.title.txt": ""}, r"/train\.title\.txt: the file is empty"),
]


@pytest.mark.parametrize(("files", "message"), FAULTS)
def test_faults_are_named(files: dict[str, str | bytes], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read(write(tmp_path, files))


@pytest.mark.parametrize(
    ("name", "content", "counts"),
    [
        ("train.title.txt", "one\n", r"train\.article\.txt: 2, .*train\.title\.txt: 1\)"),
        ("train.title.txt", "one\ntwo\nthree", r"train\.article\.txt: 2, .*train\.title\.txt: 3\)"),
        ("train.article.txt", "the army won .\n" * 5, r"train\.article\.txt: 5, .*train\.title\.txt: 2\)"),
        (
            "task1_ref1.txt",
            "one\n",
            r"input\.txt: 2, .*ref0\.txt: 2, .*ref1\.txt: 1, .*ref2\.txt: 2\)",
        ),
    ],
)
def test_unequal_lines_leave_nothing(name: str, content: str, counts: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "pairs", TRAIN | VALID | DUC | {name: content})
    with pytest.raises(UserError, match=f"Different numbers of lines.*{counts}"):
        prepare(folder, tmp_path / "out", SETTINGS, workers=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["train.article.txt", "train.title.txt"])
def test_other_encodings_are_found(name: str, tmp_path: Path) -> None:
    documents = read(write(tmp_path, TRAIN | VALID | {name: b"one\ncaf\xe9\n"}))
    assert "caf\xe9" in (documents[1].text, documents[1].summary)


def test_a_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, {f"{name}.gz": content * 99 for name, content in TRAIN.items()})
    path = tmp_path / "train.title.txt.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(UserError, match=r"train\.title\.txt\.gz: truncated or damaged gzip"):
        read(tmp_path)

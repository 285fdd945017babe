"""From corpus to prepared folder, against a brute-force reading of the same rules."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import data_prep.pipeline
from data_prep.clean import clean_document
from data_prep.corpora.base import RawDocument, Skipped
from data_prep.pipeline import prepare
from data_prep.settings import RECIPES, PrepareSettings
from data_prep.stats import summarize_folder
from data_prep.vocabularies import load_stop_words
from data_prep.writer import read_origin
from tgvae.data.languages import WordRules
from tgvae.data.schema import SPLITS, PreparedFolder
from tgvae.data.tokenizers import UNK, clean_text, cut_words, split_sentences, word_tokenize
from tgvae.errors import UserError

NOUNS = ["energy", "galaxy", "neuron", "protein", "lattice", "quantum", "river", "market", "theorem", "graph"]
LONG = "This one sentence " + "and its many words " * 15 + "is long."


def make_rows(n: int = 120) -> list[dict[str, Any]]:
    rows = []
    for i in range(n):
        first, second = NOUNS[i % 10], NOUNS[(i * 7 + 3) % 9]
        text = f"The {first} of text {i} isn\u2019t a \u201c{second}\u201d. It has 3.5 parts, e.g. a {second}."
        rows.append({"id": f"d{i}", "text": text + (f" {LONG}" if i % 5 == 0 else ""), "label": first, "year": i})
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", make_rows())


SMALL = {
    "min_document_frequency": 2,
    "splits": (0.7, 0.15, 0.15),
    "vocabulary_size": 400,
    "min_word_count": 1,
}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"tokenizer": "words"},
    {"long_sentences": "cut", "max_sentence_words": 10},
    {"long_sentences": "cut", "tokenizer": "words", "lowercase": True},
    {"lowercase": True, "stop_words": "none", "max_document_frequency": 1.0, "topic_vocabulary_size": 7},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_folder_agrees_with_brute_force(variant: dict[str, Any], corpus: Path, tmp_path: Path) -> None:
    settings = PrepareSettings(**SMALL | variant)
    folder = PreparedFolder.open(prepare(corpus, tmp_path / "out", settings, workers=1), verify=True)
    rows = {row["id"]: row for split in SPLITS for row in folder.split(split).to_pylist()}
    train = set(folder.split("train")["id"].to_pylist())
    assert list(rows) == sorted(rows, key=lambda i: (split_index(folder, i), int(i[1:])))

    frequency: Counter[str] = Counter()
    for raw in make_rows():
        text = clean_text(raw["text"])
        sentences = [s.lower() if settings.lowercase else s for s in split_sentences(text)]
        row = rows[raw["id"]]
        assert row["sentences"] == sentences
        assert (row["label"], json.loads(row["metadata"]), row["title"]) == (
            raw["label"],
            {"year": raw["year"]},
            None,
        )
        for sentence, ids, topic_ids, n in zip(sentences, row["tokens"], row["topic_words"], row["words"], strict=True):
            words = word_tokenize(sentence)
            assert topic_ids == folder.topic_vocabulary.encode_sentence(sentence)
            if len(words) <= settings.max_sentence_words:
                assert (ids, n) == (folder.tokenizer.encode(sentence), len(words))
                assert UNK in ids or folder.tokenizer.decode(ids) == sentence
            elif settings.long_sentences == "skip":
                assert (ids, n) == ([], 0)
            else:
                assert n == settings.max_sentence_words
                assert UNK in ids or word_tokenize(folder.tokenizer.decode(ids)) == words[:n]
        if raw["id"] in train:
            frequency.update({w for s in sentences for w in WordRules().words(s)})

    _, stop = load_stop_words(settings, WordRules())
    most = settings.max_document_frequency * len(train)
    kept = [w for w, n in frequency.items() if 2 <= n <= most and w not in stop]
    kept.sort(key=lambda w: (-frequency[w], w))
    assert folder.topic_vocabulary.words == kept[: settings.topic_vocabulary_size]


def split_index(folder: PreparedFolder, document: str) -> int:
    return next(i for i, split in enumerate(SPLITS) if document in folder.split(split)["id"].to_pylist())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_chunks_do_not_change_the_content(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = PrepareSettings(**SMALL)
    whole = PreparedFolder.open(prepare(corpus, tmp_path / "whole", settings, workers=1))
    monkeypatch.setattr(data_prep.pipeline, "CHUNK_CHARACTERS", 500)
    parts = PreparedFolder.open(prepare(corpus, tmp_path / "parts", settings, workers=1))
    for split in SPLITS:
        assert whole.split(split).to_pylist() == parts.split(split).to_pylist()
        assert parts.split(split)["id"].num_chunks > whole.split(split)["id"].num_chunks


def test_manifest(corpus: Path, tmp_path: Path) -> None:
    out = prepare(corpus, tmp_path / "out", PrepareSettings(**SMALL), workers=1)
    manifest = json.loads((out / "manifest.json").read_text())
    assert list(manifest) == [
        "format",
        "source",
        "settings",
        "counts",
        "skipped",
        "notes",
        "stop_words",
        "versions",
        "files",
    ]
    hashed = hashlib.sha256(f"{hashlib.sha256(corpus.read_bytes()).hexdigest()}  corpus.jsonl\n".encode()).hexdigest()
    assert manifest["source"] == {"name": "corpus.jsonl", "licence": "not stated", "input_sha256": hashed}
    assert read_origin(out) == [str(corpus)]
    assert manifest["settings"]["splits"] == [0.7, 0.15, 0.15]
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    tables = {split: PreparedFolder.open(out).split(split).to_pylist() for split in SPLITS}
    for split, rows in tables.items():
        sentences = [ids for row in rows for ids in row["tokens"]]
        expected = {
            "documents": len(rows),
            "sentences": len(sentences),
            "modelled": sum(map(bool, sentences)),
            "words": sum(sum(row["words"]) for row in rows),
            "tokens": sum(map(len, sentences)),
        }
        assert {name: manifest["counts"][name][split] for name in expected} == expected


def test_summary(corpus: Path, tmp_path: Path) -> None:
    summary = summarize_folder(prepare(corpus, tmp_path / "out", PrepareSettings(**SMALL), workers=1))
    json.dumps(summary)
    train = summary["counts"]["documents"]["train"]
    assert sum(summary["labels"].values()) == train
    assert list(summary["labels"].values()) == sorted(summary["labels"].values(), reverse=True)
    assert summary["lengths"]["sentences of a document"] == [2, 2, 3, 3]
    assert len(summary["examples"]) == 3
    assert set(summary["topic_words"]) <= {*NOUNS, *LONG.lower().split(), "long", "text", "parts"}


def test_skipped_documents_are_listed(tmp_path: Path) -> None:
    texts = {
        "empty": " \n ",
        "no letters": "1 + 1 = 2!",
        "too short": "Just this.",
        "too long": "word " * 500,
    }
    odd = [{"id": reason, "text": text} for reason, text in texts.items()] + [{"id": "null", "text": None}]
    path = write(tmp_path / "c.jsonl", odd[:2] + make_rows() + odd[2:])
    out = prepare(path, tmp_path / "out", PrepareSettings(**SMALL, max_document_words=400), workers=1)
    lines = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert [(line["id"], line["reason"]) for line in lines] == [
        *((reason, reason) for reason in texts),
        ("null", "empty"),
    ]
    assert lines[2]["where"] == f"{path}:123"
    assert PreparedFolder.open(out).manifest["skipped"] == {
        "empty": 2,
        "no letters": 1,
        "too long": 1,
        "too short": 1,
    }


def document(**changes: Any) -> RawDocument:
    return RawDocument(**{"id": "d", "text": "Some words are here.", "where": "f:1"} | changes)


def test_given_splits_are_kept(tmp_path: Path) -> None:
    rows = make_rows()
    for name, part in {"train": rows[:90], "dev": rows[90:110], "test": rows[110:]}.items():
        write(tmp_path / f"{name}.jsonl", part)
    folder = PreparedFolder.open(prepare(tmp_path, tmp_path / "out", PrepareSettings(**SMALL), workers=1))
    assert folder.split("valid")["id"].to_pylist() == [row["id"] for row in rows[90:110]]
    assert [folder.split(split).num_rows for split in SPLITS] == [90, 20, 10]


def test_vocabularies_know_the_train_split_alone(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", make_rows(60))
    held_out = [
        row | {"id": f"v{i}", "text": f"A xylophone \u4e16 {row['text']}"} for i, row in enumerate(make_rows(60))
    ]
    write(tmp_path / "valid.jsonl", held_out)
    folder = PreparedFolder.open(
        prepare(tmp_path, tmp_path / "out", PrepareSettings(**SMALL, tokenizer="words"), workers=1)
    )
    assert "xylophone" not in folder.topic_vocabulary.words
    assert "xylophone" not in folder.tokenizer.pieces
    assert folder.split("valid")["tokens"][0][0].as_py()[1:3] == [folder.tokenizer.unk_id] * 2


def test_limit_takes_the_first_of_each_split(tmp_path: Path) -> None:
    rows = make_rows()
    write(tmp_path / "train.jsonl", rows[:90])
    write(tmp_path / "valid.jsonl", rows[90:])
    prepare(tmp_path, tmp_path / "out", PrepareSettings(**SMALL, limit=20), workers=1)
    folder = PreparedFolder.open(tmp_path / "out")
    assert folder.split("train")["id"].to_pylist() == [row["id"] for row in rows[:20]]
    assert folder.split("valid")["id"].to_pylist() == [row["id"] for row in rows[90:110]]


def test_limit_counts_usable_documents(tmp_path: Path) -> None:
    """Not rows without text, nor documents that are too short."""
    rows = [{"id": f"e{i}", "text": None if i % 2 else "Short."} for i in range(40)]
    write(tmp_path / "c.jsonl", rows + make_rows())
    settings = PrepareSettings(**SMALL, limit=30)
    folder = PreparedFolder.open(prepare(tmp_path / "c.jsonl", tmp_path / "out", settings, workers=1))
    ids = {name for split in SPLITS for name in folder.split(split)["id"].to_pylist()}
    assert ids == {f"d{i}" for i in range(30)}
    assert folder.manifest["skipped"] == {"empty": 20, "too short": 20}


def test_sentences_given_by_the_corpus_are_kept() -> None:
    given = ("Not split. Here.", " \u201cNew\u201d\nline ", "")
    clean = clean_document(document(text=given), PrepareSettings(min_document_words=1), WordRules())
    assert not isinstance(clean, Skipped)
    assert clean.sentences == ["Not split. Here.", '"New" line']


LABELLED = {"title": "A title", "label": "news", "summary": "Short."}


@pytest.mark.parametrize("longest", [1, 4, 5, 6, 10, 11, 12])
def test_long_documents_are_cut_to_their_first_words(longest: int) -> None:
    """A document of 5 + 6 words, from within its first sentence to all of it."""
    settings = PrepareSettings(min_document_words=1, max_document_words=longest, long_documents="cut")
    raw = document(text="Some words are here. Others don't stay.", **LABELLED)
    whole = [["Some", "words", "are", "here", "."], ["Others", "do", "n't", "stay", "."]]
    clean = clean_document(raw, settings, WordRules())
    assert not isinstance(clean, Skipped)
    words = [word for sentence in whole for word in sentence]
    assert [word for sentence in clean.words for word in sentence] == words[:longest]
    assert [word_tokenize(sentence) for sentence in clean.sentences] == clean.words, "text and words agree"
    assert "Some words are here. Others don't stay.".startswith(" ".join(clean.sentences))
    assert (clean.title, clean.label, clean.summary) == ("A title", "news", "Short.")


def test_long_documents_are_skipped_unless_cut() -> None:
    short = PrepareSettings(min_document_words=1, max_document_words=4)
    assert clean_document(document(), short, WordRules()) == Skipped("d", "f:1", "too long")
    fits = PrepareSettings(min_document_words=1, max_document_words=5)
    whole = PrepareSettings(min_document_words=1)
    assert clean_document(document(), fits, WordRules()) == clean_document(document(), whole, WordRules())


def test_the_rest_of_a_cut_document_is_gone(corpus: Path, tmp_path: Path) -> None:
    """For the bag of words and the vocabularies too; only documents with the long sentence are cut."""
    settings = PrepareSettings(**SMALL, tokenizer="words", max_document_words=30, long_documents="cut")
    folder = PreparedFolder.open(prepare(corpus, tmp_path / "out", settings, workers=1), verify=True)
    whole = PreparedFolder.open(prepare(corpus, tmp_path / "whole", PrepareSettings(**SMALL), workers=1))
    rows = {row["id"]: row for split in SPLITS for row in folder.split(split).to_pylist()}
    before = {row["id"]: row for split in SPLITS for row in whole.split(split).to_pylist()}
    assert folder.manifest["skipped"] == {}
    for name, row in rows.items():
        words = [word_tokenize(sentence) for sentence in row["sentences"]]
        every = [word for sentence in before[name]["sentences"] for word in word_tokenize(sentence)]
        assert [word for sentence in words for word in sentence] == every[:30]
        assert row["words"] == [len(sentence) for sentence in words]
        assert row["topic_words"] == [folder.topic_vocabulary.encode(sentence) for sentence in words]
        assert (row["label"], row["metadata"]) == (before[name]["label"], before[name]["metadata"])
        assert (len(every) > 30) == (LONG in before[name]["sentences"])
        assert LONG not in row["sentences"]


def test_the_most_frequent_topic_words_are_dropped(corpus: Path, tmp_path: Path) -> None:
    whole = PreparedFolder.open(prepare(corpus, tmp_path / "whole", PrepareSettings(**SMALL), workers=1))
    settings = PrepareSettings(**SMALL, drop_most_frequent=0.1)
    folder = PreparedFolder.open(prepare(corpus, tmp_path / "out", settings, workers=1))
    kept, every = folder.topic_vocabulary.words, whole.topic_vocabulary.words
    assert 0 < len(kept) < len(every)
    assert kept == every[len(every) - len(kept) :], "those of most documents, which stand first, are gone"


def test_the_recipe_of_the_paper() -> None:
    paper, usual = RECIPES["paper"], RECIPES["default"]
    assert usual == PrepareSettings()
    assert (paper.max_sentence_words, paper.long_sentences) == (30, "cut")
    assert (paper.max_document_words, paper.long_documents) == (300, "cut")
    assert (paper.tokenizer, paper.lowercase, paper.min_word_count) == ("words", True, 10)
    assert (paper.min_document_frequency, paper.drop_most_frequent) == (100, 0.001)


def test_a_sentence_of_too_many_tokens_is_not_modelled(tmp_path: Path) -> None:
    """One word of base64 is few words, but would fill a batch."""
    blob = "".join(hashlib.sha256(bytes([i])).hexdigest() for i in range(60))
    path = write(
        tmp_path / "c.jsonl",
        [*make_rows(), {"id": "blob", "text": f"We saw {blob} in this text. It is odd."}],
    )
    settings = PrepareSettings(**SMALL | {"splits": (1.0, 0.0, 0.0), "min_document_words": 1})
    row = PreparedFolder.open(prepare(path, tmp_path / "out", settings, workers=1)).split("train").to_pylist()[-1]
    assert row["id"] == "blob"
    assert row["tokens"][0] == []
    assert row["words"][0] == 0
    assert row["tokens"][1]


@hypothesis_settings(deadline=None)
@given(st.one_of(st.text("ab .,'\"()-n\u2014`", max_size=40), st.text()).map(clean_text), st.integers(0, 12))
def test_cut_words_is_a_prefix_with_the_first_words(sentence: str, length: int) -> None:
    words = word_tokenize(sentence)
    cut = cut_words(sentence, words, length)
    assert sentence.startswith(cut)
    assert cut_words(sentence, words, len(words)).strip() == sentence.strip()

    def bare(text: str) -> str:
        return "".join(text.split())

    assert bare(cut) == "".join('"' if word in ("``", "''") else word for word in words[:length])


# What must fail, and how


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"splits": (0.5, 0.5, 0.5)}, "sum to 1"),
        ({"splits": (0.0, 0.5, 0.5)}, "three shares"),
        ({"topic_vocabulary_size": 0}, "topic_vocabulary_size is 0"),
        ({"max_document_frequency": 1.5}, r"share in \(0, 1\]"),
        ({"vocabulary_size": 100}, "at least 300"),
        ({"limit": 0}, "limit is 0"),
        ({"max_sentence_words": 0}, "max_sentence_words is 0"),
        ({"drop_most_frequent": 1.0}, r"drop_most_frequent is 1.0; it is a share in \[0, 1\)"),
        ({"drop_most_frequent": -0.1}, "drop_most_frequent is -0.1"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PrepareSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_document_frequency": 99}, "lower --min-document-frequency"),
        ({"min_document_words": 999}, "train split is empty: of 120 documents 120 were skipped"),
        ({"splits": (0.9999, 0.0001, 0.0)}, "valid split is empty"),
        ({"max_sentence_words": 2}, "raise --max-sentence-words"),
        ({"stop_words": "klingon"}, "no such list or file"),
    ],
)
def test_nothing_left_says_what_to_change(settings: dict[str, Any], message: str, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        prepare(corpus, tmp_path / "out", PrepareSettings(**SMALL | settings), workers=1)
    assert not (tmp_path / "out").exists()


def test_no_valid_split_on_request(corpus: Path, tmp_path: Path) -> None:
    settings = PrepareSettings(**SMALL | {"splits": (1.0, 0.0, 0.0)})
    folder = PreparedFolder.open(prepare(corpus, tmp_path / "out", settings, workers=1))
    assert [folder.split(split).num_rows for split in SPLITS] == [120, 0, 0]


def test_an_existing_folder_is_kept_unless_told(corpus: Path, tmp_path: Path) -> None:
    settings = PrepareSettings(**SMALL)
    out = prepare(corpus, tmp_path / "out", settings, workers=1)
    before = contents(out)
    with pytest.raises(UserError, match="--overwrite"):
        prepare(corpus, out, settings, workers=1)
    with pytest.raises(UserError, match="lower --min-document-frequency"):
        prepare(corpus, out, PrepareSettings(**SMALL | {"min_document_frequency": 99}), workers=1, overwrite=True)
    assert contents(out) == before
    prepare(corpus, out, PrepareSettings(**SMALL, seed=1), workers=1, overwrite=True)
    assert contents(out) != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_overwriting_leaves_no_trace_of_the_older_folder(corpus: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.jsonl", [row | {"text": row["text"].upper()} for row in make_rows()])
    settings = PrepareSettings(**SMALL)
    prepare(corpus, tmp_path / "out", settings, workers=1)
    prepare(other, tmp_path / "out", settings, workers=1, overwrite=True)
    assert contents(tmp_path / "out") == contents(prepare(other, tmp_path / "fresh", settings, workers=1))


def test_a_foreign_folder_is_never_overwritten(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    with pytest.raises(UserError, match="not a prepared folder"):
        prepare(corpus, tmp_path / "precious", PrepareSettings(**SMALL), workers=1, overwrite=True)
    assert (tmp_path / "precious" / "file").exists()

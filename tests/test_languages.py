"""Words and sentences of many languages, and which language a text is in."""

from __future__ import annotations

import json
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from data_prep.pipeline import prepare
from data_prep.settings import PrepareSettings
from tests.conftest import out_of, refused
from tgvae.data.languages import WordRules, detect_language, is_topic_word, language_name, lower, segmenter, set_apart
from tgvae.data.schema import SPLITS, PreparedFolder
from tgvae.data.tokenizers import clean_text, split_sentences
from tgvae.errors import UserError


@pytest.mark.parametrize(
    ("language", "sentence", "words"),
    [
        (
            "english",
            "The king's men don't; they'd say \"U.S. e-mail\"",
            ["the", "king", "men", "they", "say", "e-mail"],
        ),
        ("english", "**COVID-19** and _x-ray_, patient/doctor", ["covid-19", "and", "x-ray", "patient", "doctor"]),
        ("english", "See https://a.example.org/x?y=1 or www.b.com, a@b.org: army.", ["see", "army"]),
        ("english", "energy—the 1990s, H2O, 3rd, 10-20 and 5-year", ["energy", "the", "and", "5-year"]),
        ("english", "UNK unk unknown o'clock", ["unknown", "o'clock"]),
        ("french", "L'état, jusqu'à l'école d'aujourd'hui; qu'elle s'arrête", None),
        ("french", "dit-il, a-t-elle, peut-être, arc-en-ciel", ["dit", "peut-être", "arc-en-ciel"]),
        ("italian", "dell'acqua, un'altra all'alba; c'è l'uomo", ["acqua", "altra", "alba", "uomo"]),
        ("catalan", "l'escola d'or, col·lecció, porta'm", ["escola", "col·lecció", "porta"]),
        ("ukrainian", "П'ять об'єктів, ім'я.", ["п'ять", "об'єктів", "ім'я"]),
        ("persian", "می\u200cخواهم کتاب\u200cها،", ["می\u200cخواهم", "کتاب\u200cها"]),
        ("arabic", "رأى مذنب، ثم تلسكوب؛ هل نجم؟", ["رأى", "مذنب", "ثم", "تلسكوب", "هل", "نجم"]),
        ("hindi", "किसान खेत में था। बीज", ["किसान", "खेत", "में", "था", "बीज"]),
        ("turkish", "IŞIK ve İNSAN, ağaç", ["ışık", "insan", "ağaç"]),
        ("german", "Die Straßen-Bahn für Übermut!", ["die", "straßen-bahn", "für", "übermut"]),
    ],
)
def test_words(language: str, sentence: str, words: list[str] | None) -> None:
    expected = words or ["état", "école", "aujourd'hui", "elle", "arrête"]
    assert WordRules(language).words(clean_text(sentence)) == expected


@pytest.mark.parametrize(
    ("language", "sentence", "words"),
    [
        ("english", "The children were singing songs", ["the", "child", "song"]),
        ("german", "Die Häuser der Kinder", ["haus", "kind"]),
        ("french", "les écoles et les chevaux", ["école", "cheval"]),
    ],
)
def test_lemmas(language: str, sentence: str, words: list[str]) -> None:
    assert set(words) <= set(WordRules(language, lemmatize=True).words(sentence))


@pytest.mark.parametrize(
    ("language", "text", "sentences"),
    [
        ("arabic", "قال الرجل نعم. هل رأيتم نجم؟ ثم ذهب!", 3),
        ("hindi", "वहां खेत था। किसान नहीं मिला। क्या हुआ?", 3),
        ("chinese", "昨天我去商店。买了面包！真的？", 3),
        ("japanese", "昨日、店に行った。パンを買いました！", 2),
        ("german", "Am 3. Mai kam Dr. Müller. Er sagte z. B. nichts.", 2),
        ("ukrainian", "У 2015 р. все змінилося. Прийшов п. Іваненко.", 2),
        ("turkish", "Dr. Yılmaz geldi. Hava güzel mi? Evet!", 3),
    ],
)
def test_sentences(language: str, text: str, sentences: int) -> None:
    found = split_sentences(text, language)
    assert len(found) == sentences
    assert "".join(found).replace(" ", "") == text.replace(" ", "")


def test_paragraphs_and_long_words_are_sentences_in_every_language() -> None:
    assert split_sentences("Un titre\n\nUne phrase.", "french") == ["Un titre", "Une phrase."]
    assert split_sentences(f"Avant. {'!' * 4000} après.", "french") == ["Avant.", "!" * 4000, "après."]


@pytest.mark.parametrize(
    ("language", "package", "sentence", "words"),
    [
        ("chinese", "jieba", "昨天我去商店买面包和牛奶", {"昨天", "商店", "面包", "牛奶"}),
        ("japanese", "sudachipy", "昨日、私は図書館に行きました", {"昨日", "図書館"}),
        ("thai", "pythainlp", "วันนี้ฉันไปโรงเรียน", {"วันนี้", "โรงเรียน"}),
    ],
)
def test_scripts_without_blanks(language: str, package: str, sentence: str, words: set[str]) -> None:
    if find_spec(package) is None:
        pytest.skip(f"needs {package}")
    rules = WordRules(language, segment=True)
    tokens = rules.tokens(sentence)
    assert tokens is not None
    assert "".join(tokens) == sentence
    assert words <= set(rules.words(sentence))
    assert not set_apart(sentence)
    assert set_apart(" ".join(tokens))


def test_a_segmenter_that_is_missing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "jieba", None)
    with pytest.raises(UserError, match=r"Chinese sets no blanks .* pip install 'tgvae\[chinese\]'"):
        segmenter("chinese")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The army was near the bread and the rocket.", "en"),
        ("Вчора я ходив до крамниці, щоб купити хліб і молоко.", "uk"),
        ("昨日、私は店に行ってパンと牛乳を買いました。", "ja"),
        ("12345 67890", ""),
    ],
)
def test_detection(text: str, code: str) -> None:
    assert detect_language(text) == code


def test_names_of_languages() -> None:
    assert language_name("FR") == language_name("French") == "french"
    with pytest.raises(UserError, match="no language 'frensh'; did you mean 'french'"):
        PrepareSettings(language="frensh")
    with pytest.raises(UserError, match="simplemma has no lemmas for thai"):
        WordRules("thai", lemmatize=True)
    assert lower("İIŞ", "turkish") == "iış"
    assert lower("İ", "german") == "i"
    assert not is_topic_word("")
    rules = WordRules("french", lemmatize=True)
    assert pickle.loads(pickle.dumps(rules)) == rules


FRENCH = ["Les enfants jouent dans le jardin de l'école.", "L'équipage regarde l'étoile près de l'île."]


def corpus(path: Path, texts: list[str]) -> Path:
    rows = ({"text": f"{texts[i % len(texts)]} {texts[i * 7 % len(texts)]} {i}."} for i in range(60))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


OPTIONS: tuple[Any, ...] = ("--vocabulary-size", 400, "--min-document-words", 1, "--workers", 1)


def test_the_language_is_detected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = corpus(tmp_path / "c.jsonl", FRENCH)
    every = (*OPTIONS, "--max-document-frequency", 1)
    printed = out_of(capsys, "prepare", source, "--out", tmp_path / "out", *every)
    assert "the text looks french and is prepared as such" in printed
    folder = PreparedFolder.open(tmp_path / "out")
    assert folder.manifest["settings"]["language"] == folder.topic_vocabulary.language == "french"
    assert {"école", "étoile", "île"} <= set(folder.topic_vocabulary.words)
    assert "les" not in folder.topic_vocabulary.words
    printed = out_of(capsys, "prepare", source, "--out", tmp_path / "other", *every, "--language", "german")
    assert "the text looks french, but --language is german" in printed


@pytest.mark.skipif(find_spec("jieba") is None, reason="needs jieba")
def test_chinese_from_text_to_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = corpus(tmp_path / "c.jsonl", ["昨天我去商店买面包和牛奶。", "学生们在图书馆里看书，老师在学校。"])
    settings = PrepareSettings(vocabulary_size=500, min_document_words=3, max_document_frequency=1.0)
    folder = PreparedFolder.open(prepare(source, tmp_path / "out", settings, workers=1))
    assert {"商店", "面包", "图书馆"} <= set(folder.topic_vocabulary.words)
    for split in SPLITS:
        for row in folder.split(split).to_pylist():
            assert sum(row["words"]) > 3 * len(row["words"])
    ids = folder.topic_vocabulary.encode_text("我去图书馆。")
    assert [folder.topic_vocabulary.words[i] for i in ids] == ["图书馆"]
    command = ("prepare", source, "--out", tmp_path / "words", *OPTIONS, "--tokenizer", "words")
    assert "words of chinese cannot be joined again" in refused(capsys, *command)

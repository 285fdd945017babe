"""Lists of stop words: chosen by language, from a file, or none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_prep.settings import PrepareSettings, stored_settings
from data_prep.vocabularies import load_stop_words
from tests.conftest import made_up_documents, out_of
from tgvae.data.languages import WordRules
from tgvae.data.schema import PreparedFolder
from tgvae.errors import UserError


def words(name: str | None, language: str = "english", lemmatize: bool = False) -> frozenset[str]:
    return load_stop_words(PrepareSettings(stop_words=name), WordRules(language, lemmatize))[1]


def test_the_english_list_is_conservative() -> None:
    assert {"the", "and", "whose", "would"} <= words(None)
    assert not {"system", "computer", "fire", "bill", "interest", "energy", "government"} & words(None)
    assert {"the", "system", "computer"} <= words("large")
    assert len(words(None)) < 350 < 1300 < len(words("large"))


def test_lists_by_language() -> None:
    assert "der" in words(None, "german")
    assert words("german") == words("de") == words(None, "german")
    assert words("none") == words(None, "thai") == frozenset()
    with pytest.raises(UserError, match="No stop words for thai"):
        words("thai")


def test_a_file_of_words(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeffFerry # boats\n# more\ncaptain, caf\u0065\u0301; don’t\n", encoding="utf-8")
    assert words(str(path)) == {"ferry", "captain", "café", "don't"}
    path.write_bytes("für\n".encode("latin-1"))
    assert words(str(path)) == {"für"}
    with pytest.raises(UserError, match=r"word\.txt: no such list or file; did you mean .*words\.txt"):
        words(str(tmp_path / "word.txt"))


def test_a_file_named_like_a_language_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("english", "large", "none"):
        Path(name).write_text("ferry\n")
    assert "the" in words(None)
    assert words("english") == words("large")
    assert words("none") == frozenset()
    assert words("./english") == {"ferry"}


def test_lemmas_of_stop_words_are_stop_words() -> None:
    assert "be" in words("large", lemmatize=True)


def test_the_list_is_stored_and_words_that_match_nothing_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "words.txt").write_text("army\nzeppelin\n")
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(d) + "\n" for d in made_up_documents(60)))
    options = ("--vocabulary-size", 400, "--min-document-words", 3, "--workers", 1)
    printed = out_of(
        capsys,
        "prepare",
        tmp_path / "c.jsonl",
        "--out",
        tmp_path / "out",
        *options,
        "--stop-words",
        tmp_path / "words.txt",
    )
    assert "1 of 2 stop words occur in no training document, such as zeppelin" in printed
    folder = PreparedFolder.open(tmp_path / "out")
    assert folder.manifest["stop_words"] == {"list": str(tmp_path / "words.txt"), "words": ["army", "zeppelin"]}
    assert "army" not in folder.topic_vocabulary.words


def test_older_manifests_mean_the_large_list() -> None:
    settings = {"language": "english", "stop_words": None, "max_sentence_words": 40}
    old = stored_settings({"settings": settings})
    assert (old["stop_words"], old["group_by"], old["duplicates"]) == ("large", "none", "keep")
    new = stored_settings({"settings": settings | {"group_by": "author"}, "stop_words": {}})
    assert (new["stop_words"], new["group_by"]) == (None, "author")

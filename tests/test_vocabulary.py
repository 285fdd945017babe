"""The bag-of-words vocabulary."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from tgvae.data.languages import WordRules
from tgvae.data.vocabulary import TopicVocabulary
from tgvae.errors import UserError

RULES = WordRules()
DOCUMENTS = [
    "the cat and the dog",
    "the cat and a bird",
    "the dog saw the bird fly",
    "the cat saw the fish",
    "the fish and the whale",
]


def _document_frequency(documents: list[list[str]]) -> Counter[str]:
    return Counter(word for words in documents for word in set(words))


def _build(size: int = 100, min_count: int = 1, max_share: float = 1.0, **stop: frozenset[str]) -> TopicVocabulary:
    frequency = _document_frequency([RULES.words(text) for text in DOCUMENTS])
    return TopicVocabulary.build(frequency, len(DOCUMENTS), size=size, min_count=min_count, max_share=max_share, **stop)


@pytest.mark.parametrize(("min_count", "max_share"), [(1, 1.0), (2, 1.0), (2, 0.6), (3, 0.6), (1, 0.2)])
def test_build_agrees_with_scikit_learn(min_count: int, max_share: float) -> None:
    oracle = CountVectorizer(min_df=min_count, max_df=max_share, token_pattern=r"[a-z]{3,}", stop_words=["and"]).fit(
        DOCUMENTS
    )
    ours = _build(min_count=min_count, max_share=max_share, stop_words=frozenset({"and"}))
    assert sorted(ours.words) == sorted(oracle.get_feature_names_out())


def test_size_takes_most_frequent_then_alphabet() -> None:
    assert _build(size=4).words == ["the", "and", "cat", "bird"]


def test_empty_vocabulary() -> None:
    assert len(_build(min_count=9)) == 0


def test_encode() -> None:
    vocabulary = TopicVocabulary(["cat", "dog"])
    assert vocabulary.encode(["Dog", "bird", "CAT", "dog", "."]) == [1, 0, 1]


@given(
    st.dictionaries(st.text("abcd", min_size=3, max_size=4), st.integers(1, 9), max_size=12),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 4),
)
def test_most_frequent_words_are_dropped_by_brute_force(frequency: dict[str, int], share: float, least: int) -> None:
    """One at a time, until that many are gone; rare words count among the words that the share is of."""
    left = {word: n for word, n in frequency.items() if n <= 7 and word != "abc"}
    total, gone = len(left), 0
    while gone < share * total:
        del left[min(left, key=lambda word: (-left[word], word))]
        gone += 1
    expected = sorted((word for word, n in left.items() if n >= least), key=lambda word: (-left[word], word))
    limits = {"size": 5, "min_count": least, "max_share": 0.7, "stop_words": frozenset({"abc"})}
    found = TopicVocabulary.build(frequency, 10, drop_most_frequent=share, **limits)
    assert found.words == expected[:5]


def test_the_smallest_share_drops_one_word_and_none_drops_none() -> None:
    frequency = {"common": 9, "usual": 5, "rare": 1}
    limits = {"size": 10, "min_count": 1, "max_share": 1.0}
    assert TopicVocabulary.build(frequency, 9, **limits).words == ["common", "usual", "rare"]
    assert TopicVocabulary.build(frequency, 9, drop_most_frequent=0.001, **limits).words == ["usual", "rare"]


@pytest.mark.parametrize("rules", [None, RULES])
@given(st.lists(st.lists(st.text("abC", min_size=1, max_size=4), max_size=8), min_size=1, max_size=8))
def test_encode_inverts_to_the_kept_words(rules: WordRules | None, documents: list[list[str]]) -> None:
    frequency = _document_frequency([RULES.words(" ".join(tokens)) for tokens in documents])
    vocabulary = TopicVocabulary.build(frequency, len(documents), size=5, min_count=1, max_share=1.0, rules=rules)
    for tokens in documents:
        expected = [word for word in map(str.lower, tokens) if word in vocabulary.words]
        for ids in (vocabulary.encode(tokens), vocabulary.encode_sentence(" ".join(tokens))):
            assert [vocabulary.words[i] for i in ids] == expected


def test_encode_text_cleans_splits_and_tokenises() -> None:
    vocabulary = TopicVocabulary(["cats", "sleep", "energy"])
    text = "\u201cCats\u201d sleep.\r\nThey need en\u00adergy! CATS, cats\u2026"
    assert [vocabulary.words[i] for i in vocabulary.encode_text(text)] == [
        "cats",
        "sleep",
        "energy",
        "cats",
        "cats",
    ]


def test_save_and_load(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    for rules in (WordRules("french", lemmatize=True), None):
        saved = TopicVocabulary(["\u00e9t\u00e9", "cat"], rules)
        assert saved.save(path) == [path] + [tmp_path / "words.json"] * (rules is not None)
        loaded = TopicVocabulary.load(path)
        assert (loaded.words, loaded.rules) == (saved.words, rules)
    assert not (tmp_path / "words.json").exists(), "a vocabulary without rules leaves none of another one"


@pytest.mark.parametrize(
    "text", ["", "[]", '{"language": "klingon"}', '{"language": 5}', '{"lemmatize": true, "x": 1}']
)
def test_load_refuses_damaged_rules(text: str, tmp_path: Path) -> None:
    TopicVocabulary(["cat"]).save(tmp_path / "words.txt")
    (tmp_path / "words.json").write_text(text)
    with pytest.raises(UserError, match=r"words\.json"):
        TopicVocabulary.load(tmp_path / "words.txt")


def test_old_vocabularies_find_the_words_they_were_made_of() -> None:
    """Treebank tokens in lower case: hyphens and elisions never gave topic words."""
    words = ["cat", "long-term", "does"]
    sentence = "The l'cat doesn't see a long-term cat."
    assert TopicVocabulary(words).encode_sentence(sentence) == [2, 1, 0]


@pytest.mark.parametrize("text", ["cat\ncat\n", "cat\n\ndog\n"])
def test_load_refuses_a_damaged_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "words.txt").write_text(text)
    with pytest.raises(UserError, match=r"words\.txt"):
        TopicVocabulary.load(tmp_path / "words.txt")

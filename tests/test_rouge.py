"""ROUGE against cases counted by hand and brute force; extracts of documents; the baselines on made-up text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgvae.data.corpus import Corpus
from tgvae.errors import UserError
from tgvae.evaluation.rouge import (
    KINDS,
    MEASURES,
    RougeScores,
    _Tokenizer,
    extracts,
    first_bytes,
    first_sentence,
    lead,
    lex_rank,
    oracle_sentence,
    rouge,
    rouge_words,
)

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=7)
quickly = settings(deadline=None, max_examples=60)
STAR = [
    "Zebras eat apples.",
    "Apples, bananas and cherries ripen.",
    "Bananas need sunshine.",
    "Cherries attract birds.",
    "Numbers puzzled everybody.",
]


def one(candidate: str, *references: str, stem: bool = False) -> dict[str, float]:
    """The scores of one candidate."""
    found = rouge([candidate], [references], use_stemmer=stem)
    assert set(found.values) == set(MEASURES)
    return {name: value.item() for name, value in found.values.items()}


def common(candidate: Sequence[str], reference: Sequence[str], n: int) -> tuple[int, int, int]:
    """n-grams in both, each reference n-gram crossed out once it is used; n-grams in each."""
    grams = [[tuple(words[i : i + n]) for i in range(len(words) - n + 1)] for words in (candidate, reference)]
    left, hits = list(grams[1]), 0
    for gram in grams[0]:
        if gram in left:
            left.remove(gram)
            hits += 1
    return hits, len(grams[0]), len(grams[1])


def longest(candidate: Sequence[str], reference: Sequence[str]) -> int:
    """Length of the longest common subsequence, by trying all of them."""
    lengths = range(min(len(candidate), len(reference)) + 1)
    return max(n for n in lengths if set(combinations(candidate, n)) & set(combinations(reference, n)))


def f1(hits: int, candidate: int, reference: int) -> float:
    return 2 * hits / (candidate + reference) if hits else 0.0


@quickly
@given(WORDS, WORDS)
def test_rouge_is_the_brute_force(candidate: list[str], reference: list[str]) -> None:
    found = one(" ".join(candidate), " ".join(reference))
    for n, kind in ((1, "rouge1"), (2, "rouge2")):
        hits, ours, theirs = common(candidate, reference, n)
        assert found[kind] == pytest.approx(f1(hits, ours, theirs))
        assert found[f"{kind}_75_bytes"] == pytest.approx(hits / max(theirs, 1))
    length = longest(candidate, reference)
    assert found["rougeL"] == pytest.approx(f1(length, len(candidate), len(reference)))
    assert found["rougeL_75_bytes"] == pytest.approx(length / len(reference))


@pytest.mark.parametrize(
    ("candidate", "reference", "expected"),
    [
        ("the cat sat", "The cat sat on the mat.", (2 / 3, 4 / 7, 2 / 3)),
        ("mat the the the", "the cat on the mat", (2 / 3, 0.0, 4 / 9)),  # "the" counts twice, not three times
        ("a b c", "c b a", (1.0, 0.0, 1 / 3)),
        ("same text", "same text", (1.0, 1.0, 1.0)),
        ("word", "word", (1.0, 0.0, 1.0)),  # there is no pair of words to find
    ],
)
def test_f1_by_hand(candidate: str, reference: str, expected: tuple[float, ...]) -> None:
    found = one(candidate, reference)
    assert [found[kind] for kind in KINDS] == pytest.approx(list(expected))


def test_words_are_compared_by_stem_where_asked() -> None:
    assert one("generating topics", "topic generators")["rouge1"] == 0
    assert one("generating topics", "topic generators", stem=True)["rouge1"] == pytest.approx(1)
    default = rouge(["generating topics"], ["topic generators"]).values
    assert default["rouge1"] == pytest.approx([1])


def test_recall_sees_the_first_75_bytes_of_the_candidate_and_the_whole_reference() -> None:
    candidate = "x " * 33 + "alpha beta"  # byte 75 is the t of beta
    found = one(candidate, "alpha beta gamma delta")
    assert [found[f"{kind}_75_bytes"] for kind in KINDS] == pytest.approx([1 / 4, 0, 1 / 4])
    whole = one(candidate[2:], "alpha beta gamma delta " + "x " * 60)
    assert whole["rouge1_75_bytes"] == pytest.approx(34 / 64)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("plain", 3, "pla"),
        ("plain", 75, "plain"),
        ("été", 1, ""),
        ("été", 4, "ét"),
        ("日本語", 7, "日本"),
        ("a🙂b", 4, "a"),
        ("a🙂b", 5, "a🙂"),
        ("", 75, ""),
        ("text", 0, ""),
    ],
)
def test_bytes_are_cut_between_characters(text: str, limit: int, expected: str) -> None:
    assert first_bytes(text, limit) == expected


@quickly
@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 40))
def test_first_bytes_are_the_longest_beginning_that_fits(text: str, limit: int) -> None:
    fitting = [text[:end] for end in range(len(text) + 1) if len(text[:end].encode()) <= limit]
    assert first_bytes(text, limit) == fitting[-1]


def test_each_measure_takes_its_own_best_reference() -> None:
    short, long = "alpha beta", "beta gamma delta epsilon zeta eta theta iota"
    candidate = "alpha gamma delta " + "x" * 60 + " epsilon zeta eta theta"  # the last three are past 75 bytes
    separate, together = (one(candidate, short), one(candidate, long)), one(candidate, short, long)
    assert separate[0]["rouge1_75_bytes"] > separate[1]["rouge1_75_bytes"]
    assert separate[0]["rouge1"] < separate[1]["rouge1"]
    assert together == {name: max(scores[name] for scores in separate) for name in MEASURES}
    assert together == one(candidate, long, short)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The 2nd well-known_test's end.", ["the", "2nd", "well", "known", "test", "s", "end"]),
        ("État naïve", ["état", "naïve"]),
        ("e\u0301tat", ["état"]),
        ("قال الرجل، إن ٢٠٢٠؟", ["قال", "الرجل", "إن", "٢٠٢٠"]),
        ("हिन्दी में।", ["हिन्दी", "में"]),
        ("日本2020年", ["日", "本", "2020", "年"]),
        ("ที่", ["ที่"]),
        ("…! \u0301", []),
    ],
)
def test_words_of_any_script(text: str, words: list[str]) -> None:
    assert rouge_words(text) == words


@quickly
@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_words_are_those_of_rouge_score(text: str) -> None:
    """The package's own tokenizer is the oracle."""
    from rouge_score.tokenizers import DefaultTokenizer

    for stem in (False, True):
        assert _Tokenizer(stem).tokenize(text) == DefaultTokenizer(stem).tokenize(text)


def test_rouge_of_other_scripts() -> None:
    assert one("कोष्ठक में शब्द", "शब्द कोष्ठक में")["rouge1"] == pytest.approx(1)
    assert one("قال الرجل", "قال الناس")["rouge1"] == pytest.approx(0.5)


@pytest.mark.parametrize("candidate", ["", "  ", "?!", "…"])
def test_a_candidate_without_a_word_scores_nothing(candidate: str) -> None:
    assert set(one(candidate, "some reference").values()) == {0.0}


def test_documents_without_a_reference_are_left_out_and_counted() -> None:
    candidates = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
    found = rouge(candidates, ["alpha", None, "", [], "…", ["", "eta zeta"]])
    assert found.left_out == 4
    assert found.values["rouge1"] == pytest.approx([1, 2 / 3])
    assert all(value.shape == (2,) for value in found.values.values())


def test_documents_do_not_influence_each_other() -> None:
    candidates, references = STAR, ["apples", "bananas ripen", "need", "birds attract", "x"]
    found = rouge(candidates, references).values
    turned = rouge(candidates[::-1], references[::-1]).values
    for name in MEASURES:
        assert np.array_equal(found[name], turned[name][::-1])


def test_no_documents_give_no_scores() -> None:
    found = rouge([], [])
    assert found.left_out == 0
    assert [value.shape for value in found.values.values()] == [(0,)] * len(MEASURES)


def test_candidates_and_references_must_match() -> None:
    with pytest.raises(UserError, match="2 candidates for 1 references"):
        rouge(["one", "two"], ["one"])


def test_beginnings_of_a_document() -> None:
    document = ["The  army won.", "It was late."]
    assert first_sentence(document) == "The  army won."
    assert lead(document, 4) == "The army won. It"
    assert lead(document, 100) == "The army won. It was late."
    assert first_sentence([]) == lead([], 10) == ""


def test_lex_rank_takes_the_sentence_that_the_others_share_words_with() -> None:
    assert lex_rank(STAR) == STAR[1]
    assert lex_rank(STAR[::-1]) == STAR[1]
    assert lex_rank([*STAR[2:], *STAR[:2]], count=5) == " ".join([*STAR[2:], *STAR[:2]])


def test_lex_rank_leaves_stop_words_out() -> None:
    document = ["Rivers flood.", "Quite snowy peaks.", "Quite old bridges.", "Quite tall snowy bridges.", "Tea."]
    linked = ["Rivers flood.", "Snowy peaks.", "Old bridges.", "Tall snowy bridges.", "Tea."]
    assert lex_rank(document, stop_words={"quite"}) == document[linked.index(lex_rank(linked))] == document[3]
    everything = {"rivers", "flood", "quite", "snowy", "peaks", "old", "tall", "bridges"}
    assert lex_rank(document, stop_words=everything) == "Tea."


@pytest.mark.parametrize(
    "document",
    [["Only one here."], ["Army won.", "Bread rose."], ["!", "?", "…"], ["Twice.", "Twice."], ["the", "of"]],
)
def test_lex_rank_takes_the_first_of_equals(document: list[str]) -> None:
    assert lex_rank(document) == document[0]


def test_lex_rank_of_an_empty_document_is_empty() -> None:
    assert lex_rank([]) == ""


def test_the_oracle_is_the_best_of_all_sentences() -> None:
    reference = "birds and cherries ripen"
    means = [np.mean([one(text, reference, stem=True)[kind] for kind in KINDS]) for text in STAR]
    assert oracle_sentence(STAR, reference) == STAR[int(np.argmax(means))] == STAR[1]
    assert oracle_sentence(STAR, ["nothing like it", "numbers"]) == STAR[4]


def test_the_oracle_without_anything_to_go_by() -> None:
    assert oracle_sentence([], "birds") == oracle_sentence([], None) == ""
    assert oracle_sentence(STAR, None) == oracle_sentence(STAR, "unheard") == STAR[0]


def scored(documents: list[list[str]], references: list[str | None], **options: Any) -> dict[str, RougeScores]:
    return {name: rouge(texts, references) for name, texts in extracts(documents, references, **options).items()}


def test_extracts_of_made_up_documents(corpus: Corpus) -> None:
    documents = corpus.table["sentences"].to_pylist()[:12]
    titles: list[str | None] = [document[-1] for document in documents]
    found = scored(documents, titles, lead_words=(3, 1000))
    assert list(found) == ["first_sentence", "lead_3_words", "lead_1000_words", "lexrank", "oracle_sentence"]
    assert all(scores.left_out == 0 for scores in found.values())
    assert all(value.shape == (12,) for scores in found.values() for value in scores.values.values())
    assert found["oracle_sentence"].values["rougeL"] == pytest.approx(np.ones(12))
    best = sum(found["oracle_sentence"].values[kind] for kind in KINDS)
    for name in ("first_sentence", "lexrank"):
        assert np.all(best >= sum(found[name].values[kind] for kind in KINDS))
    expected = rouge([document[0] for document in documents], titles).values["rouge2"]
    assert np.array_equal(found["first_sentence"].values["rouge2"], expected)


def test_extracts_count_documents_without_title_and_score_empty_ones_zero() -> None:
    for name, scores in scored([[], STAR, STAR], ["Birds", None, "Apples ripen"]).items():
        assert scores.left_out == 1, name
        assert scores.values["rouge1"][0] == 0, name
        assert scores.values["rouge1"][1] > 0, name


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sumy.summarizers.lex_rank", None)
    with pytest.raises(UserError, match=r"LexRank needs sumy: pip install 'tgvae\[summaries\]'"):
        lex_rank(STAR)
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(UserError, match=r"ROUGE needs rouge-score: pip install 'tgvae\[summaries\]'"):
        rouge(["one"], ["one"])
    with pytest.raises(UserError, match="rouge-score"):
        oracle_sentence(STAR, "one")

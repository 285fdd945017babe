"""BLEU against nltk's, on sentences over few words, where n-grams repeat, are clipped and go missing."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate import bleu_score as nltk_bleu

from tgvae.errors import UserError
from tgvae.evaluation.bleu import ORDERS, References, bleu_f1, corpus_bleu, ngrams, self_bleu, sentence_bleu

WEIGHTS = [(1 / n,) * n for n in ORDERS]
SENTENCE = st.lists(st.sampled_from("aaaabbbccd"), max_size=12)
SENTENCES = st.lists(SENTENCE, min_size=1, max_size=8)
thoroughly = settings(deadline=None, max_examples=150)


def by_nltk(references: Sequence[Sequence[str]], hypothesis: Sequence[str]) -> list[float]:
    smooth = nltk_bleu.SmoothingFunction().method1
    return nltk_bleu.sentence_bleu(references, hypothesis, WEIGHTS, smoothing_function=smooth)


def corpus_by_nltk(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> list[float]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="\nThe hypothesis contains 0 counts")
        return nltk_bleu.corpus_bleu([references] * len(hypotheses), hypotheses, WEIGHTS)


def random_sentences(count: int, seed: int) -> list[list[str]]:
    """Sentences of 10 to 30 words, some words far more frequent than others."""
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(20)]
    weights = [1 / (i + 1) for i in range(20)]
    return [rng.choices(words, weights, k=rng.randint(10, 30)) for _ in range(count)]


@thoroughly
@given(SENTENCES, SENTENCES)
def test_sentence_bleu_is_nltks(references: list[list[str]], hypotheses: list[list[str]]) -> None:
    expected = [by_nltk(references, words) for words in hypotheses]
    assert sentence_bleu(hypotheses, References(references)) == pytest.approx(np.array(expected), abs=1e-9)


@thoroughly
@given(SENTENCES, SENTENCES)
def test_corpus_bleu_is_nltks(references: list[list[str]], hypotheses: list[list[str]]) -> None:
    expected = corpus_by_nltk(references, hypotheses)
    assert corpus_bleu(hypotheses, References(references)) == pytest.approx(expected, abs=1e-9)


@thoroughly
@given(st.lists(SENTENCE, min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_self_bleu_is_nltks_with_the_hypothesis_left_out(some: list[list[str]], rng: random.Random) -> None:
    """With some of the sentences twice."""
    some = some + rng.sample(some, rng.randint(0, 2))
    expected = [by_nltk(some[:i] + some[i + 1 :], words) for i, words in enumerate(some)]
    assert self_bleu(some) == pytest.approx(np.array(expected), abs=1e-9)


def test_longer_sentences_are_nltks_too() -> None:
    hypotheses, references = random_sentences(15, seed=0), random_sentences(40, seed=1)
    counted = References(references)
    expected = np.array([by_nltk(references, words) for words in hypotheses])
    assert np.ptp(expected, axis=0).min() > 0.02
    assert sentence_bleu(hypotheses, counted) == pytest.approx(expected, abs=1e-9)
    assert corpus_bleu(hypotheses, counted) == pytest.approx(corpus_by_nltk(references, hypotheses), abs=1e-9)
    others = [by_nltk(hypotheses[:i] + hypotheses[i + 1 :], words) for i, words in enumerate(hypotheses)]
    assert self_bleu(hypotheses) == pytest.approx(np.array(others), abs=1e-9)


def test_bleu_by_hand() -> None:
    """Three of 4 words, 1 of 3 pairs, no longer run; closest lengths are 3 and 5, the shorter gives no penalty."""
    counted = References([["a", "b", "x"], ["y", "y", "y", "c", "z"]])
    expected = [
        (3 / 4 * 1 / 3) ** (1 / 2),
        (3 / 4 * 1 / 3 * 0.1 / 2) ** (1 / 3),
        (3 / 4 * 1 / 3 * 0.1 / 2 * 0.1) ** (1 / 4),
        (3 / 4 * 1 / 3 * 0.1 / 2 * 0.1 * 0.1) ** (1 / 5),
    ]
    assert sentence_bleu([["a", "b", "b", "c"]], counted)[0] == pytest.approx(np.array(expected))
    short = sentence_bleu([["a", "b"]], counted)[0, 0]
    assert short == pytest.approx(np.exp(1 - 3 / 2)), "both words and the pair are there, a word is wanting"


def test_every_ngram_is_clipped_at_one_reference() -> None:
    counted = References([["a", "a", "b"], ["a", "b", "b", "b"]])
    assert (counted.most["a",], counted.most["b",], counted.most["a", "b"]) == (2, 3, 1)
    assert (counted.second["a",], counted.second["b",], counted.second["a", "b"]) == (1, 1, 1)
    assert ("a", "a") not in counted.second
    assert counted.lengths == {3: 1, 4: 1}


def test_order_of_sentences_does_not_matter() -> None:
    hypotheses, references = random_sentences(12, seed=2), random_sentences(20, seed=3)
    forward, backward = References(references), References(references[::-1])
    assert (forward.most, forward.second) == (backward.most, backward.second)
    scores, alike = sentence_bleu(hypotheses, forward), self_bleu(hypotheses)
    shuffled = np.random.default_rng(0).permutation(len(hypotheses))
    again = [hypotheses[i] for i in shuffled]
    assert (sentence_bleu(again, backward) == scores[shuffled]).all()
    assert (self_bleu(again) == alike[shuffled]).all()
    assert corpus_bleu(again, backward) == pytest.approx(corpus_bleu(hypotheses, forward))


def test_identical_sentences_score_one() -> None:
    some = random_sentences(5, seed=4)
    assert (sentence_bleu(some, References(some)) == 1).all()
    assert (corpus_bleu(some, References(some)) == 1).all()
    twins = self_bleu([*some, some[0]])
    assert (twins[[0, -1]] == 1).all()
    assert (twins[1:-1, -1] < 1).all()


def test_nothing_in_common_scores_nothing() -> None:
    counted = References([["a", "b"], []])
    assert not sentence_bleu([[], ["x"], ["x", "y", "z"]], counted).any()
    assert not corpus_bleu([[], ["x"]], counted).any()
    assert not self_bleu([["a", "b"], ["c", "d"], []]).any()
    assert sentence_bleu([], counted).shape == (0, len(ORDERS))


def test_nothing_to_compare_with_is_refused() -> None:
    with pytest.raises(UserError, match="at least one reference"):
        References([])
    with pytest.raises(UserError, match="at least one sentence"):
        corpus_bleu([], References([["a"]]))
    with pytest.raises(UserError, match="at least two sentences, not 1"):
        self_bleu([["a"]])


def test_f1_is_the_harmonic_mean_of_quality_and_variety() -> None:
    test, own = np.array([0.5, 1.0, 0.0, 0.0, 0.8]), np.array([0.5, 0.0, 1.0, 0.2, 1.0])
    assert bleu_f1(test, own) == pytest.approx(np.array([0.5, 1.0, 0.0, 0.0, 0.0]))
    assert float(bleu_f1(0.6, 0.7)) == pytest.approx(2 / (1 / 0.6 + 1 / 0.3))


def test_ngrams_are_runs_of_neighbours() -> None:
    assert list(ngrams(["a", "b", "c"], 2)) == [("a", "b"), ("b", "c")]
    assert list(ngrams(["a"], 1)) == [("a",)]
    assert list(ngrams(["a"], 2)) == []

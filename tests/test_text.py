"""Metrics of generated text against counting by hand and the likelihood of the corpus."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_models import SENTENCE
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.data.tokenizers import WordTokenizer
from tgvae.errors import UserError
from tgvae.evaluation.generation import (
    copied,
    distinct,
    length_distance,
    nll_under,
    perplexity_under,
    words_of,
)
from tgvae.evaluation.likelihood import sentence_bound
from tgvae.models.sentence import LanguageModel, SentenceConfig

SCRAP = st.text("aB \"'.", max_size=4)


@pytest.fixture(scope="module")
def judge(prepared: PreparedFolder) -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(SENTENCE, prepared.tokenizer, prepared.topic_vocabulary)
    with torch.no_grad():  # as after training: subwords have no unk
        model.decoder.bias[prepared.tokenizer.unk_id] = -30
    return model


@pytest.fixture(scope="module")
def texts(prepared: PreparedFolder) -> list[str]:
    held_out = Corpus(prepared, "test")
    return [held_out.text(i) for i in range(len(held_out.lengths))]


def test_words_are_lower_cased_treebank_words() -> None:
    assert words_of(["It doesn't.", "", " A  b "]) == [["it", "does", "n't", "."], [], ["a", "b"]]


@pytest.mark.parametrize(("n", "expected"), [(1, 2 / 6), (2, 2 / 4), (3, 2 / 2)])
def test_distinct_by_hand(n: int, expected: float) -> None:
    assert distinct(["a b a b", "A b"], n) == pytest.approx(expected)


def test_distinct_of_no_ngram_is_undefined() -> None:
    assert math.isnan(distinct(["word", ""], 2))
    assert math.isnan(distinct([], 1))


def test_copies_are_whole_sentences_whatever_their_case() -> None:
    training = ["The army was near.", "Bread and soup", ""]
    found = copied(
        ["the  ARMY was near.", "The army was near", "army", "soup and bread", "", "bread and soup"], training
    )
    assert found.tolist() == [True, False, False, False, False, True]
    assert copied([], training).shape == (0,)
    assert copied(["a"], []).tolist() == [False]


@settings(deadline=None)
@given(st.lists(SCRAP, max_size=12), st.lists(SCRAP, max_size=12))
def test_copies_by_comparing_with_every_training_sentence(texts: list[str], training: list[str]) -> None:
    expected = [any(a == b for b in words_of(training)) and a != [] for a in words_of(texts)]
    assert copied(texts, training).tolist() == expected


def test_every_training_sentence_is_a_copy_of_itself(corpus: Corpus) -> None:
    known = [corpus.text(i) for i in range(50)]
    assert copied(known[::-1], known).all()


def test_length_distance_by_hand() -> None:
    """Shares 1/2, 1/2, 0 at lengths 1, 2, 3 against 1/4, 1/4, 1/2."""
    a, b = np.array([1, 2]), np.array([3, 1, 3, 2])
    assert length_distance(a, b) == pytest.approx(1 / 2)
    assert length_distance(b, a) == length_distance(a, b)
    assert length_distance(np.repeat(a, 3), a[::-1]) == pytest.approx(0)
    assert length_distance(a, np.array([0, 40])) == 1


def test_length_distance_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="a sentence on either side"):
        length_distance(np.array([1]), np.array([], dtype=np.int64))


def test_perplexity_under_a_language_model_is_that_of_the_corpus(
    judge: LanguageModel, prepared: PreparedFolder, texts: list[str]
) -> None:
    expected = sentence_bound(judge, Corpus(prepared, "test")).perplexity
    assert perplexity_under(judge, texts) == pytest.approx(expected, rel=1e-5)


def test_nll_of_a_text_does_not_depend_on_its_neighbours(judge: LanguageModel, texts: list[str]) -> None:
    nll, words = nll_under(judge, texts)
    alone, counted = nll_under(judge, texts, batch=1)
    assert nll == pytest.approx(alone, rel=1e-5)
    backwards, _ = nll_under(judge, texts[::-1], batch=7)
    assert backwards[::-1] == pytest.approx(alone, rel=1e-5)
    assert words.tolist() == counted.tolist() == [len(words) + 1 for words in words_of(texts)]
    assert len(set(nll.round(3))) > len(set(texts)) / 2, "texts differ in their nll"


def test_texts_without_a_word_weigh_nothing(judge: LanguageModel, texts: list[str]) -> None:
    nll, words = nll_under(judge, ["  ", texts[0], "\u200b"])
    assert nll.tolist()[::2] == words.tolist()[::2] == [0, 0]
    assert perplexity_under(judge, ["", *texts]) == pytest.approx(perplexity_under(judge, texts))
    assert math.isnan(perplexity_under(judge, ["  "]))
    assert math.isnan(perplexity_under(judge, []))


def test_judging_leaves_the_judge_as_it_was(judge: LanguageModel, texts: list[str]) -> None:
    """Training mode comes back, and dropout plays no part meanwhile."""
    judge.train()
    first, second = (nll_under(judge, texts[:5])[0] for _ in range(2))
    assert first.tolist() == second.tolist()
    assert judge.training


def test_words_outside_the_vocabulary_count_for_nothing(prepared: PreparedFolder) -> None:
    """Of whole words: the nll and the words of all tokens but unk, which still stand in the context."""
    torch.manual_seed(0)
    tokenizer = WordTokenizer(["the", "army", "was", "near", "."])
    model = LanguageModel(SentenceConfig(8, 8), tokenizer, prepared.topic_vocabulary).eval()
    nll, words = nll_under(model, ["the army was near .", "the zebra was near ."])
    assert words.tolist() == [6, 5]
    ids = tokenizer.encode("the zebra was near .")
    assert ids[1] == tokenizer.unk_id
    state, expected = model.decoder.start(torch.zeros(1, 0)), 0.0
    for before, here in pairwise([tokenizer.bos_id, *ids, tokenizer.eos_id]):
        logits, state = model.decoder.step(torch.tensor([before]), state)
        if here != tokenizer.unk_id:
            logits[0, tokenizer.unk_id] = -torch.inf
            expected -= logits.log_softmax(-1)[0, here].item()
    assert nll[1] == pytest.approx(expected, rel=1e-5)

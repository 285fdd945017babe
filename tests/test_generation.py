"""Metrics of generated text by hand and by brute force, and a generator that only copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_models import build
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.data.tokenizers import WordTokenizer
from tgvae.errors import UserError
from tgvae.evaluation.bleu import References, bleu_f1, self_bleu, sentence_bleu
from tgvae.evaluation.eval_config import EvalConfig
from tgvae.evaluation.generation import (
    GeneratedText,
    ReferenceLM,
    TextSample,
    copied,
    distinct,
    generate_text,
    generation_metrics,
    length_distance,
    nll_under,
    perplexity_parts,
    perplexity_under,
    real_sentences,
    reverse_perplexity,
    words_of,
)
from tgvae.evaluation.likelihood import sentence_bound
from tgvae.evaluation.registry import EvalInputs
from tgvae.models.sentence import LanguageModel, SentenceConfig
from tgvae.models.text_generation import Sentence

HELD_OUT = ["The army saw a fleet .", "No bread is here .", "A moon and a comet ."]


class Reciter:
    """Writes the given sentences, again and again."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts

    def generate(self, num: int = 5, settings: None = None, seed: int = 0) -> list[Sentence]:
        return [Sentence(self.texts[i % len(self.texts)], 0.0, True) for i in range(num)]


def texts_of(corpus: Corpus) -> list[str]:
    return [corpus.text(i) for i in range(len(corpus.lengths))]


@pytest.fixture(scope="module")
def held_out(prepared: PreparedFolder) -> Corpus:
    return Corpus(prepared, "test")


@pytest.fixture(scope="module")
def reference(prepared: PreparedFolder) -> LanguageModel:
    model = build("language-model", prepared)
    assert isinstance(model, LanguageModel)
    with torch.no_grad():  # as after training: subwords have no unk
        model.decoder.bias[prepared.tokenizer.unk_id] = -30
    return model


def test_real_sentences_are_drawn_without_replacement(corpus: Corpus, held_out: Corpus) -> None:
    everything = texts_of(held_out)
    size = len(everything)
    assert sorted(real_sentences(held_out, size, seed=1)) == sorted(everything)
    assert sorted(real_sentences(held_out, 10 * size, seed=1)) == sorted(everything), "no more than there are"
    some = real_sentences(corpus, 50, seed=1)
    assert len(some) == 50
    assert some == real_sentences(corpus, 50, seed=1)
    assert some != real_sentences(corpus, 50, seed=2)
    assert real_sentences(corpus, 20, seed=1) == some[:20], "fewer are the first of more"


def test_written_is_measured_by_bleu() -> None:
    texts = ["The army saw a comet .", "the Army saw a comet .", "Soup"]
    words = words_of(texts)
    references = References(words_of(HELD_OUT))
    written = TextSample.measure(texts, references)
    assert written.texts == texts
    assert written.lengths.tolist() == [6, 6, 1]
    assert (written.test_bleu == sentence_bleu(words, references)).all()
    assert (written.self_bleu == self_bleu(words)).all()
    assert written.self_bleu[:2] == pytest.approx(1), "twins, but for the case"
    assert written.test_bleu[2] == pytest.approx(0), "no word in common"


def test_a_model_is_measured_beside_as_many_real_sentences(
    reference: LanguageModel, corpus: Corpus, held_out: Corpus
) -> None:
    found = generate_text(reference, corpus, held_out, 8, seed=3)
    assert found.samples.texts == [sentence.text for sentence in reference.generate(num=8, seed=3)]
    assert found.real.texts == real_sentences(corpus, 8, seed=3)
    assert found.held_out_lengths.tolist() == [len(words) for words in words_of(texts_of(held_out))]
    again = generate_text(reference, corpus, held_out, 8, seed=4)
    assert again.samples.texts != found.samples.texts


def test_figures_by_hand(corpus: Corpus) -> None:
    """A sentence of the training split, a held-out one and a short one, beside three real ones of 6, 5 and 6 words."""
    references = References(words_of(HELD_OUT))
    recited = corpus.text(0)
    texts = [recited, "A moon and a comet .", "a moon"]
    generated, real = TextSample.measure(texts, references), TextSample.measure(HELD_OUT, references)
    words = words_of(texts)
    metrics = generation_metrics(GeneratedText(generated, real, HELD_OUT, np.array([6, 5, 6])), corpus, seed=7)

    test, own = sentence_bleu(words, references).mean(0), self_bleu(words).mean(0)
    for i, order in enumerate((2, 3, 4, 5)):
        assert metrics[f"test_bleu_{order}"].value == pytest.approx(test[i])
        assert metrics[f"test_bleu_{order}"].baselines == {"real_text": pytest.approx(1)}
        assert metrics[f"self_bleu_{order}"].value == pytest.approx(own[i])
        assert metrics[f"self_bleu_{order}"].baselines["real_text"] == pytest.approx(
            self_bleu(words_of(HELD_OUT))[:, i].mean()
        )
        assert metrics[f"bleu_f1_{order}"].value == pytest.approx(float(bleu_f1(test[i], own[i])))
    for n in (1, 2, 3):
        grams = [tuple(sentence[i : i + n]) for sentence in words for i in range(len(sentence) - n + 1)]
        assert metrics[f"distinct_{n}"].value == pytest.approx(len(set(grams)) / len(grams))
    assert metrics["distinct_1"].baselines["real_text"] == pytest.approx(13 / 17), (
        "3 'a', 3 '.' of 17 words; all else once"
    )
    counts = np.array([len(sentence) for sentence in words])
    assert metrics["copied"].value == pytest.approx(1 / 3)
    assert metrics["length"].value == pytest.approx(counts.mean())
    assert metrics["length"].error == pytest.approx(counts.std(ddof=1) / math.sqrt(3))
    assert metrics["length"].baselines == {"real_text": pytest.approx(17 / 3)}
    at = {n: (counts == n).mean() - {5: 1 / 3, 6: 2 / 3}.get(n, 0) for n in {5, 6, *counts.tolist()}}
    assert metrics["length_distance"].value == pytest.approx(sum(map(abs, at.values())) / 2)
    assert metrics["length_distance"].baselines == {"real_text": pytest.approx(0)}
    assert {(metric.size, metric.seed) for metric in metrics.values()} == {(3, 7)}
    assert all(metric.unit and metric.estimator for metric in metrics.values())


def test_a_writer_that_recites_is_found_out(corpus: Corpus, held_out: Corpus) -> None:
    training = texts_of(corpus)[:5]
    found = generate_text(Reciter(training), corpus, held_out, 10, seed=0)
    metrics = generation_metrics(found, corpus, seed=0)
    assert metrics["copied"].value == 1
    assert metrics["copied"].error == 0
    for order in (2, 3, 4, 5):
        assert metrics[f"self_bleu_{order}"].value == pytest.approx(1), "every sentence has a twin"
        assert metrics[f"bleu_f1_{order}"].value == pytest.approx(0, abs=1e-9), "quality without variety"
    own = generation_metrics(generate_text(Reciter(HELD_OUT), corpus, held_out, 3, seed=0), corpus, seed=0)
    assert own["copied"].value == 0


def test_a_writer_of_nothing_has_figures_too(reference: LanguageModel, corpus: Corpus, held_out: Corpus) -> None:
    metrics = generation_metrics(generate_text(Reciter([""]), corpus, held_out, 4, seed=0), corpus, seed=0)
    for name in ("test_bleu_2", "self_bleu_2", "bleu_f1_2", "length", "copied"):
        assert metrics[name].value == 0
    assert metrics["length_distance"].value == 1
    fluency = ReferenceLM.of(reference, held_out, "small").forward_perplexity(["", ""], seed=0)["forward_perplexity"]
    assert math.isnan(fluency.value), "no word, no perplexity"
    assert fluency.error == 0


def test_forward_perplexity_is_the_judges(reference: LanguageModel, held_out: Corpus) -> None:
    texts = ["The army saw a moon.", "", "No soup can be here for long."]
    rater = ReferenceLM.of(reference, held_out, "small")
    metric = rater.forward_perplexity(texts, seed=5)["forward_perplexity"]
    assert metric.value == pytest.approx(perplexity_under(reference, texts))
    assert metric.baselines == {"real_text": pytest.approx(perplexity_under(reference, texts_of(held_out)))}
    assert rater.bound.perplexity == pytest.approx(sentence_bound(reference, held_out).perplexity)
    assert (metric.size, metric.seed, metric.unit) == (3, 5, "per word")
    assert metric.parts is not None
    assert not metric.parts.paired, "generated sentences of two runs have nothing to do with one another"


def test_perplexity_parts_by_document(reference: LanguageModel, held_out: Corpus) -> None:
    texts, documents = texts_of(held_out), held_out.sentences[:, 0]
    parts = perplexity_parts(reference, texts, documents)
    nll, words = nll_under(reference, texts)
    assert parts.value == pytest.approx(math.exp(nll.sum() / words.sum()))
    assert parts.paired
    assert set(parts.unit) == set(documents)
    assert parts.value == pytest.approx(sentence_bound(reference, held_out).perplexity, rel=1e-4), "as the table"


def test_reverse_perplexity_fits_generated_and_real_text(
    reference: LanguageModel, prepared: PreparedFolder, corpus: Corpus, held_out: Corpus
) -> None:
    other = build("language-model", prepared)
    for parameter in other.parameters():
        parameter.data.zero_()  # every token has the same probability
    fitted: list[list[str]] = []

    def fit(texts: Sequence[str]) -> LanguageModel:
        fitted.append(list(texts))
        return [reference, other][len(fitted) - 1]

    inputs = EvalInputs(Reciter(["Some text."]), corpus, held_out, EvalConfig(reverse=6, seed=2))
    metric = reverse_perplexity(inputs, fit)["reverse_perplexity"]
    assert fitted == [["Some text."] * 6, real_sentences(corpus, 6, seed=2)]
    texts = texts_of(held_out)
    assert metric.value == pytest.approx(perplexity_under(reference, texts))
    assert metric.baselines == {"real_text": pytest.approx(perplexity_under(other, texts))}
    assert metric.parts is not None
    assert metric.parts.paired
    assert set(metric.parts.unit) == set(held_out.sentences[:, 0])
    assert (metric.size, metric.seed) == (len(texts), 2)
    assert "6 generated sentences" in metric.estimator


SCRAP = st.text("aB \"'.", max_size=4)


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
    reference: LanguageModel, prepared: PreparedFolder, texts: list[str]
) -> None:
    expected = sentence_bound(reference, Corpus(prepared, "test")).perplexity
    assert perplexity_under(reference, texts) == pytest.approx(expected, rel=1e-5)


def test_nll_of_a_text_does_not_depend_on_its_neighbours(reference: LanguageModel, texts: list[str]) -> None:
    nll, words = nll_under(reference, texts)
    alone, counted = nll_under(reference, texts, batch=1)
    assert nll == pytest.approx(alone, rel=1e-5)
    backwards, _ = nll_under(reference, texts[::-1], batch=7)
    assert backwards[::-1] == pytest.approx(alone, rel=1e-5)
    assert words.tolist() == counted.tolist() == [len(words) + 1 for words in words_of(texts)]
    assert len(set(nll.round(3))) > len(set(texts)) / 2, "texts differ in their nll"


def test_texts_without_a_word_weigh_nothing(reference: LanguageModel, texts: list[str]) -> None:
    nll, words = nll_under(reference, ["  ", texts[0], "\u200b"])
    assert nll.tolist()[::2] == words.tolist()[::2] == [0, 0]
    assert perplexity_under(reference, ["", *texts]) == pytest.approx(perplexity_under(reference, texts))
    assert math.isnan(perplexity_under(reference, ["  "]))
    assert math.isnan(perplexity_under(reference, []))


def test_judging_leaves_the_judge_as_it_was(reference: LanguageModel, texts: list[str]) -> None:
    """Training mode comes back, and dropout plays no part meanwhile."""
    reference.train()
    first, second = (nll_under(reference, texts[:5])[0] for _ in range(2))
    assert first.tolist() == second.tolist()
    assert reference.training


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

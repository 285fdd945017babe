"""Metrics of sentences written freely: by hand on a small case, and a writer that only recites."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from tests.test_models import build
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.evaluation.bleu import References, bleu_f1, self_bleu, sentence_bleu
from tgvae.evaluation.eval_config import EvalConfig
from tgvae.evaluation.generation import (
    GeneratedText,
    ReferenceLM,
    TextSample,
    generate_text,
    generation_metrics,
    nll_under,
    perplexity_parts,
    perplexity_under,
    real_sentences,
    reverse_perplexity,
    words_of,
)
from tgvae.evaluation.likelihood import sentence_bound
from tgvae.evaluation.registry import EvalInputs
from tgvae.models.sentence import LanguageModel
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
def judge(prepared: PreparedFolder) -> LanguageModel:
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
    judge: LanguageModel, corpus: Corpus, held_out: Corpus
) -> None:
    found = generate_text(judge, corpus, held_out, 8, seed=3)
    assert found.samples.texts == [sentence.text for sentence in judge.generate(num=8, seed=3)]
    assert found.real.texts == real_sentences(corpus, 8, seed=3)
    assert found.held_out_lengths.tolist() == [len(words) for words in words_of(texts_of(held_out))]
    again = generate_text(judge, corpus, held_out, 8, seed=4)
    assert again.samples.texts != found.samples.texts


def test_figures_by_hand(corpus: Corpus) -> None:
    """A sentence of the training split, a held-out one and a short one, beside three real ones of 6, 5 and 6 words."""
    references = References(words_of(HELD_OUT))
    recited = corpus.text(0)
    texts = [recited, "A moon and a comet .", "a moon"]
    generated, real = TextSample.measure(texts, references), TextSample.measure(HELD_OUT, references)
    words = words_of(texts)
    figures = generation_metrics(GeneratedText(generated, real, HELD_OUT, np.array([6, 5, 6])), corpus, seed=7)

    test, own = sentence_bleu(words, references).mean(0), self_bleu(words).mean(0)
    for i, order in enumerate((2, 3, 4, 5)):
        assert figures[f"test_bleu_{order}"].value == pytest.approx(test[i])
        assert figures[f"test_bleu_{order}"].baselines == {"real_text": pytest.approx(1)}
        assert figures[f"self_bleu_{order}"].value == pytest.approx(own[i])
        assert figures[f"self_bleu_{order}"].baselines["real_text"] == pytest.approx(
            self_bleu(words_of(HELD_OUT))[:, i].mean()
        )
        assert figures[f"bleu_f1_{order}"].value == pytest.approx(float(bleu_f1(test[i], own[i])))
    for n in (1, 2, 3):
        grams = [tuple(sentence[i : i + n]) for sentence in words for i in range(len(sentence) - n + 1)]
        assert figures[f"distinct_{n}"].value == pytest.approx(len(set(grams)) / len(grams))
    assert figures["distinct_1"].baselines["real_text"] == pytest.approx(13 / 17), (
        "3 'a', 3 '.' of 17 words; all else once"
    )
    counts = np.array([len(sentence) for sentence in words])
    assert figures["copied"].value == pytest.approx(1 / 3)
    assert figures["length"].value == pytest.approx(counts.mean())
    assert figures["length"].error == pytest.approx(counts.std(ddof=1) / math.sqrt(3))
    assert figures["length"].baselines == {"real_text": pytest.approx(17 / 3)}
    at = {n: (counts == n).mean() - {5: 1 / 3, 6: 2 / 3}.get(n, 0) for n in {5, 6, *counts.tolist()}}
    assert figures["length_distance"].value == pytest.approx(sum(map(abs, at.values())) / 2)
    assert figures["length_distance"].baselines == {"real_text": pytest.approx(0)}
    assert {(figure.size, figure.seed) for figure in figures.values()} == {(3, 7)}
    assert all(figure.unit and figure.estimator for figure in figures.values())


def test_a_writer_that_recites_is_found_out(corpus: Corpus, held_out: Corpus) -> None:
    training = texts_of(corpus)[:5]
    found = generate_text(Reciter(training), corpus, held_out, 10, seed=0)
    figures = generation_metrics(found, corpus, seed=0)
    assert figures["copied"].value == 1
    assert figures["copied"].error == 0
    for order in (2, 3, 4, 5):
        assert figures[f"self_bleu_{order}"].value == pytest.approx(1), "every sentence has a twin"
        assert figures[f"bleu_f1_{order}"].value == pytest.approx(0, abs=1e-9), "quality without variety"
    own = generation_metrics(generate_text(Reciter(HELD_OUT), corpus, held_out, 3, seed=0), corpus, seed=0)
    assert own["copied"].value == 0


def test_a_writer_of_nothing_has_figures_too(judge: LanguageModel, corpus: Corpus, held_out: Corpus) -> None:
    figures = generation_metrics(generate_text(Reciter([""]), corpus, held_out, 4, seed=0), corpus, seed=0)
    for name in ("test_bleu_2", "self_bleu_2", "bleu_f1_2", "length", "copied"):
        assert figures[name].value == 0
    assert figures["length_distance"].value == 1
    fluency = ReferenceLM.of(judge, held_out, "small").forward_perplexity(["", ""], seed=0)["forward_perplexity"]
    assert math.isnan(fluency.value), "no word, no perplexity"
    assert fluency.error == 0


def test_forward_perplexity_is_the_judges(judge: LanguageModel, held_out: Corpus) -> None:
    texts = ["The army saw a moon.", "", "No soup can be here for long."]
    rater = ReferenceLM.of(judge, held_out, "small")
    figure = rater.forward_perplexity(texts, seed=5)["forward_perplexity"]
    assert figure.value == pytest.approx(perplexity_under(judge, texts))
    assert figure.baselines == {"real_text": pytest.approx(perplexity_under(judge, texts_of(held_out)))}
    assert rater.bound.perplexity == pytest.approx(sentence_bound(judge, held_out).perplexity)
    assert (figure.size, figure.seed, figure.unit) == (3, 5, "per word")
    assert figure.parts is not None
    assert not figure.parts.paired, "generated sentences of two runs have nothing to do with one another"


def test_perplexity_parts_by_document(judge: LanguageModel, held_out: Corpus) -> None:
    texts, documents = texts_of(held_out), held_out.sentences[:, 0]
    parts = perplexity_parts(judge, texts, documents)
    nll, words = nll_under(judge, texts)
    assert parts.value == pytest.approx(math.exp(nll.sum() / words.sum()))
    assert parts.paired
    assert set(parts.unit) == set(documents)
    assert parts.value == pytest.approx(sentence_bound(judge, held_out).perplexity, rel=1e-4), "text and table agree"


def test_reverse_perplexity_fits_generated_and_real_text(
    judge: LanguageModel, prepared: PreparedFolder, corpus: Corpus, held_out: Corpus
) -> None:
    other = build("language-model", prepared)
    for parameter in other.parameters():
        parameter.data.zero_()  # every token has the same probability
    fitted: list[list[str]] = []

    def fit(texts: Sequence[str]) -> LanguageModel:
        fitted.append(list(texts))
        return [judge, other][len(fitted) - 1]

    inputs = EvalInputs(Reciter(["Some text."]), corpus, held_out, EvalConfig(reverse=6, seed=2))
    figure = reverse_perplexity(inputs, fit)["reverse_perplexity"]
    assert fitted == [["Some text."] * 6, real_sentences(corpus, 6, seed=2)]
    texts = texts_of(held_out)
    assert figure.value == pytest.approx(perplexity_under(judge, texts))
    assert figure.baselines == {"real_text": pytest.approx(perplexity_under(other, texts))}
    assert figure.parts is not None
    assert figure.parts.paired
    assert set(figure.parts.unit) == set(held_out.sentences[:, 0])
    assert (figure.size, figure.seed) == (len(texts), 2)
    assert "6 generated sentences" in figure.estimator

"""Sentences written freely: are they like real text, varied, of its lengths, and not recited?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tgvae.data.corpus import Corpus
from tgvae.evaluation.bleu import ORDERS, Floats, References, bleu_f1, self_bleu, sentence_bleu
from tgvae.evaluation.likelihood import Bound, sentence_bound
from tgvae.evaluation.metric import Metrics, Parts
from tgvae.evaluation.registry import measure
from tgvae.evaluation.text import Ints, copied, distinct, length_distance, nll_under, perplexity_under, words_of
from tgvae.models.base import Model
from tgvae.models.sentence import LanguageModel, SentenceVAE
from tgvae.models.tgvae import TGVAE

Writer = LanguageModel | SentenceVAE | TGVAE
FitLanguageModel = Callable[[Sequence[str]], LanguageModel]


@dataclass(frozen=True, eq=False)
class Written:
    """Sentences and what BLEU says of them.

    Attributes:
        texts: N sentences.
        lengths: their words, with shape (N,).
        test_bleu: BLEU-2 to BLEU-5 against all held-out sentences, with shape (N, 4).
        own_bleu: the same against one another: self-BLEU.
    """

    texts: list[str]
    lengths: Ints
    test_bleu: Floats
    own_bleu: Floats

    @classmethod
    def measure(cls, texts: list[str], references: References) -> Written:
        words = words_of(texts)
        return cls(texts, np.array([len(w) for w in words]), sentence_bleu(words, references), self_bleu(words))


@dataclass(frozen=True, eq=False)
class Writing:
    """Written sentences beside as many real ones of the training split, and the held-out ones they are measured by."""

    generated: Written
    real: Written
    held_out: list[str]
    held_out_lengths: Ints


def write_freely(model: Writer, train: Corpus, held_out: Corpus, count: int, seed: int) -> Writing:
    """``count`` plain samples of a model: from its prior, of no chosen topic."""
    texts = [sentence.text for sentence in model.generate(num=count, seed=seed)]
    held_out_words = words_of(held_out.texts)
    references = References(held_out_words)
    real = Written.measure(real_sentences(train, count, seed), references)
    lengths = np.array([len(words) for words in held_out_words])
    return Writing(Written.measure(texts, references), real, held_out.texts, lengths)


def real_sentences(corpus: Corpus, count: int, seed: int) -> list[str]:
    """``count`` modelled sentences of a split, drawn without replacement (all, if there are fewer)."""
    chosen = np.random.default_rng(seed).permutation(len(corpus.lengths))[:count]
    return [corpus.text(i) for i in chosen]


def writing_figures(found: Writing, train: Corpus, seed: int) -> Metrics:
    """BLEU, variety, copies and lengths, each beside real text."""
    ours, real = found.generated, found.real
    figures: Metrics = {}
    for i, order in enumerate(ORDERS):
        for kind, mine, theirs in (
            ("test_bleu_{order}", ours.test_bleu, real.test_bleu),
            ("self_bleu_{order}", ours.own_bleu, real.own_bleu),
        ):
            baselines = {"real_text": float(theirs[:, i].mean())}
            figures |= measure(kind, Parts.mean(mine[:, i]), seed=seed, baselines=baselines, order=order)
    size = len(ours.texts)
    for i, order in enumerate(ORDERS):
        value, mark = (float(bleu_f1(w.test_bleu[:, i].mean(), w.own_bleu[:, i].mean())) for w in (ours, real))
        figures |= measure("bleu_f1_{order}", value, size, seed, baselines={"real_text": mark}, order=order)
    for n in (1, 2, 3):
        value, natural = (distinct(w.texts, n) for w in (ours, real))
        figures |= measure("distinct_{order}", value, size, seed, baselines={"real_text": natural}, order=n)
    recited, mark = Parts.mean(copied(ours.texts, train.texts)), float(copied(found.held_out, train.texts).mean())
    figures |= measure("copied", recited, seed=seed, baselines={"held_out": mark})
    lengths, mark = Parts.mean(ours.lengths), float(real.lengths.mean())
    figures |= measure("length", lengths, seed=seed, baselines={"real_text": mark})
    value, natural = (length_distance(w.lengths, found.held_out_lengths) for w in (ours, real))
    return figures | measure("length_distance", value, size, seed, baselines={"real_text": natural})


@dataclass(frozen=True, eq=False)
class ReferenceLM:
    """A language model of real text, with what it says of held-out text: the mark of what it says of samples.

    Attributes:
        model: the language model.
        bound: of the held-out sentences, exact.
        name: tells judges apart.
        natural: perplexity of the held-out sentences without words outside the vocabulary, as samples have none.
    """

    model: LanguageModel
    bound: Bound
    name: str
    natural: float

    @classmethod
    def of(cls, model: LanguageModel, held_out: Corpus, name: str) -> ReferenceLM:
        return cls(model, sentence_bound(model, held_out), name, perplexity_under(model, held_out.texts))

    def is_of(self, model: Model) -> bool:
        """Whether the model is the judge itself, of the same weights."""
        mine, other = self.model.state_dict(), model.state_dict()
        return mine.keys() == other.keys() and all(torch.equal(mine[k].cpu(), other[k].cpu()) for k in mine)

    def forward(self, texts: Sequence[str], seed: int, strength: float | None = None) -> Metrics:
        """Perplexity of generated text; far below real text is bland, far above broken."""
        metric = "forward_perplexity" if strength is None else "forward_perplexity_{strength:g}"
        parts = perplexity_parts(self.model, texts)
        return measure(metric, parts, seed=seed, baselines={"real_text": self.natural}, strength=strength)


def reverse_figure(
    model: Writer, train: Corpus, held_out: Corpus, fit: FitLanguageModel, count: int, seed: int
) -> Metrics:
    """Perplexity of held-out text under a language model of generated text, beside one of as much real text.

    Bad text and text without variety both make it rise (Zhao et al. 2018).
    """
    generated = [sentence.text for sentence in model.generate(num=count, seed=seed)]
    parts, natural = (
        perplexity_parts(fit(texts), held_out.texts, held_out.sentences[:, 0])
        for texts in (generated, real_sentences(train, count, seed))
    )
    baselines = {"real_text": natural.value}
    return measure("reverse_perplexity", parts, seed=seed, baselines=baselines, sentences=count)


def perplexity_parts(judge: LanguageModel, texts: Sequence[str], documents: Ints | None = None) -> Parts:
    """What the perplexity of texts under a judge is summed from; with ``documents`` of a split, by these."""
    nll, words = nll_under(judge, texts)
    unit = np.arange(len(texts)) if documents is None else documents
    return Parts(nll, words.astype(np.float64), unit, paired=documents is not None, exp=True)

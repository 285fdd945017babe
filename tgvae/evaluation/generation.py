"""Generated sentences: are they like real text, varied, of the same lengths, and not copied from training?"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray

from tgvae.data.corpus import Corpus
from tgvae.data.tokenizers import clean_text, word_tokenize
from tgvae.errors import UserError
from tgvae.evaluation.bleu import ORDERS, References, bleu_f1, ngrams, self_bleu, sentence_bleu
from tgvae.evaluation.likelihood import Bound, evaluating, sentence_bound
from tgvae.evaluation.metric import Floats, Ints, Metrics, Parts
from tgvae.evaluation.registry import EvalInputs, Evaluation, evaluator, measure
from tgvae.models.base import Capability, Model
from tgvae.models.sentence import LanguageModel, SentenceVAE
from tgvae.models.text_generation import read
from tgvae.models.tgvae import TGVAE
from tgvae.progress import step

Writer = LanguageModel | SentenceVAE | TGVAE
FitLanguageModel = Callable[[Sequence[str]], LanguageModel]


def is_language_model(model: Model) -> TypeGuard[LanguageModel]:
    """Return whether the model has exact log-probabilities, so that it can score text for other models."""
    return callable(getattr(model, "known_log_prob", None))


@evaluator("generation", Capability.GENERATION)
@step("measuring generated text")
def evaluate_generation(inputs: EvalInputs, evaluation: Evaluation) -> Metrics:
    """BLEU, variety, copies and lengths of generated sentences, and their perplexity under language models."""
    config = inputs.config
    generated = generate_text(inputs.model, inputs.train, inputs.held_out, config.generated, config.seed)
    evaluation.generated = generated
    metrics = generation_metrics(generated, inputs.train, config.seed)
    if inputs.reference_lm is not None:
        metrics |= inputs.reference_lm.forward_perplexity(generated.samples.texts, config.seed)
    if config.reverse and inputs.fit_lm is not None:
        metrics |= reverse_perplexity(inputs, inputs.fit_lm)
    return metrics


@dataclass(frozen=True, eq=False)
class TextSample:
    """Sentences with their lengths and BLEU.

    Attributes:
        texts: N sentences.
        lengths: their words, with shape (N,).
        test_bleu: BLEU-2 to BLEU-5 against all held-out sentences, with shape (N, 4).
        self_bleu: BLEU-2 to BLEU-5 against one another.
    """

    texts: list[str]
    lengths: Ints
    test_bleu: Floats
    self_bleu: Floats

    @classmethod
    def measure(cls, texts: list[str], references: References) -> TextSample:
        words = words_of(texts)
        return cls(texts, np.array([len(w) for w in words]), sentence_bleu(words, references), self_bleu(words))


@dataclass(frozen=True, eq=False)
class GeneratedText:
    """Generated sentences, as many real sentences of the training split, and the held-out sentences.

    Attributes:
        samples: generated sentences.
        real: sentences of the training split, the baseline.
        held_out: held-out sentences, the references of BLEU.
        held_out_lengths: their words, with shape (held-out sentences,).
    """

    samples: TextSample
    real: TextSample
    held_out: list[str]
    held_out_lengths: Ints


def generate_text(model: Any, train: Corpus, held_out: Corpus, count: int, seed: int) -> GeneratedText:
    """Generate ``count`` sentences from the model's prior by plain sampling, without choosing a topic."""
    texts = [sentence.text for sentence in model.generate(num=count, seed=seed)]
    held_out_words = words_of(held_out.texts)
    references = References(held_out_words)
    real = TextSample.measure(real_sentences(train, count, seed), references)
    lengths = np.array([len(words) for words in held_out_words])
    return GeneratedText(TextSample.measure(texts, references), real, held_out.texts, lengths)


def real_sentences(corpus: Corpus, count: int, seed: int) -> list[str]:
    """Return ``count`` modelled sentences of a split, sampled without replacement (all if there are fewer)."""
    chosen = np.random.default_rng(seed).permutation(len(corpus.lengths))[:count]
    return [corpus.text(i) for i in chosen]


def generation_metrics(found: GeneratedText, train: Corpus, seed: int) -> Metrics:
    """Return BLEU, variety, copies and lengths, each with real text as baseline."""
    samples, real, size = found.samples, found.real, len(found.samples.texts)
    metrics: Metrics = {}
    for i, order in enumerate(ORDERS):
        for metric, values, natural in (
            ("test_bleu_{order}", samples.test_bleu, real.test_bleu),
            ("self_bleu_{order}", samples.self_bleu, real.self_bleu),
        ):
            baselines = {"real_text": float(natural[:, i].mean())}
            metrics |= measure(metric, Parts.mean(values[:, i]), seed=seed, baselines=baselines, order=order)
    for i, order in enumerate(ORDERS):
        f1, natural_f1 = (float(bleu_f1(s.test_bleu[:, i].mean(), s.self_bleu[:, i].mean())) for s in (samples, real))
        metrics |= measure("bleu_f1_{order}", f1, size, seed, baselines={"real_text": natural_f1}, order=order)
    for order in (1, 2, 3):
        share, natural_share = (distinct(s.texts, order) for s in (samples, real))
        metrics |= measure("distinct_{order}", share, size, seed, baselines={"real_text": natural_share}, order=order)
    natural_copies = float(copied(found.held_out, train.texts).mean())
    copies = Parts.mean(copied(samples.texts, train.texts))
    metrics |= measure("copied", copies, seed=seed, baselines={"held_out": natural_copies})
    baselines = {"real_text": float(real.lengths.mean())}
    metrics |= measure("length", Parts.mean(samples.lengths), seed=seed, baselines=baselines)
    distance, natural_distance = (length_distance(s.lengths, found.held_out_lengths) for s in (samples, real))
    return metrics | measure("length_distance", distance, size, seed, baselines={"real_text": natural_distance})


@dataclass(frozen=True, eq=False)
class ReferenceLM:
    """A language model of real text that scores generated text, with its perplexity of held-out text as baseline.

    Attributes:
        model: the language model.
        bound: of the held-out sentences, exact.
        name: identifies it in reports: runs are compared only if the same model scored them.
        natural: perplexity of the held-out sentences without unknown words, which generated text does not have.
    """

    model: LanguageModel
    bound: Bound
    name: str
    natural: float

    @classmethod
    def of(cls, model: LanguageModel, held_out: Corpus, name: str) -> ReferenceLM:
        return cls(model, sentence_bound(model, held_out), name, perplexity_under(model, held_out.texts))

    def is_same_model(self, model: Model) -> bool:
        """Return whether a model has the same weights."""
        mine, other = self.model.state_dict(), model.state_dict()
        return mine.keys() == other.keys() and all(torch.equal(mine[k].cpu(), other[k].cpu()) for k in mine)

    def forward_perplexity(self, texts: Sequence[str], seed: int, strength: float | None = None) -> Metrics:
        """Return the perplexity of generated text: far below real text it is bland, far above it is broken."""
        metric = "forward_perplexity" if strength is None else "forward_perplexity_{strength:g}"
        parts = perplexity_parts(self.model, texts)
        return measure(metric, parts, seed=seed, baselines={"real_text": self.natural}, strength=strength)


def reverse_perplexity(inputs: EvalInputs, fit_lm: FitLanguageModel) -> Metrics:
    """Return the perplexity of held-out text under a language model that was trained on generated text.

    Both broken text and text without variety raise it (Zhao et al. 2018). The baseline is trained on as much real text.
    """
    count, seed, held_out = inputs.config.reverse, inputs.config.seed, inputs.held_out
    generated = [sentence.text for sentence in inputs.model.generate(num=count, seed=seed)]
    parts, natural = (
        perplexity_parts(fit_lm(texts), held_out.texts, held_out.sentences[:, 0])
        for texts in (generated, real_sentences(inputs.train, count, seed))
    )
    baselines = {"real_text": natural.value}
    return measure("reverse_perplexity", parts, seed=seed, baselines=baselines, sentences=count)


def perplexity_parts(model: LanguageModel, texts: Sequence[str], documents: Ints | None = None) -> Parts:
    """Return the parts of the perplexity of texts; with ``documents`` of a split, these are the units."""
    nll, words = nll_under(model, texts)
    unit = np.arange(len(texts)) if documents is None else documents
    return Parts(nll, words.astype(np.float64), unit, paired=documents is not None, exp=True)


def nll_under(model: LanguageModel, texts: Sequence[str], batch: int = 64) -> tuple[Floats, Ints]:
    """Return -log p(text) in nats under a language model and the words with the end of the sentence, both (N,).

    Words outside the vocabulary count for neither, and the probability is that among known words: generated text has
    no unk, so a language model of generated text has never seen one. A text without a word has 0 of both.
    """
    cleaned = [clean_text(text) for text in texts]
    kept = [i for i, text in enumerate(cleaned) if text]
    nll, words = np.zeros(len(texts)), np.zeros(len(texts), dtype=np.int64)
    with evaluating(model, seed=0):
        for start in range(0, len(kept), batch):
            index = kept[start : start + batch]
            targets, _ = read(model.tokenizer, [cleaned[i] for i in index], model.device)
            nll[index] = -model.known_log_prob(targets).sum(-1).cpu().double().numpy()
            unknown = (targets == model.tokenizer.unk_id).sum(-1).cpu().numpy()
            words[index] = [len(word_tokenize(cleaned[i])) + 1 for i in index] - unknown
    return nll, words


def perplexity_under(model: LanguageModel, texts: Sequence[str]) -> float:
    """Return the perplexity per nltk word (an end of sentence counts as one) of texts under a language model.

    Texts without a word are left out; NaN if none is left.
    """
    nll, words = nll_under(model, texts)
    return math.exp(nll.sum() / words.sum()) if words.any() else math.nan


def words_of(texts: Iterable[str]) -> list[list[str]]:
    """Return the lower-cased nltk words of every sentence."""
    return [word_tokenize(text.lower()) for text in texts]


def distinct(texts: Iterable[str], n: int) -> float:
    """Return the number of distinct n-grams over that of all n-grams (Li et al. 2016); NaN if there are none.

    Examples:
        >>> distinct(["We must act.", "We must rest."], n=1)  # 5 of 8: we must act rest .
        0.625
    """
    grams = [gram for words in words_of(texts) for gram in ngrams(words, n)]
    return len(set(grams)) / len(grams) if grams else math.nan


def copied(texts: Iterable[str], training_texts: Iterable[str]) -> NDArray[np.bool_]:
    """Return whether each text has exactly the words of a training sentence; case and spacing do not count.

    A text without a word is not a copy. A model of whole words may copy unnoticed the few sentences whose words
    `detokenize` does not restore.

    Examples:
        >>> copied(["we must  act.", "We must rest."], ["We must act."]).tolist()
        [True, False]
    """
    texts = list(texts)
    # The tokenizer is slow: only the few training sentences with the letters of a generated one are tokenised
    letters = {_letters(text) for text in texts}
    known = {tuple(words) for words in words_of(text for text in training_texts if _letters(text) in letters)}
    return np.array([bool(words) and tuple(words) in known for words in words_of(texts)], dtype=np.bool_)


def _letters(text: str) -> str:
    return re.sub(r"\W+", "", text.lower())


def length_distance(a: Ints, b: Ints) -> float:
    """Return the total variation distance of two distributions of lengths: 1/2 sum_l |p_a(l) - p_b(l)|, in [0, 1].

    Small samples of one distribution are far apart by chance alone: compare with the distance of two real samples.

    Raises:
        UserError: a set is empty.

    Examples:
        >>> import numpy as np
        >>> length_distance(np.array([5, 5]), np.array([5, 9]))
        0.5
    """
    if not (len(a) and len(b)):
        raise UserError("lengths can only be compared if there is a sentence on either side")
    size = 1 + int(max(np.max(a), np.max(b)))
    shares = (np.bincount(side, minlength=size) / len(side) for side in (a, b))
    return float(np.abs(np.subtract(*shares)).sum() / 2)

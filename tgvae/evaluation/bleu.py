"""BLEU of generated sentences: against real ones (quality) and against one another (lack of variety).

BLEU-n of a sentence is b (p_1 ... p_n)^(1/n) (Papineni et al. 2002): p_k is the share of its k-grams that occur in
the references, each k-gram counted at most as often as in the reference that contains it most often; b = exp(1 - r / h)
if its h words are fewer than the r of the reference closest in length (the shorter one of two), else 1. As in
Texygen (Zhu et al. 2018) every sentence has the same thousands of references, so these are counted once.

Values equal nltk's, which settles three details: if no k-gram is found, a sentence's p_k is 0.1 over its number of
k-grams (method 1 of Chen & Cherry 2014); a sentence too short for k-grams counts as one k-gram that is not found;
without a word in common, or without a word, BLEU is 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tgvae.errors import UserError

ORDERS = (2, 3, 4, 5)
SMOOTHING = 0.1

Words = Sequence[str]
Ngram = tuple[str, ...]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def ngrams(words: Words, n: int) -> Iterator[Ngram]:
    """Return the n-grams in order; none if there are fewer words.

    Examples:
        >>> list(ngrams(["we", "must", "act"], 2))
        [('we', 'must'), ('must', 'act')]
    """
    return zip(*(words[start:] for start in range(n)), strict=False)


def _counts(words: Words) -> Counter[Ngram]:
    return Counter(gram for n in range(1, ORDERS[-1] + 1) for gram in ngrams(words, n))


class References:
    """Reference sentences (sequences of words), reduced to the counts that BLEU needs.

    Attributes:
        most: for every n-gram its largest count in one reference.
        second: its second largest count; n-grams of a single reference are not in it.
        lengths: number of references by number of words.

    Raises:
        UserError: there is no reference.
    """

    def __init__(self, references: Iterable[Words]) -> None:
        self.most: dict[Ngram, int] = {}
        self.second: dict[Ngram, int] = {}
        self.lengths: Counter[int] = Counter()
        for words in references:
            self.lengths[len(words)] += 1
            for gram, count in _counts(words).items():
                most = self.most.get(gram, 0)
                if most:
                    self.second[gram] = max(self.second.get(gram, 0), min(count, most))
                if count > most:
                    self.most[gram] = count
        if not self.lengths:
            raise UserError("BLEU needs at least one reference sentence")


@dataclass(frozen=True)
class _Overlap:
    """Counts of N hypotheses for n-grams of 1 to 5 words.

    Attributes:
        found: n-grams that occur in the references, with shape (N, 5).
        possible: n-grams of the hypothesis, at least one, with shape (N, 5).
        length: words, with shape (N,).
        closest: words of the reference closest in length, with shape (N,).
    """

    found: Ints
    possible: Ints
    length: Ints
    closest: Ints

    def bleu(self, smoothing: float) -> Floats:
        """Return BLEU of the orders ``ORDERS``, with shape (N, 4)."""
        precision = np.where(self.found > 0, self.found, smoothing) / self.possible
        order = np.arange(1, ORDERS[-1] + 1)
        mean = np.cumprod(precision, axis=1) ** (1 / order)
        brevity = np.exp(np.minimum(0, 1 - self.closest / np.maximum(self.length, 1)))
        score = mean * np.where(self.found[:, 0] > 0, brevity, 0)[:, None]
        return score[:, ORDERS[0] - 1 :]

    def total(self) -> _Overlap:
        """Return the sum over all hypotheses, N = 1."""
        rows = (self.found, self.possible, self.length, self.closest)
        return _Overlap(*(part.sum(0, keepdims=True) for part in rows))


def _overlap(hypotheses: Sequence[Words], limit: Mapping[Ngram, int], closest: Sequence[int]) -> _Overlap:
    found = np.zeros((len(hypotheses), ORDERS[-1]), dtype=np.int64)
    for row, words in zip(found, hypotheses, strict=True):
        for gram, count in _counts(words).items():
            row[len(gram) - 1] += min(count, limit.get(gram, 0))
    length = np.array([len(words) for words in hypotheses], dtype=np.int64)
    possible = np.maximum(1, length[:, None] - np.arange(ORDERS[-1]))
    return _Overlap(found, possible, length, np.array(closest, dtype=np.int64))


def _closest(length: int, lengths: Iterable[int]) -> int:
    return min(lengths, key=lambda other: (abs(other - length), other))


def sentence_bleu(hypotheses: Sequence[Words], references: References) -> Floats:
    """Return the smoothed BLEU-2 to BLEU-5 of every hypothesis, (N, 4): test-BLEU if the references are held out.

    Equal to nltk's ``sentence_bleu`` with uniform weights and ``SmoothingFunction().method1``.

    Examples:
        All four words are found; of three pairs two, so BLEU-2 is (4/4 2/3)^(1/2):

        >>> references = References(["we must act now".split(), "now we rest".split()])
        >>> round(sentence_bleu(["now we must act".split()], references)[0, 0].item(), 4)
        1.0
        >>> round(sentence_bleu(["we act now must".split()], references)[0, 0].item(), 4)
        0.5774
    """
    closest = [_closest(len(words), references.lengths) for words in hypotheses]
    return _overlap(hypotheses, references.most, closest).bleu(SMOOTHING)


def corpus_bleu(hypotheses: Sequence[Words], references: References) -> Floats:
    """Return BLEU-2 to BLEU-5 of all hypotheses together, (4,): counts and lengths are summed before dividing.

    Equal to nltk's ``corpus_bleu`` with uniform weights, without smoothing: an order without a match is 0 (nltk gives a
    value below 1e-60 and warns).

    Raises:
        UserError: there is no hypothesis.

    Examples:
        >>> corpus_bleu([["we", "must", "act"]], References([["we", "must", "act"]])).tolist()
        [1.0, 1.0, 0.0, 0.0]
    """
    if not hypotheses:
        raise UserError("BLEU of a corpus needs at least one sentence")
    closest = [_closest(len(words), references.lengths) for words in hypotheses]
    return _overlap(hypotheses, references.most, closest).total().bleu(smoothing=0)[0]


def self_bleu(hypotheses: Sequence[Words]) -> Floats:
    """Return the smoothed BLEU-2 to BLEU-5 of every hypothesis with all others as references, (N, 4).

    High values mean that the sentences are alike; a duplicate scores 1 (less if it is shorter than the order). The
    value rises with the number of hypotheses: compare equal numbers only.

    Raises:
        UserError: there are fewer than two hypotheses.

    Examples:
        >>> self_bleu(["we must act now today".split()] * 2).min().item()  # the same sentence twice
        1.0
    """
    if len(hypotheses) < 2:
        raise UserError(f"self-BLEU needs at least two sentences, not {len(hypotheses)}")
    # Counts are clipped at the second largest one. If a hypothesis has an n-gram most often, this is the largest count
    # of the others; else it is at least the hypothesis's own count and clips nothing. No leave-one-out loop is needed.
    together = References(hypotheses)
    closest = []
    for length in map(len, hypotheses):
        others = (other for other, count in together.lengths.items() if other != length or count > 1)
        closest.append(_closest(length, others))
    return _overlap(hypotheses, together.second, closest).bleu(SMOOTHING)


def bleu_f1(test: Floats | float, own: Floats | float) -> Floats:
    """Return the harmonic mean of test-BLEU t and variety 1 - s, where s is self-BLEU: 2 t (1 - s) / (t + 1 - s).

    Both are in [0, 1] and of the same shape. If t and 1 - s are both 0 the value is 0, its limit along either axis.

    Examples:
        >>> round(float(bleu_f1(test=0.6, own=0.2)), 4)  # 2 x 0.6 x 0.8 / (0.6 + 0.8)
        0.6857
    """
    variety = 1 - np.asarray(own, dtype=np.float64)
    total = np.asarray(test + variety)
    return np.divide(2 * test * variety, total, out=np.zeros_like(total), where=total > 0)

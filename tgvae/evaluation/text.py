"""Metrics of generated text that need no topics: variety, copies, lengths, and fluency under a judge."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tgvae.data.tokenizers import clean_text, word_tokenize
from tgvae.errors import UserError
from tgvae.evaluation.bleu import ngrams
from tgvae.evaluation.likelihood import evaluating
from tgvae.models.sentence import LanguageModel
from tgvae.models.text_generation import read

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def words_of(texts: Iterable[str]) -> list[list[str]]:
    """The lower-cased nltk words of every text."""
    return [word_tokenize(text.lower()) for text in texts]


def distinct(texts: Iterable[str], n: int) -> float:
    """Distinct n-grams over all n-grams of the texts (Li et al. 2016); NaN if there are none: a share of nothing.

    Examples:
        >>> distinct(["We must act.", "We must rest."], n=1)  # 5 of 8: we must act rest .
        0.625
    """
    grams = [gram for words in words_of(texts) for gram in ngrams(words, n)]
    return len(set(grams)) / len(grams) if grams else math.nan


def copied(texts: Iterable[str], training_texts: Iterable[str]) -> NDArray[np.bool_]:
    """Whether each text has exactly the words of a training sentence; case and extra spaces do not count.

    A text without a word copies nothing. The mean is the share that is recited. A model of whole words may recite
    unnoticed the few sentences whose words `detokenize` does not restore.

    Examples:
        >>> copied(["we must  act.", "We must rest."], ["We must act."]).tolist()
        [True, False]
    """
    texts = list(texts)
    letters = {_letters(text) for text in texts}  # the tokenizer is slow; few training sentences have these
    known = {tuple(words) for words in words_of(text for text in training_texts if _letters(text) in letters)}
    return np.array([bool(words) and tuple(words) in known for words in words_of(texts)], dtype=np.bool_)


def _letters(text: str) -> str:
    """What texts of the same words have in common, found without tokenising."""
    return re.sub(r"\W+", "", text.lower())


def length_distance(a: Ints, b: Ints) -> float:
    """Total variation distance of the distributions of two sets of lengths: 1/2 sum_l |p_a(l) - p_b(l)|, in [0, 1].

    Small sets of one distribution are far apart by chance alone: put two sets of real text beside it.

    Raises:
        UserError: a set is empty.

    Examples:
        >>> import numpy as np
        >>> length_distance(np.array([5, 5]), np.array([5, 9]))
        0.5
    """
    if not (len(a) and len(b)):
        raise UserError("lengths of no sentence at all cannot be compared; give at least one on either side")
    size = 1 + int(max(np.max(a), np.max(b)))
    shares = (np.bincount(side, minlength=size) / len(side) for side in (a, b))
    return float(np.abs(np.subtract(*shares)).sum() / 2)


def nll_under(judge: LanguageModel, texts: Sequence[str], batch: int = 64) -> tuple[Floats, Ints]:
    """-log p(text) in nats under a language model, and words with the end of the sentence, both with shape (N,).

    Words outside the vocabulary count for neither, and the judge is asked for the probability among known words:
    generated text has no unk, so a judge of it has never seen one. A text without a word has 0 of both.
    """
    cleaned = [clean_text(text) for text in texts]
    kept = [i for i, text in enumerate(cleaned) if text]
    nll, words = np.zeros(len(texts)), np.zeros(len(texts), dtype=np.int64)
    with evaluating(judge, seed=0):
        for start in range(0, len(kept), batch):
            index = kept[start : start + batch]
            targets, _ = read(judge.tokenizer, [cleaned[i] for i in index], judge.device)
            nll[index] = -judge.known_log_prob(targets).sum(-1).cpu().double().numpy()
            unknown = (targets == judge.tokenizer.unk_id).sum(-1).cpu().numpy()
            words[index] = [len(word_tokenize(cleaned[i])) + 1 for i in index] - unknown
    return nll, words


def perplexity_under(judge: LanguageModel, texts: Sequence[str]) -> float:
    """Perplexity per nltk word (ends of sentences count as one) of texts under a language model.

    Texts without a word are left out; NaN if that leaves none: no number of words, no perplexity. For generated
    texts it says how fluent they are to a model of real text; far below that of real sentences means bland, far
    above means broken.
    """
    nll, words = nll_under(judge, texts)
    return math.exp(nll.sum() / words.sum()) if words.any() else math.nan

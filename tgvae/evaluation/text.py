"""Figures of generated text that need no topics: variety, and fluency under a judge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from tgvae.data.tokenizers import word_tokenize
from tgvae.evaluation.likelihood import evaluating
from tgvae.models.sentence import LanguageModel
from tgvae.models.writing import read


def distinct_bigrams(texts: Sequence[str]) -> float:
    """Distinct pairs of neighbouring words over all such pairs (Li et al. 2016); NaN if there are none."""
    pairs = [pair for text in texts for pair in pairwise(word_tokenize(text.lower()))]
    return len(set(pairs)) / len(pairs) if pairs else math.nan


def perplexity_under(judge: LanguageModel, texts: Sequence[str]) -> float:
    """Perplexity per nltk word (ends of sentences count as one) of texts under a language model.

    Texts without a word are left out. For generated texts it says how fluent they are to a model of real
    text; far below that of real sentences means bland, far above means broken.
    """
    texts = [text for text in texts if text.strip()]
    nll, words = 0.0, 0
    with evaluating(judge, seed=0):
        for start in range(0, len(texts), 64):
            part = texts[start : start + 64]
            targets, _ = read(judge.tokenizer, part, judge.device)
            nll -= judge.likelihood(targets).cpu().double().sum().item()
            words += sum(len(word_tokenize(text)) + 1 for text in part)
    return math.exp(nll / words) if words else math.nan

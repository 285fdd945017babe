"""How probable a split is under a model: ELBO, importance-weighted bound, perplexities.

TGVAE conditions a sentence on the rest of its document; the sentence VAE and the language model do not see it.
A perplexity is per word (nltk words, the end of a sentence counting as one) and includes the KL. It can be
compared between sizes of subword vocabulary, but not with one of whole words, where unk counts as a word.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from tgvae.data.batch import Batch, Documents
from tgvae.data.pairs import Examples
from tgvae.models.base import Model
from tgvae.models.writing import drawing
from tgvae.trace import importance_weighted


@dataclass(frozen=True)
class Bound:
    """Sums over a split of the terms of one unit (``document`` or ``sentence``).

    Attributes:
        terms: nats, summed over rows, by name: ``nll/...``, ``kl/...``.
        rows: documents or sentences.
        words: words predicted: topic words of documents; nltk words and ends of sentences.
    """

    terms: dict[str, float]
    rows: int
    words: int

    @property
    def negative_elbo(self) -> float:
        """Nats a row: all nll plus all KL, whatever beta was trained with."""
        return sum(self.terms.values()) / self.rows

    @property
    def perplexity(self) -> float:
        """exp(-ELBO / words): an upper bound of the perplexity per word."""
        return math.exp(sum(self.terms.values()) / self.words)

    def mean(self, name: str) -> float:
        """A term in nats a row."""
        return self.terms[name] / self.rows


@contextmanager
def evaluating(model: Model, seed: int) -> Iterator[None]:
    """Evaluation mode, no gradients, and draws that depend on ``seed`` alone; all put back afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), drawing(seed, model.device):
            yield
    finally:
        model.train(was_training)


def sentence_bound(model: Model, corpus: Examples, seed: int = 0) -> Bound:
    """The ELBO of every modelled sentence with one draw a sentence."""
    return _bound(model, corpus.each_batch(), "sentence", seed)


def document_bound(model: Model, corpus: Examples, seed: int = 0) -> Bound:
    """The ELBO of every document's bag of words with one draw a document."""
    return _bound(model, corpus.each_documents(), "document", seed)


def _bound(model: Model, batches: Iterator[Batch] | Iterator[Documents], unit: str, seed: int) -> Bound:
    sums: dict[str, float] = defaultdict(float)
    rows = words = 0
    with evaluating(model, seed):
        for batch in batches:
            batch = batch.to(model.device)
            for name, value in model.trace(batch).terms(unit).items():
                sums[name] += value.cpu().double().sum().item()
                rows_here = len(value)
            rows += rows_here
            words += int(batch.words.sum() if isinstance(batch, Batch) else batch.counts.sum())
    return Bound(dict(sums), rows, words)


@dataclass(frozen=True)
class ImportanceWeighted:
    """log p(y | rest of the document) by importance weighting, over a split.

    Attributes:
        nll: nats a sentence.
        standard_error: of ``nll`` over sentences.
        perplexity: per word.
        samples: S.
    """

    nll: float
    standard_error: float
    perplexity: float
    samples: int


def importance_weighted_nll(model: Model, corpus: Examples, samples: int = 100, seed: int = 0) -> ImportanceWeighted:
    """The bound of Burda et al. 2016 with S draws of all latents of a sentence."""
    values, words = [], 0
    with evaluating(model, seed):
        for batch in corpus.each_batch(tokens=2048):
            values.append(-_iwae(model, batch.to(model.device), samples))
            words += int(batch.words.sum())
    nll = torch.cat(values).cpu().double()
    error = nll.std(correction=1).item() / math.sqrt(len(nll)) if len(nll) > 1 else math.nan
    return ImportanceWeighted(nll.mean().item(), error, math.exp(nll.sum().item() / words), samples)


def _iwae(model: Model, batch: Batch, samples: int, at_once: int = 10) -> Tensor:
    parts = [
        model.trace(batch, min(at_once, samples - done)).log_weights("sentence") for done in range(0, samples, at_once)
    ]
    return importance_weighted(torch.cat(parts))

"""How probable a split is under a model: ELBO, importance-weighted bound, perplexities.

TGVAE conditions a sentence on the rest of its document; the sentence VAE and the language model do not see it.
A perplexity is per word (nltk words, the end of a sentence counting as one) and includes the KL. It can be
compared between sizes of subword vocabulary, but not with one of whole words, where unk counts as a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tgvae.data.corruption import Corruption
from tgvae.data.dataset import Examples, Ints, Rows, Unit
from tgvae.distributed import sharded_map
from tgvae.errors import UserError
from tgvae.evaluation.metric import Parts
from tgvae.models.base import Model
from tgvae.random import derive_seed, fork_rng
from tgvae.trace import importance_weighted

CLEAN = Corruption()
Per = Literal["row", "word", "token"]
AT_ONCE: dict[Unit, int] = {"document": 256, "sentence": 8192, "vector": 500, "node": 1}
"""Size of batches with one draw; see ``Rows``."""
DRAWS: dict[Unit, tuple[int, int]] = {"sentence": (2048, 10), "vector": (200, 50)}
"""Size of batches with many draws, and draws at once."""


@dataclass(frozen=True, eq=False)
class Bound:
    """Terms of the negative ELBO of every row of a split: its documents, modelled sentences, or vectors.

    Attributes:
        terms: nats by name (``nll/...``, ``kl/...``), each with shape (rows,), in the order of the corpus.
        words: words predicted, (rows,): of a sentence its nltk words and its end; of a document its topic words;
            of a vector its values.
        tokens: tokens predicted, (rows,): of a sentence with eos; else as words.
        documents: the document of each row, (rows,): rows of one document are not independent. A vector is its own.

    Examples:
        Two sentences of 4 words each:

        >>> import torch
        >>> terms = {"nll/tokens": torch.tensor([8.0, 10.0]), "kl/z": torch.tensor([2.0, 4.0])}
        >>> words, tokens, documents = torch.tensor([[4, 4], [5, 6], [0, 0]])
        >>> bound = Bound(terms, words, tokens, documents)
        >>> bound.negative_elbo, bound.kl.mean().item(), round(bound.perplexity, 4)  # e^(24 / 8)
        (12.0, 3.0, 20.0855)
    """

    terms: dict[str, Tensor]
    words: Tensor
    tokens: Tensor
    documents: Tensor

    @property
    def rows(self) -> int:
        return len(self.words)

    @property
    def reconstruction(self) -> Tensor:
        """E_q[-log p(x | z)] in nats, (rows,): the sum of ``nll/...``."""
        return self.total("nll/")

    @property
    def kl(self) -> Tensor:
        """KL(q || p) in nats, (rows,): the sum of ``kl/...``; zero for a model without latents."""
        return self.total("kl/")

    @property
    def negative_elbo(self) -> float:
        """Nats a row: all nll plus all KL, whatever beta was trained with."""
        return self.per("row")

    @property
    def perplexity(self) -> float:
        """exp(-ELBO / words): an upper bound of the perplexity per word. Infinite from 710 nats a word."""
        return torch.tensor(self.per("word"), dtype=torch.double).exp().item()

    def mean(self, name: str) -> float:
        """A term in nats a row."""
        return self.terms[name].mean().item()

    def total(self, prefix: str = "") -> Tensor:
        """Sum of the terms whose names start with ``prefix``, in nats, with shape (rows,)."""
        return sum((v for name, v in self.terms.items() if name.startswith(prefix)), torch.zeros(self.rows).double())

    def of_rows(self, index: Tensor) -> Bound:
        """The bound of some of the rows."""
        terms = {name: value[index] for name, value in self.terms.items()}
        return Bound(terms, self.words[index], self.tokens[index], self.documents[index])

    def per(self, unit: Per, prefix: str = "") -> float:
        """``total(prefix)`` in nats a unit: sum over sum. Zero where nothing is predicted (documents without words)."""
        return (self.total(prefix).sum() / self._count(unit).sum().clamp_min(1)).item()

    def parts(self, unit: Per, prefix: str = "", exp: bool = False) -> Parts:
        """What ``per(unit, prefix)``, or exp of it, is summed from, by document."""
        count = self._count(unit).double().numpy()
        return Parts(self.total(prefix).numpy(), count, self.documents.numpy(), paired=True, exp=exp)

    def _count(self, unit: Per) -> Tensor:
        return {"row": torch.ones_like(self.words), "word": self.words, "token": self.tokens}[unit]


@contextmanager
def evaluating(model: Model, seed: int) -> Iterator[None]:
    """Evaluation mode, no gradients, and draws that depend on ``seed`` alone; all put back afterwards."""
    with fork_rng(seed, model.device), torch.no_grad():  # threads take turns with the mode, too
        was_training = model.training
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)


def bound_of(model: Model, examples: Examples, unit: Unit, seed: int = 0, corruption: Corruption = CLEAN) -> Bound:
    """The ELBO of every row with one draw a row, and of ``corruption`` as many: q(z | x~), x~ ~ p(x~ | x).

    Examples:
        >>> from tgvae.data.vectors import open_vectors
        >>> from tgvae.models.vae import VectorConfig, VectorVAE
        >>> digits = open_vectors("digits")
        >>> model, test = VectorVAE.from_data(VectorConfig(), digits), digits.splits["test"].binarised()
        >>> bound = bound_of(model, test, "vector")
        >>> bound.rows, sorted(bound.terms)
        (179, ['kl/z', 'nll/x'])
    """
    rows = examples.rows(unit)

    def terms(batch: Any) -> dict[str, Tensor]:
        return model.trace(rows.corrupted(batch, corruption)).terms(unit)

    return _bound(model, rows, rows.batches(AT_ONCE[unit], None), terms, seed)


def sentence_bound(model: Model, corpus: Examples, seed: int = 0) -> Bound:
    """The ELBO of every modelled sentence with one draw a sentence."""
    return bound_of(model, corpus, "sentence", seed)


def document_bound(model: Model, corpus: Examples, seed: int = 0) -> Bound:
    """The ELBO of every document's bag of words with one draw a document."""
    return bound_of(model, corpus, "document", seed)


@dataclass(frozen=True, eq=False)
class ImportanceWeighted:
    """log p(y | rest of the document), or log p(x), by importance weighting, of all rows or some of them.

    Attributes:
        bound: its only term, ``nll/iw``, has a value a row.
        index: these rows in the split, rising, with shape (rows,).
        samples: S.
    """

    bound: Bound
    index: Tensor
    samples: int

    @property
    def nll(self) -> float:
        """Nats a row."""
        return self.bound.per("row")

    @property
    def standard_error(self) -> float | None:
        """Of ``nll`` over documents; None where all sentences are of one document."""
        return self.bound.parts("row").standard_error

    @property
    def perplexity(self) -> float:
        """Per word."""
        return self.bound.perplexity


def importance_weighted_nll(
    model: Model,
    examples: Examples,
    samples: int = 100,
    seed: int = 0,
    rows: int | None = None,
    unit: Unit = "sentence",
    corruption: Corruption = CLEAN,
) -> ImportanceWeighted:
    """The bound of Burda et al. 2016 with S draws of all latents of a row; without latents the exact nll.

    Args:
        model: one whose traces have rows of that unit.
        examples: the split.
        samples: S.
        seed: of the draws, and of the choice of rows: the same ones for every model.
        rows: at most so many, drawn from the split with equal chances; None is all.
        unit: sentences or vectors.
        corruption: what the encoder sees, anew every few draws. The bound holds for any: weights by q(z | x~) have
            the expectation p(x) too. A denoising model may have a tighter one with the noise that it was trained on.

    Raises:
        UserError: fewer than one sample or row, or the split has none.
    """
    if samples < 1 or (rows is not None and rows < 1):
        raise UserError(f"the importance-weighted bound needs at least 1 draw of 1 {unit}, not {samples} of {rows}")
    found, (size, draws) = examples.rows(unit), DRAWS[unit]
    every = sum(map(len, found.batches(size, None)))
    chosen = _choice(every, rows, seed)
    thinned = (part[np.isin(part, chosen)] for part in found.batches(size * max(1, every // len(chosen)), None))
    index = [part for part in thinned if len(part)]

    def weighted(batch: Any) -> dict[str, Tensor]:
        parts = [min(draws, samples - done) for done in range(0, samples, draws)]
        weights = [model.trace(found.corrupted(batch, corruption), part).log_weights(unit) for part in parts]
        return {"nll/iw": -importance_weighted(torch.cat(weights))}

    return ImportanceWeighted(_bound(model, found, index, weighted, seed), torch.from_numpy(chosen), samples)


def _choice(size: int, wanted: int | None, seed: int) -> Ints:
    if wanted is None or wanted >= size:
        return np.arange(size)
    return np.sort(np.random.default_rng(seed).choice(size, wanted, replace=False))


def _bound(
    model: Model, rows: Rows, index: Sequence[Ints], terms: Callable[[Any], dict[str, Tensor]], seed: int
) -> Bound:
    """``terms`` of the batches ``index``, in the order of the corpus. Several processes share them."""

    def of_batch(number: int, part: Ints) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        with evaluating(model, derive_seed(seed, number)):
            batch = rows.gather(part)
            found = terms(batch.to(model.device))
        return {name: value.cpu().double() for name, value in found.items()}, batch.sizes

    order = torch.from_numpy(np.concatenate(index)).argsort()
    found, counts = (
        {name: torch.cat([part[name] for part in parts])[order] for name in parts[0]}
        for parts in zip(*sharded_map(of_batch, index), strict=True)
    )
    return Bound(found, **counts)

"""Likelihood of held-out data: ELBO, importance-weighted bound, perplexities.

TGVAE conditions a sentence on the rest of its document; the sentence VAE and the language model do not see it.
A perplexity is per word (nltk words, the end of a sentence counts as one) and includes the KL. It is comparable between
subword vocabularies of different size, but not with a vocabulary of whole words, where unk counts as a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tgvae.data.corruption import Corruption
from tgvae.data.dataset import Examples, Ints, Rows, Unit
from tgvae.data.pairs import Pairs
from tgvae.distributed import sharded_map
from tgvae.errors import UserError
from tgvae.evaluation.metric import Metrics, Parts
from tgvae.evaluation.registry import EvalInputs, Evaluation, evaluator, measure
from tgvae.models.base import Capability, Model
from tgvae.progress import step
from tgvae.random import derive_seed, fork_rng
from tgvae.trace import importance_weighted

CLEAN = Corruption()
Per = Literal["row", "word", "token"]
Units = Mapping[Per, str]
"""Names of the units that a bound is reported per, such as {"row": "image", "word": "value"}."""
BATCH_SIZES: dict[Unit, int] = {"document": 256, "sentence": 8192, "vector": 500, "node": 1}
"""Batch size with one sample per row; what it counts depends on the unit, see ``Rows``."""
WEIGHTED_BATCHES: dict[Unit, tuple[int, int]] = {"sentence": (2048, 10), "vector": (200, 50)}
"""Batch size of the importance-weighted bound, and how many of its samples are in memory at once."""


@dataclass(frozen=True, eq=False)
class Bound:
    """Terms of the negative ELBO of every row (document, modelled sentence or vector) of a split.

    Attributes:
        terms: nats by name (``nll/...``, ``kl/...``), each with shape (rows,), in the order of the corpus.
        words: predicted words, (rows,): nltk words and the end of a sentence; topic words of a document; values of a
            vector.
        tokens: predicted tokens, (rows,): tokens and eos of a sentence; else as ``words``.
        documents: document of each row, (rows,), because rows of one document are not independent. A vector is its own.

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
        """Nats per row: all nll plus all KL, whatever beta the model was trained with."""
        return self.per("row")

    @property
    def perplexity(self) -> float:
        """exp(-ELBO / words): an upper bound of the perplexity per word. Infinite from 710 nats per word."""
        return torch.tensor(self.per("word"), dtype=torch.double).exp().item()

    def mean(self, name: str) -> float:
        """One term in nats per row."""
        return self.terms[name].mean().item()

    def total(self, prefix: str = "") -> Tensor:
        """Sum of the terms whose names start with ``prefix``, in nats, with shape (rows,)."""
        return sum((v for name, v in self.terms.items() if name.startswith(prefix)), torch.zeros(self.rows).double())

    def of_rows(self, index: Tensor) -> Bound:
        """The bound of a subset of the rows."""
        terms = {name: value[index] for name, value in self.terms.items()}
        return Bound(terms, self.words[index], self.tokens[index], self.documents[index])

    def per(self, unit: Per, prefix: str = "") -> float:
        """Nats per unit: sum of ``total(prefix)`` over the number of units; zero if nothing is predicted."""
        return (self.total(prefix).sum() / self._count(unit).sum().clamp_min(1)).item()

    def parts(self, unit: Per, prefix: str = "", exp: bool = False) -> Parts:
        """The rows of ``per(unit, prefix)``, or of its exponential, with documents as units."""
        count = self._count(unit).double().numpy()
        return Parts(self.total(prefix).numpy(), count, self.documents.numpy(), paired=True, exp=exp)

    def _count(self, unit: Per) -> Tensor:
        return {"row": torch.ones_like(self.words), "word": self.words, "token": self.tokens}[unit]


@contextmanager
def evaluating(model: Model, seed: int) -> Iterator[None]:
    """Evaluation mode, no gradients, and random numbers that depend on ``seed`` alone; all restored afterwards."""
    # fork_rng locks: threads also take turns with the mode, which is a state of the shared model
    with fork_rng(seed, model.device), torch.no_grad():
        was_training = model.training
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)


def bound_of(model: Model, examples: Examples, unit: Unit, seed: int = 0, corruption: Corruption = CLEAN) -> Bound:
    """Return the ELBO of every row with one sample of the latents.

    With ``corruption`` the encoder sees one corrupted version of each row: q(z | x~), x~ ~ p(x~ | x).

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

    return _bound(model, rows, rows.batches(BATCH_SIZES[unit], None), terms, seed)


def validation_bound(model: Model, examples: Examples, unit: Unit, corruption: Corruption = CLEAN) -> Bound:
    """Return the ELBO that training selects checkpoints by: the same random numbers at every validation."""
    return bound_of(model, examples, unit, seed=0, corruption=corruption)


def sentence_bound(model: Model, corpus: Examples, seed: int = 0) -> Bound:
    """Return the ELBO of every modelled sentence with one sample of its latents."""
    return bound_of(model, corpus, "sentence", seed)


def document_bound(model: Model, corpus: Examples, seed: int = 0) -> Bound:
    """Return the ELBO of every document's bag of words with one sample of its latents."""
    return bound_of(model, corpus, "document", seed)


@dataclass(frozen=True, eq=False)
class ImportanceWeighted:
    """Importance-weighted bound of log p(y | rest of the document), or of log p(x), of all rows or a subset.

    Attributes:
        bound: its only term, ``nll/iw``, has one value per row.
        index: these rows in the split, rising, with shape (rows,).
        samples: S.
    """

    bound: Bound
    index: Tensor
    samples: int

    @property
    def nll(self) -> float:
        """Nats per row."""
        return self.bound.per("row")

    @property
    def standard_error(self) -> float | None:
        """Standard error of ``nll`` over documents; None if all sentences are of one document."""
        return self.bound.parts("row").standard_error

    @property
    def perplexity(self) -> float:
        """Perplexity per word."""
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
    """Return the bound of Burda et al. 2016 with S samples of all latents of a row; the exact nll without latents.

    Args:
        model: one whose traces have rows of that unit.
        examples: the split.
        samples: S.
        seed: of the samples, and of the choice of rows, which is the same for every model.
        rows: size of a uniform random subset of the rows; None for all.
        unit: sentences or vectors.
        corruption: corruption of the encoder's input, drawn again every few samples. The bound holds for any: weights
            with q(z | x~) have the expectation p(x) too. For a denoising model it may be tighter with the noise that
            the model was trained on.

    Raises:
        UserError: fewer than one sample or row, or the split has none.
    """
    if samples < 1 or (rows is not None and rows < 1):
        raise UserError(f"the importance-weighted bound needs at least 1 sample of 1 {unit}, not {samples} of {rows}")
    source, (size, at_once) = examples.rows(unit), WEIGHTED_BATCHES[unit]
    total = sum(map(len, source.batches(size, None)))
    chosen = _random_rows(total, rows, seed)
    # Larger batches are formed first and thinned then, so that the rows of a batch still have similar lengths
    thinned = (part[np.isin(part, chosen)] for part in source.batches(size * max(1, total // len(chosen)), None))
    index = [part for part in thinned if len(part)]

    def weighted(batch: Any) -> dict[str, Tensor]:
        parts = [min(at_once, samples - done) for done in range(0, samples, at_once)]
        weights = [model.trace(source.corrupted(batch, corruption), part).log_weights(unit) for part in parts]
        return {"nll/iw": -importance_weighted(torch.cat(weights))}

    return ImportanceWeighted(_bound(model, source, index, weighted, seed), torch.from_numpy(chosen), samples)


def _random_rows(total: int, count: int | None, seed: int) -> Ints:
    if count is None or count >= total:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, count, replace=False))


def _bound(
    model: Model, rows: Rows, index: Sequence[Ints], terms: Callable[[Any], dict[str, Tensor]], seed: int
) -> Bound:
    """Return ``terms`` of the batches ``index`` in the order of the corpus; several processes share the batches."""

    def of_batch(number: int, part: Ints) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        # The seed of a batch depends on its number, not on the process that computes it
        with evaluating(model, derive_seed(seed, number)):
            batch = rows.gather(part)
            values = terms(batch.to(model.device))
        return {name: value.cpu().double() for name, value in values.items()}, batch.sizes

    order = torch.from_numpy(np.concatenate(index)).argsort()
    values, counts = (
        {name: torch.cat([part[name] for part in parts])[order] for name in parts[0]}
        for parts in zip(*sharded_map(of_batch, index), strict=True)
    )
    return Bound(values, **counts)


# Metrics


@evaluator("language", Capability.GENERATION)
def evaluate_sentence_likelihood(inputs: EvalInputs, evaluation: Evaluation) -> Metrics:
    """Likelihood of held-out sentences."""
    context = "given the rest of the document" if Capability.GUIDANCE in inputs.model.capabilities else "sentence alone"
    inputs.held_out.require_sentences()
    return language_metrics(inputs, inputs.held_out, "sentence", context)


@evaluator("language", Capability.SUMMARIES)
def evaluate_summary_likelihood(inputs: EvalInputs, evaluation: Evaluation) -> Metrics:
    """Likelihood of the reference summaries (or titles) of held-out documents."""
    pairs = inputs.model.examples(inputs.held_out)
    pairs.require_sentences()
    return language_metrics(replace(inputs, reference_lm=None), pairs, pairs.field, "given the document")


@step("computing likelihoods")
def language_metrics(inputs: EvalInputs, held_out: Examples, row: str, context: str) -> Metrics:
    """Return reconstruction, KL and bounds in nats per row, word and token, and perplexities per word.

    A language model has no latent: its -ELBO is its exact -log p(y), under the same ids as the bounds of other models.

    Args:
        inputs: model, configuration and reference language model.
        held_out: sentences or pairs.
        row: name of a row: sentence, summary or title.
        context: what a row is conditioned on.
    """
    model, config, reference = inputs.model, inputs.config, inputs.reference_lm
    units: Units = {"row": row, "word": "word", "token": "token"}
    bound = sentence_bound(model, held_out, config.seed)
    latents = [name for name in bound.terms if name.startswith("kl/")]
    how, seed = (f"one draw, {context}", config.seed) if latents else (f"exact, no latent, {context}", None)
    metrics: Metrics = {}
    if latents:
        metrics |= measure_terms("reconstruction_per_{row}", bound, "nll/", units, how, seed)
        metrics |= measure_terms("kl_per_{row}", bound, "kl/", units, how, seed)
    for name in latents if len(latents) > 1 else ():
        parts = bound.parts("row", name)
        metrics |= measure("kl_{latent}_per_{row}", parts, seed=seed, estimator=how, latent=name[3:], row=row)
    metrics |= measure_terms("neg_elbo_per_{row}", bound, "", units, how, seed)
    metrics |= measure(
        "perplexity_elbo",
        bound.parts("word", exp=True),
        seed=seed,
        baselines={} if reference is None else {"language_model": reference.bound.perplexity},
        unit=None if latents else "per word",
        estimator=how,
    )
    if latents and isinstance(held_out, Pairs):
        # q(z | x) does not see the summary, so it can serve as the prior: no KL of z is paid then
        as_used = replace(bound, terms={name: value for name, value in bound.terms.items() if name != "kl/z"})
        metrics |= measure("perplexity_without_kl_z", as_used.parts("word", exp=True), seed=seed, estimator=how)
    if config.samples and latents:
        weighted = importance_weighted_nll(model, held_out, config.samples, config.seed, config.weighted_sentences)
        how = f"importance-weighted, {config.samples} draws per {row}, {context}"
        metrics |= measure_terms("nll_iw_per_{row}", weighted.bound, "", units, how, seed, samples=config.samples)
        metrics |= measure(
            "perplexity_iw",
            weighted.bound.parts("word", exp=True),
            seed=seed,
            baselines=_on_rows(bound, reference, weighted.index),
            estimator=how,
            samples=config.samples,
        )
    return metrics


def measure_terms(
    metric: str,
    bound: Bound,
    prefix: str,
    units: Units,
    estimator: str,
    seed: int | None,
    baselines: Mapping[str, Bound] | None = None,
    **parameters: Any,
) -> Metrics:
    """Return the sum of the terms whose names start with ``prefix``, in nats per unit.

    ``metric`` is a key of METRICS with ``{row}`` in it.
    """
    metrics: Metrics = {}
    for unit, name in units.items():
        values = {id: other.per(unit) for id, other in (baselines or {}).items()}
        parts = bound.parts(unit, prefix)
        metrics |= measure(metric, parts, seed=seed, baselines=values, estimator=estimator, row=name, **parameters)
    return metrics


def _on_rows(bound: Bound, reference: Any, index: Tensor) -> dict[str, float]:
    """Return ELBO and language model as baselines on the sentences of the importance-weighted bound."""
    baselines = {"elbo": bound.of_rows(index).perplexity}
    return baselines if reference is None else baselines | {"language_model": reference.bound.of_rows(index).perplexity}

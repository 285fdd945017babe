"""Summaries of held-out documents: ROUGE against references and extracts, lengths, new words, variety, topic guidance.

Summaries are generated from the text of a document in the same way as by `tgvae summarize`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tgvae.data.pairs import Pairs
from tgvae.data.tokenizers import split_sentences
from tgvae.evaluation.generation import words_of
from tgvae.evaluation.metric import Floats, Ints, Metrics, Parts
from tgvae.evaluation.registry import EvalInputs, Evaluation, evaluator, measure
from tgvae.evaluation.rouge import KINDS, LIMIT, extracts, rouge, with_words
from tgvae.models.base import Capability
from tgvae.models.summarization import SUMMARY
from tgvae.progress import step

GREEDY = replace(SUMMARY, strategy="greedy")
DRAWS = 5  # summaries per document for the share of different ones
MAX_DOCUMENTS = 100  # for metrics that summarize a document more than once


@dataclass(frozen=True, eq=False)
class HeldOutSummaries:
    """Held-out documents with references and generated summaries.

    Attributes:
        index: number of each document in its split, rising, with shape (N,).
        ids: their ids.
        documents: their sentences.
        references: one or several per document.
        generated: summaries by decoding strategy, ``beam`` and ``greedy``.
        finished: whether the beam's summary ended before the maximum length, with shape (N,).
        language: language of the corpus; words are stemmed for English only.
    """

    index: Ints
    ids: list[str]
    documents: list[list[str]]
    references: list[list[str]]
    generated: dict[str, list[str]]
    finished: NDArray[np.bool_]
    language: str = "english"

    @cached_property
    def texts(self) -> list[str]:
        """The documents as texts."""
        return [" ".join(sentences) for sentences in self.documents]


@evaluator("summaries", Capability.SUMMARIES)
def evaluate_summaries(inputs: EvalInputs, evaluation: Evaluation) -> Metrics:
    """ROUGE, lengths, new words, and what draws of z and guidance by topics change."""
    config, pairs = inputs.config, inputs.model.examples(inputs.held_out)
    found = evaluation.summaries = summarize_held_out(inputs.model, pairs, config.summaries, config.seed)
    if not any(map(with_words, found.references)):
        evaluation.remarks.append("ROUGE is left out: no reference has a word")
    return summary_metrics(inputs.model, found, config.strengths, config.seed)


@step("summarizing")
def summarize_held_out(model: Any, pairs: Pairs, count: int, seed: int) -> HeldOutSummaries:
    """Summarize ``count`` documents that have a reference, sampled without replacement (all if there are fewer)."""
    chosen = np.sort(np.random.default_rng(seed).permutation(pairs.index)[:count])
    rows = pairs.table.select(["id", "sentences", "metadata", pairs.field]).take(chosen).to_pylist()
    documents = [row["sentences"] for row in rows]
    texts = [" ".join(sentences) for sentences in documents]
    beam, greedy = (model.summarize(texts, settings=settings, seed=seed) for settings in (SUMMARY, GREEDY))
    return HeldOutSummaries(
        index=chosen,
        ids=[row["id"] for row in rows],
        documents=documents,
        references=[[row[pairs.field], *_further_references(row["metadata"])] for row in rows],
        generated={"beam": [row[0].text for row in beam], "greedy": [row[0].text for row in greedy]},
        finished=np.array([row[0].finished for row in beam], dtype=np.bool_),
        language=pairs.folder.manifest["settings"].get("language", "english"),
    )


def _further_references(metadata: str) -> list[str]:
    """Return the columns ``reference_1``, ``reference_2``, ...: a test set may have several references per document."""
    columns = json.loads(metadata)
    return [str(columns[name]) for name in sorted(columns) if name.startswith("reference_")]


@step("measuring summaries")
def summary_metrics(model: Any, found: HeldOutSummaries, strengths: Sequence[float], seed: int) -> Metrics:
    """Return ROUGE, lengths, new words, unfinished summaries, variety of samples, and effect of topic guidance."""
    summaries, references = found.generated["beam"], [given[0] for given in found.references]
    metrics = rouge_metrics(found, seed)
    lengths, natural = (np.array([len(_words(text)) for text in texts]) for texts in (summaries, references))
    baselines = {"references": float(natural.mean())}
    metrics |= measure("summary_length", Parts.mean(lengths, found.index, paired=True), seed=seed, baselines=baselines)
    metrics |= measure("unfinished", Parts.mean(~found.finished, found.index, paired=True), seed=seed)
    new, natural_new = (new_words(texts, found.documents) for texts in (summaries, references))
    baselines = {"references": float(natural_new[:, 0].sum() / max(1, natural_new[:, 1].sum()))}
    metrics |= measure(
        "new_words", Parts(new[:, 0], new[:, 1], found.index, paired=True), seed=seed, baselines=baselines
    )
    if model.stochastic:
        metrics |= different_summaries(model, found, seed)
    for strength in strengths if Capability.TOPICS in model.capabilities else ():
        metrics |= topic_pull(model, found, strength, seed)
    return metrics


def rouge_metrics(found: HeldOutSummaries, seed: int) -> Metrics:
    """Return ROUGE with extracts of the document as baselines; nothing if no reference has a word."""
    scored = found.index[[bool(with_words(given)) for given in found.references]]
    if not len(scored):
        return {}
    stem = found.language == "english"
    scores = {strategy: rouge(texts, found.references, stem) for strategy, texts in found.generated.items()}
    baselines = {
        id: rouge(texts, found.references, stem)
        for id, texts in extracts(found.documents, found.references, use_stemmer=stem).items()
    }
    metrics: Metrics = {}
    for metric, strategy, suffix in (
        ("rouge_{kind}", "beam", ""),
        ("rouge_{kind}_greedy", "greedy", ""),
        ("rouge_{kind}_{limit}_bytes", "beam", f"_{LIMIT}_bytes"),
    ):
        for kind in KINDS:
            metrics |= measure(
                metric,
                Parts.mean(scores[strategy].values[kind + suffix], scored, paired=True),
                seed=seed,
                baselines={id: float(score.values[kind + suffix].mean()) for id, score in baselines.items()},
                kind=kind.removeprefix("rouge"),
                limit=LIMIT,
                stemmed=", stemmed" if stem else "",
            )
    return metrics


def new_words(summaries: Sequence[str], documents: Sequence[Sequence[str]]) -> Floats:
    """Return the number of new words and of all words of every summary, (N, 2).

    Words are lower-cased and have a letter or digit; a word is new if the document does not have it.
    """
    rows = []
    for summary, sentences in zip(summaries, documents, strict=True):
        known = {word for words in words_of(sentences) for word in words}
        words = [word for word in _words(summary) if any(map(str.isalnum, word))]
        rows.append((sum(word not in known for word in words), len(words)))
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def _words(summary: str) -> list[str]:
    """Return the lower-cased words of a summary, which may have several sentences.

    The tokenizer splits off a full stop only at the end of its text, so a summary that is tokenised as one sentence
    has words such as "won.", which no document has.
    """
    return [word for words in words_of(split_sentences(summary)) for word in words]


def different_summaries(model: Any, found: HeldOutSummaries, seed: int) -> Metrics:
    """Return the share of different texts among summaries of one document from several samples of z."""
    rows = model.summarize(found.texts[:MAX_DOCUMENTS], DRAWS, seed=seed)
    shares = [len({summary.text for summary in summaries}) / DRAWS for summaries in rows]
    parts = Parts.mean(shares, found.index[:MAX_DOCUMENTS], paired=True)
    return measure("different_summaries", parts, seed=seed, baselines={"minimum": 1 / DRAWS}, draws=DRAWS)


def topic_pull(model: Any, found: HeldOutSummaries, strength: float, seed: int) -> Metrics:
    """Return p(topic | words of a summary that was guided to the topic), with the unguided summary as baseline.

    The topic of each document is random. The probability is Bayes' rule with all topics equally likely; a summary
    without topic words gives 1 / T.
    """
    texts = found.texts[:MAX_DOCUMENTS]
    topics = np.random.default_rng(seed).integers(model.topic.size, size=len(texts))
    guided = np.array(texts, dtype=object)
    for topic in np.unique(topics):
        rows = np.flatnonzero(topics == topic)
        summaries = model.summarize([texts[i] for i in rows], topic=int(topic), strength=strength, seed=seed)
        guided[rows] = [row[0].text for row in summaries]
    pulled = _topic_probability(model, list(guided), topics)
    unguided = _topic_probability(model, found.generated["beam"][:MAX_DOCUMENTS], topics)
    baselines = {"unguided": float(unguided.mean()), "chance": 1 / model.topic.size}
    parts = Parts.mean(pulled, found.index[:MAX_DOCUMENTS], paired=True)
    return measure("topic_pull_{strength:g}", parts, seed=seed, baselines=baselines, strength=strength)


@torch.no_grad()
def _topic_probability(model: Any, texts: Sequence[str], topics: Ints) -> Floats:
    scores = model.counts(texts) @ model.topic.log_beta.T
    chosen = torch.from_numpy(topics).to(scores.device).unsqueeze(1)
    return scores.softmax(-1).gather(1, chosen).squeeze(1).cpu().double().numpy()

"""Summaries of held-out documents: near the references, beside what the document itself offers; new or copied; varied.

A summary is measured as people get it: from the text, by the way that `tgvae summarize` goes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from tgvae.data.pairs import Pairs
from tgvae.data.tokenizers import word_tokenize
from tgvae.errors import UserError
from tgvae.evaluation.metric import Metrics, Parts
from tgvae.evaluation.registry import measure
from tgvae.evaluation.summaries import KINDS, LIMIT, RougeScores, extracts, rouge, usable
from tgvae.evaluation.text import words_of
from tgvae.models.summarization import SUMMARY
from tgvae.models.summarizer import Summarizer
from tgvae.progress import step

GREEDY = replace(SUMMARY, strategy="greedy")
DRAWS = 5
DRAWN = 100


@dataclass(frozen=True, eq=False)
class Summarized:
    """Held-out documents, their references, and what was written.

    Attributes:
        index: number of each document in its split, rising, with shape (N,).
        ids: their ids.
        documents: their sentences.
        references: one or several a document.
        written: summaries by the way of decoding, ``beam`` and ``greedy``.
        finished: whether the beam's summary came to its end, with shape (N,).
    """

    index: NDArray[np.int64]
    ids: list[str]
    documents: list[list[str]]
    references: list[list[str]]
    written: dict[str, list[str]]
    finished: NDArray[np.bool_]

    @cached_property
    def texts(self) -> list[str]:
        """The documents as texts."""
        return [" ".join(sentences) for sentences in self.documents]


@step("summarizing")
def summarize_held_out(model: Summarizer, pairs: Pairs, count: int, seed: int) -> Summarized:
    """Summaries of ``count`` documents that have a reference, drawn without replacement (all, if there are fewer)."""
    chosen = np.sort(np.random.default_rng(seed).permutation(pairs.index)[:count])
    rows = pairs.table.select(["id", "sentences", "metadata", pairs.field]).take(chosen).to_pylist()
    references = [[row[pairs.field], *_further_references(row["metadata"])] for row in rows]
    documents = [row["sentences"] for row in rows]
    found = Summarized(chosen, [row["id"] for row in rows], documents, references, {}, np.zeros(0, dtype=np.bool_))
    beam, greedy = (model.summarize(found.texts, settings=settings, seed=seed) for settings in (SUMMARY, GREEDY))
    written = {"beam": [row[0].text for row in beam], "greedy": [row[0].text for row in greedy]}
    return replace(found, written=written, finished=np.array([row[0].finished for row in beam]))


def _further_references(metadata: str) -> list[str]:
    """Those of ``reference_1``, ``reference_2``, ...: a test set may have several a document."""
    columns = json.loads(metadata)
    return [str(columns[name]) for name in sorted(columns) if name.startswith("reference_")]


@step("measuring summaries")
def summary_figures(model: Summarizer, found: Summarized, strengths: Sequence[float], seed: int) -> Metrics:
    """ROUGE beside extracts of the document; lengths, new words, unfinished ones; variety of draws, pull of topics."""
    scores = {way: rouge(texts, found.references) for way, texts in found.written.items()}
    beside = {
        name: rouge(texts, found.references) for name, texts in extracts(found.documents, found.references).items()
    }
    figures = _rouge_figures(found, scores, beside, seed)
    texts, references = found.written["beam"], [given[0] for given in found.references]
    lengths, natural = (np.array([len(words) for words in words_of(group)]) for group in (texts, references))
    baselines = {"references": float(natural.mean())}
    figures |= measure("summary_length", Parts.mean(lengths, found.index, paired=True), seed=seed, baselines=baselines)
    figures |= measure("unfinished", Parts.mean(~found.finished, found.index, paired=True), seed=seed)
    ours, theirs = (_new_words(group, found.documents) for group in (texts, references))
    baselines = {"references": float(theirs[:, 0].sum() / max(1, theirs[:, 1].sum()))}
    figures |= measure(
        "new_words", Parts(ours[:, 0], ours[:, 1], found.index, paired=True), seed=seed, baselines=baselines
    )
    if model.stochastic:
        figures |= different_summaries(model, found, seed)
    for strength in strengths if model.guided else ():
        figures |= pull_of_topics(model, found, strength, seed)
    return figures


def _rouge_figures(
    found: Summarized, scores: dict[str, RougeScores], beside: dict[str, RougeScores], seed: int
) -> Metrics:
    figures: Metrics = {}
    scored = found.index[[bool(usable(given)) for given in found.references]]
    if not len(scored):
        raise UserError("no reference has a word that ROUGE counts (a-z, 0-9), so summaries cannot be scored by it")
    variants = [
        (metric, way, kind, kind)
        for metric, way in (("rouge_{kind}", "beam"), ("rouge_{kind}_greedy", "greedy"))
        for kind in KINDS
    ] + [("rouge_{kind}_{limit}_bytes", "beam", kind, f"{kind}_{LIMIT}_bytes") for kind in KINDS]
    for metric, way, kind, column in variants:
        figures |= measure(
            metric,
            Parts.mean(scores[way].values[column], scored, paired=True),
            seed=seed,
            baselines={id: float(score.values[column].mean()) for id, score in beside.items()},
            kind=kind.removeprefix("rouge"),
            limit=LIMIT,
            stemmed=", stemmed",
        )
    return figures


def _new_words(summaries: Sequence[str], documents: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """New words and all words of every summary, (N, 2); words are lower-cased, with a letter or digit."""
    rows = []
    for words, sentences in zip(words_of(summaries), documents, strict=True):
        there = {word for sentence in sentences for word in word_tokenize(sentence.lower())}
        words = [word for word in words if any(map(str.isalnum, word))]
        rows.append((sum(word not in there for word in words), len(words)))
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def different_summaries(model: Summarizer, found: Summarized, seed: int) -> Metrics:
    """Share of different texts among summaries of one document from several draws of z."""
    digests = model.summarize(found.texts[:DRAWN], DRAWS, seed=seed)
    shares = [len({summary.text for summary in summaries}) / DRAWS for summaries in digests]
    parts = Parts.mean(shares, found.index[:DRAWN], paired=True)
    return measure("different_summaries", parts, seed=seed, baselines={"minimum": 1 / DRAWS}, draws=DRAWS)


def pull_of_topics(model: Summarizer, found: Summarized, strength: float, seed: int) -> Metrics:
    """p(topic | words of a summary that was pulled towards it), beside that of the summary that was not.

    The topic is drawn for each document; the probability is Bayes' rule with all topics equally likely. A summary
    without topic words gives 1 / T.
    """
    texts = found.texts[:DRAWN]
    topics = np.random.default_rng(seed).integers(model.topic.size, size=len(texts))
    pulled = np.array(texts, dtype=object)
    for topic in np.unique(topics):
        rows = np.flatnonzero(topics == topic)
        written = model.summarize([texts[i] for i in rows], topic=int(topic), strength=strength)
        pulled[rows] = [summaries[0].text for summaries in written]
    ours, usual = (_probability(model, group, topics) for group in (list(pulled), found.written["beam"][:DRAWN]))
    parts = Parts.mean(ours, found.index[:DRAWN], paired=True)
    baselines = {"unguided": float(usual.mean()), "chance": 1 / model.topic.size}
    return measure("topic_pull_{strength:g}", parts, seed=seed, baselines=baselines, strength=strength)


@torch.no_grad()
def _probability(model: Summarizer, texts: Sequence[str], topics: NDArray[np.int64]) -> NDArray[np.float64]:
    scores = model.counts(texts) @ model.topic.log_beta.T
    chosen = torch.from_numpy(topics).to(scores.device).unsqueeze(1)
    return scores.softmax(-1).gather(1, chosen).squeeze(1).cpu().double().numpy()

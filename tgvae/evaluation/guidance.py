"""Does steering work? The share of generated sentences that are about the topic they were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tgvae.data.corpus import Corpus
from tgvae.evaluation.likelihood import evaluating
from tgvae.evaluation.topics import theta
from tgvae.models.tgvae import TGVAE


@dataclass(frozen=True)
class Fidelity:
    """Shares of sentences, beside what they must be compared with.

    Attributes:
        generated: sentences generated from topic i whose inferred topic is i.
        natural: real held-out sentences, of documents whose main topic is i, whose inferred topic is i.
        chance: 1 / T.
        sentences: how many were generated.
    """

    generated: float
    natural: float
    chance: float
    sentences: int


def inferred_topics(model: TGVAE, sentences: Sequence[str]) -> torch.Tensor:
    """Main topic of each sentence by the topic model's own inference, (N,); -1 where it has no topic word."""
    counts = torch.zeros(len(sentences), len(model.vocabulary))
    for row, sentence in zip(counts, sentences, strict=True):
        for word in model.vocabulary.encode_text(sentence):
            row[word] += 1
    return _main_topics(model, counts)


def _main_topics(model: TGVAE, counts: torch.Tensor) -> torch.Tensor:
    with evaluating(model, seed=0):
        main = model.topic.theta(counts.to(model.device)).argmax(-1).cpu()
    return torch.where(counts.sum(-1) > 0, main, -1)


def generated_fidelity(model: TGVAE, per_topic: int = 20, seed: int = 0) -> float:
    """Share of ``per_topic`` plain samples from every topic whose inferred topic is the one asked for.

    A sentence without any topic word counts as a miss.
    """
    with evaluating(model, seed):
        asked = torch.arange(model.config.topic.topics).repeat_interleave(per_topic)
        one_hot = torch.nn.functional.one_hot(asked).float().to(model.device)
        prior = model.prior(one_hot)
        sentences = model.write(prior.sample(), seed=seed)
    return (inferred_topics(model, [s.text for s in sentences]) == asked).float().mean().item()


def natural_fidelity(model: TGVAE, corpus: Corpus) -> float:
    """The same share for the real sentences of a held-out split: what a faithful writer would reach."""
    main = torch.from_numpy(theta(model, corpus).argmax(1))
    hits = rows = 0
    for batch in corpus.each_batch():
        document = batch.documents.index[batch.parent]
        hits += int((_main_topics(model, batch.own) == main[document]).sum())
        rows += len(batch.own)
    return hits / rows


def fidelity(model: TGVAE, corpus: Corpus, per_topic: int = 20, seed: int = 0) -> Fidelity:
    """Fidelity by the model's own inference, beside its natural ceiling on ``corpus`` and chance."""
    topics = model.config.topic.topics
    generated = generated_fidelity(model, per_topic, seed)
    return Fidelity(generated, natural_fidelity(model, corpus), 1 / topics, per_topic * topics)

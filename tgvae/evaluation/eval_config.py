"""Settings of an evaluation: everything needed to repeat its metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tgvae.config_io import SEEDS, require_range
from tgvae.errors import UserError


@dataclass(frozen=True)
class EvalConfig:
    """Settings of an evaluation. ``samples`` and ``seed`` are for all kinds of models, the rest for models of text.

    Attributes:
        samples: samples of the importance-weighted bound; 0 leaves it out. Graphs have none.
        weighted_sentences: held-out sentences that it is computed on, the same for every run; of vectors all are used.
        generated: sentences generated without a topic, for BLEU, copies and lengths.
        reverse: sentences for the reverse perplexity, which trains two small language models; 0 leaves it out.
        per_topic: sentences generated for every topic.
        summaries: held-out documents that a summarizer summarizes, the same for every run.
        strengths: guidance strengths to generate with.
        seed: of all sampling.
        lda: train LDA with as many topics on the same words as baseline of the topics.
    """

    samples: int = 100
    weighted_sentences: int = 300
    generated: int = 1000
    reverse: int = 2000
    per_topic: int = 20
    summaries: int = 1000
    strengths: tuple[float, ...] = (1.0, 1.5)
    seed: int = 0
    lda: bool = False

    def __post_init__(self) -> None:
        minimum = {"samples": 0, "weighted_sentences": 1, "generated": 2, "reverse": 0, "per_topic": 1, "summaries": 1}
        for name, least in minimum.items():
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        require_range(self, 0, SEEDS, "seed")
        if not all(map(math.isfinite, self.strengths)):
            raise UserError(f"strengths are {self.strengths}; they must be finite numbers")

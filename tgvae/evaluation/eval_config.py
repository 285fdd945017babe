"""How much `tgvae evaluate` draws, writes and trains: what one must know to repeat its figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tgvae.config_io import SEEDS, require_range
from tgvae.errors import UserError


@dataclass(frozen=True)
class EvalConfig:
    """How runs are measured: ``samples`` and ``seed`` for runs of all kinds, the rest for those of text.

    Attributes:
        samples: draws of the importance-weighted bound; 0 leaves it out. A graph has none.
        weighted_sentences: held-out sentences that it is taken over, the same ones for every run; of vectors all are.
        generated: sentences written freely, for BLEU, copies and lengths.
        reverse: sentences for the reverse perplexity, which trains two small language models; 0 leaves it out.
        per_topic: sentences generated from every topic.
        summaries: held-out documents that a summarizer summarizes, the same ones for every run.
        strengths: of steering, to generate with.
        seed: of all draws.
        lda: put LDA with as many topics and the same words beside the topics.
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
        at_least = {"samples": 0, "weighted_sentences": 1, "generated": 2, "reverse": 0, "per_topic": 1, "summaries": 1}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        require_range(self, 0, SEEDS, "seed")
        if not all(map(math.isfinite, self.strengths)):
            raise UserError(f"strengths are {self.strengths}; give finite numbers")

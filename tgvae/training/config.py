"""How to train: phases, and the learning rate over them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from tgvae.config_io import SEEDS, require_range
from tgvae.data.corruption import Corruption
from tgvae.data.dataset import Unit
from tgvae.errors import UserError
from tgvae.schedules import Schedule


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own optimiser and early stopping.

    Attributes:
        unit: train on bags of words of ``document``s alone, on ``sentence``s with their documents, on ``vector``s,
            or on the ``node``s of a graph.
        epochs: at most this many.
        learning_rate: peak of a cosine with a short warm-up.
        batch: documents, vectors, or padded tokens, a batch; a graph is one batch.
        weights: weight of terms over the phase, by name; others count once.
        free_nats: floor of terms, by name.
        temperature: of the model's Gumbel-softmax draws.
        corruption: noise on what the encoder sees, and on z: a denoising model (Im et al. 2015, arXiv 1511.06406).
        patience: stop after this many epochs without a better validation bound.

    Examples:
        >>> from tgvae.schedules import Schedule
        >>> beta = Schedule("linear", share=0.5)
        >>> phase = Phase("sentence", epochs=5, weights={"kl/z": beta}, free_nats={"kl/z": 2.0})
        >>> phase.weights["kl/z"](0.25)  # beta after a quarter of the phase
        0.5
    """

    unit: Unit
    epochs: int = 10
    learning_rate: float = 1e-3
    batch: int = 4096
    weights: dict[str, Schedule] = field(default_factory=dict)
    free_nats: dict[str, float] = field(default_factory=dict)
    temperature: Schedule = field(default_factory=Schedule)
    corruption: Corruption = field(default_factory=Corruption)
    patience: int = 3

    def __post_init__(self) -> None:
        require_range(self, 1, math.inf, "epochs", "batch", "patience")
        require_range(self, 0, math.inf, "learning_rate")
        if bad := [name for name, floor in self.free_nats.items() if not 0 <= floor < math.inf]:
            raise UserError(f"free_nats of {bad[0]} is {self.free_nats[bad[0]]}; it must be at least 0 and finite")
        if min(self.temperature(0), self.temperature(1)) <= 0:
            raise UserError("temperature must stay above 0; give it another start or end")
        if self.corruption.kind != "none" and not self.corruption.rate:
            raise UserError(f"corruption.kind is {self.corruption.kind}, but corruption.rate is 0; give a rate")


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        phases: by name, one after another; each starts from the best state of the one before.
        seed: of everything.
        clip: largest norm of the gradient.
        precision: ``bf16`` trains in bfloat16, ``auto`` where the hardware multiplies it faster than float32. Weights,
            their updates and validation are in float32.
        device: ``auto`` takes the accelerator if there is one.
        save_minutes: between checkpoints within an epoch; one is made after every epoch anyhow.
        largest_loss: an objective above it stops training as one that is not finite does; in nats a row, which is a
            document, sentence, vector or node. Text of a million words has some ten million nats.

    Examples:
        >>> config = TrainConfig({"topics": Phase("document"), "sentences": Phase("sentence", epochs=5)}, seed=1)
        >>> [phase.epochs for phase in config.phases.values()]
        [10, 5]
    """

    phases: dict[str, Phase] = field(default_factory=dict)
    seed: int = 0
    clip: float = 5.0
    precision: Literal["auto", "no", "bf16"] = "no"
    device: Literal["auto", "cpu"] = "auto"
    save_minutes: float = 5.0
    largest_loss: float = 1e8

    def __post_init__(self) -> None:
        require_range(self, 0, SEEDS, "seed")
        require_range(self, 0, math.inf, "clip", "save_minutes", "largest_loss")


def learning_rate(peak: float, step: int, total: int) -> float:
    """A linear warm-up over the first tenth, 200 steps at most, then a cosine to zero.

    A function of the step, with no state of its own that a resumed run would have to restore.

    Examples:
        >>> [round(learning_rate(1e-3, step, total=100), 6) for step in (0, 4, 50, 100)]
        [0.0001, 0.0005, 0.0005, 0.0]
    """
    warm = max(1, min(200, total // 10))
    return peak * min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / max(1, total))))

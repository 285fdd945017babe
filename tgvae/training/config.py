"""Training settings: phases and the learning rate schedule."""

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
    """A part of training with its own optimiser and early stopping.

    Attributes:
        unit: rows to train on: ``document`` (bags of words), ``sentence`` (with their documents), ``vector``, or
            ``node`` of a graph.
        epochs: largest number of epochs.
        learning_rate: peak of a cosine with a short warm-up.
        batch: documents, vectors or padded tokens per batch; a graph is one batch.
        weights: schedules of the weights of terms by name; other terms have weight 1.
        free_nats: floors of terms by name.
        temperature: of Gumbel-softmax samples.
        corruption: noise on the encoder's input and on z: a denoising model (Im et al. 2015, arXiv 1511.06406).
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
            raise UserError("temperature must stay above 0; change its start or end")
        if self.corruption.kind != "none" and not self.corruption.rate:
            raise UserError(f"corruption.kind is {self.corruption.kind}, but corruption.rate is 0; give a rate")


@dataclass(frozen=True)
class TrainConfig:
    """Training settings.

    Attributes:
        phases: by name, in order; each starts from the best model of the one before.
        seed: of all random numbers.
        clip: largest norm of the gradient.
        precision: ``bf16`` trains in bfloat16, ``auto`` only where the hardware multiplies it faster than float32.
            Weights, their updates and validation are in float32.
        device: ``auto`` uses the accelerator if there is one.
        save_minutes: minutes between checkpoints within an epoch; every epoch ends with one.
        largest_loss: stop with an error if the objective, in nats per row (document, sentence, vector or node), exceeds
            this. A text of a million words has about ten million nats.

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
    """Return the rate of a step: linear warm-up over the first tenth, at most 200 steps, then a cosine to zero.

    A function of the step alone, so a resumed run has no scheduler state to restore.

    Examples:
        >>> [round(learning_rate(1e-3, step, total=100), 6) for step in (0, 4, 50, 100)]
        [0.0001, 0.0005, 0.0005, 0.0]
    """
    warm = max(1, min(200, total // 10))
    return peak * min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / max(1, total))))

"""What a decoder is: p(y | z) token by token, and of a whole sentence at once.

Models, generation and evaluation use decoders through these protocols alone, so a GRU, a pointer-generator in front of
its documents, and a pretrained language model are interchangeable.

Shape legend: S samples, B batch, L tokens, Z latent, V vocabulary.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from torch import Tensor

from tgvae.distributions import SequenceDistribution

S = TypeVar("S")


class StepDecoder(Protocol[S]):
    """A decoder that generates: all its context is in its state, a tensor or a nested tuple or dict of tensors.

    Dimension 0 of every tensor in the state is the batch.
    """

    def step(self, tokens: Tensor, state: S) -> tuple[Tensor, S]:
        """Return logits (B, V) of the token after ``tokens`` (B,), and the next state."""
        ...


class LatentStepDecoder(StepDecoder[S], Protocol[S]):
    """A decoder that generates from a latent."""

    def start(self, z: Tensor) -> S:
        """Return the state before the first token for latents with shape (B, Z)."""
        ...


class Decoder(LatentStepDecoder[S], Protocol[S]):
    """A decoder with a latent, to train and to generate with; usually a module, which is called through ``forward``."""

    def __call__(self, inputs: Tensor, z: Tensor) -> SequenceDistribution:
        """Return p(y | z) by teacher forcing.

        Args:
            inputs: bos and the tokens before each position, with shape (B, L).
            z: with shape (S, B, Z).

        Returns:
            A distribution over targets (B, L), with batch shape (S, B).
        """
        ...

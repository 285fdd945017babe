"""Corruption: what the encoder of a denoising model reads instead of the clean row that its likelihood scores.

x~ ~ p(x~ | x) (Vincent et al. 2010; for a VAE Im et al. 2015, arXiv 1511.06406; for sentences Shen et al. 2020,
arXiv 1905.12777). Nothing is changed in place; random numbers come from torch's global generator.

Shape legend: B rows, D values of a vector, L tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from tgvae.errors import UserError

Kind = Literal["none", "mask", "salt-and-pepper", "gaussian", "drop", "swap", "substitute"]


@dataclass(frozen=True)
class Corruption:
    """Noise on the encoder's input and on z. The words by which TGVAE assigns a sentence's topic stay clean.

    Attributes:
        kind: ``mask`` hides values or words; images also have ``salt-and-pepper`` and ``gaussian``, text has
            ``drop``, ``swap`` and ``substitute``.
        rate: share of corrupted values or words; for ``gaussian`` the standard deviation of the noise.
        latent: standard deviation of Gaussian noise that models add to z in training.

    Raises:
        UserError: a setting is out of its range.

    Examples:
        >>> Corruption("drop", 0.2)
        Corruption(kind='drop', rate=0.2, latent=0.0)
        >>> Corruption("drop", 1.5)
        Traceback (most recent call last):
        tgvae.errors.UserError: corruption.rate is 1.5; a share must be from 0 to 1
    """

    kind: Kind = "none"
    rate: float = 0.0
    latent: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UserError(f"corruption.kind {self.kind!r} is not one of {', '.join(get_args(Kind))}")
        if self.kind == "none" and self.rate:
            raise UserError(f"corruption.rate is {self.rate}, but corruption.kind is none; name a kind")
        if self.kind == "gaussian" and not 0 <= self.rate < math.inf:
            raise UserError(f"corruption.rate is {self.rate}; a standard deviation must be 0 or more, and finite")
        if self.kind != "gaussian" and not 0 <= self.rate <= 1:
            raise UserError(f"corruption.rate is {self.rate}; a share must be from 0 to 1")
        if not 0 <= self.latent < math.inf:
            raise UserError(f"corruption.latent is {self.latent}; a standard deviation must be 0 or more, and finite")


def corrupt_vectors(x: Tensor, corruption: Corruption) -> Tensor:
    """Return a corrupted copy of vectors, or ``x`` itself if the kind is ``none``.

    ``mask`` sets a value to 0, ``salt-and-pepper`` to 0 or 1 with equal chance. ``gaussian`` adds rate * eps,
    eps ~ N(0, 1), to every value, without clipping to [0, 1].

    Args:
        x: with shape (B, D).
        corruption: kind and rate.

    Returns:
        With shape (B, D).

    Raises:
        UserError: a kind that only text has.

    Examples:
        >>> import torch
        >>> corrupt_vectors(torch.ones(1, 3), Corruption("mask", rate=1.0)).tolist()
        [[0.0, 0.0, 0.0]]
    """
    if corruption.kind == "none":
        return x
    if corruption.kind == "gaussian":
        return x + corruption.rate * torch.randn_like(x)
    hit = torch.rand(x.shape, device=x.device) < corruption.rate
    if corruption.kind == "mask":
        return x.masked_fill(hit, 0.0)
    if corruption.kind == "salt-and-pepper":
        return torch.where(hit, torch.randint_like(x, 2), x)
    raise UserError(f"corruption {corruption.kind!r} is for text; images have none, mask, salt-and-pepper, gaussian")


def corrupt_sentences(
    tokens: Tensor, lengths: Tensor, corruption: Corruption, unk_id: int, pad_id: int
) -> tuple[Tensor, Tensor]:
    """Return a corrupted copy of sentences, or the arguments if the kind is ``none``. eos and padding stay.

    - ``mask``: a word becomes unk.
    - ``drop``: a word is removed; a row may be left with eos alone.
    - ``swap``: neighbours change places. Words are paired from the first or the second word on, at random per row, and
      a pair is swapped with probability ``rate``; a word without a partner, at either end, stays.
    - ``substitute``: a word becomes a random word of the batch, possibly the same.

    Args:
        tokens: the sentence, then eos, then padding, with shape (B, L).
        lengths: tokens of each row, eos included, so at least 1, with shape (B,).
        corruption: kind and rate.
        unk_id: of the token that hides a word.
        pad_id: of padding.

    Returns:
        Tokens with shape (B, L) and their lengths with shape (B,).

    Raises:
        UserError: a kind that only images have.

    Examples:
        Two words, eos (3) and padding (0); all words are dropped:

        >>> import torch
        >>> sentence, lengths, noise = torch.tensor([[7, 8, 3, 0]]), torch.tensor([3]), Corruption("drop", 1.0)
        >>> tokens, lengths = corrupt_sentences(sentence, lengths, noise, unk_id=1, pad_id=0)
        >>> tokens.tolist(), lengths.tolist()
        ([[3, 0, 0, 0]], [1])
    """
    if corruption.kind == "none":
        return tokens, lengths
    words = torch.arange(tokens.shape[1], device=tokens.device) < (lengths - 1).unsqueeze(1)
    hit = words & (torch.rand(tokens.shape, device=tokens.device) < corruption.rate)
    if corruption.kind == "mask":
        return tokens.masked_fill(hit, unk_id), lengths
    if corruption.kind == "drop":
        return _dropped(tokens, hit, pad_id), lengths - hit.sum(1)
    if corruption.kind == "swap":
        return _swapped(tokens, words, hit), lengths
    if corruption.kind == "substitute":
        return _substituted(tokens, words, hit), lengths
    raise UserError(f"corruption {corruption.kind!r} is for images; text has none, mask, drop, swap, substitute")


def _dropped(tokens: Tensor, hit: Tensor, pad_id: int) -> Tensor:
    """Move dropped words, as padding, behind the others, which keep their order."""
    order = hit.int().argsort(dim=1, stable=True)
    return tokens.masked_fill(hit, pad_id).gather(1, order)


def _swapped(tokens: Tensor, words: Tensor, hit: Tensor) -> Tensor:
    """Swap neighbours (i, i + 1) whose first word was hit; in a row all i are even, or all odd."""
    rows, length = tokens.shape
    position = torch.arange(length, device=tokens.device).expand(rows, length)
    odd = torch.randint(2, (rows, 1), device=tokens.device)
    partner = (position + 1 - 2 * ((position + odd) % 2)).clamp(0, length - 1)
    exchanged = words & words.gather(1, partner) & hit.gather(1, torch.minimum(position, partner))
    return tokens.gather(1, torch.where(exchanged, partner, position))


def _substituted(tokens: Tensor, words: Tensor, hit: Tensor) -> Tensor:
    """Replace words that were hit by words sampled uniformly from those of the batch."""
    pool = tokens[words]
    if not len(pool):
        return tokens
    return torch.where(hit, pool[torch.randint(len(pool), tokens.shape, device=tokens.device)], tokens)

"""From decoder states to readable sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tgvae.data.tokenizers import SentenceTokenizer, clean_text
from tgvae.errors import UserError
from tgvae.generation.decode import Decoded, DecodeSettings, decode
from tgvae.models.display import Texts
from tgvae.nn.decoder import LatentStepDecoder, S, StepDecoder
from tgvae.progress import track

AT_ONCE = 1024  # sentences decoded together


@dataclass(frozen=True)
class Sentence:
    """A generated sentence.

    Attributes:
        text: detokenised.
        log_prob: log p(y | z) under the model in nats, untempered.
        finished: False when it was cut at the maximum length.
    """

    text: str
    log_prob: float
    finished: bool


def write(
    decoder: LatentStepDecoder[Any],
    tokenizer: SentenceTokenizer,
    z: Tensor,
    settings: DecodeSettings,
    generator: torch.Generator | None = None,
) -> list[Sentence]:
    """A sentence for every row of z with shape (N, Z); some at a time, so that memory does not grow with N."""
    parts = (_write(decoder, tokenizer, part, settings, generator) for part in track(z.split(AT_ONCE), "writing"))
    return Texts(sentence for part in parts for sentence in part)


def decode_tokens(
    decoder: StepDecoder[S],
    state: S,
    tokenizer: SentenceTokenizer,
    settings: DecodeSettings,
    generator: torch.Generator | None,
) -> Decoded:
    """``decode`` with the special ids of a tokenizer: pad, unk and bos are never written, bytes may repeat."""
    return decode(
        decoder,
        state,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        settings=settings,
        generator=generator,
        forbidden=[tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id],
        repeatable=tokenizer.byte_ids,
    )


def _write(
    decoder: LatentStepDecoder[Any],
    tokenizer: SentenceTokenizer,
    z: Tensor,
    settings: DecodeSettings,
    generator: torch.Generator | None,
) -> list[Sentence]:
    return readable(decode_tokens(decoder, decoder.start(z), tokenizer, settings, generator), tokenizer)


def readable(decoded: Decoded, tokenizer: SentenceTokenizer) -> list[Sentence]:
    """Decoded tokens as text."""
    texts = [tokenizer.decode(i for i in row if i != tokenizer.pad_id) for row in decoded.ids.tolist()]
    rows = zip(texts, decoded.log_prob.tolist(), decoded.finished.tolist(), strict=True)
    return [Sentence(*row) for row in rows]


def read(tokenizer: SentenceTokenizer, sentences: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
    """Sentences as padded targets with eos, (B, L), and their lengths, (B,).

    Raises:
        UserError: a sentence has no token.
    """
    rows = tokenizer.encode_batch([clean_text(s) for s in sentences])
    for sentence, row in zip(sentences, rows, strict=True):
        if not row:
            raise UserError(f"the sentence {sentence!r} holds no word; give some text")
    padded = [torch.tensor([*row, tokenizer.eos_id]) for row in rows]
    targets = torch.nn.utils.rnn.pad_sequence(padded, batch_first=True, padding_value=tokenizer.pad_id)
    return targets.to(device), torch.tensor([len(p) for p in padded], device=device)


def interpolate(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Latents on the straight line from a to b, both ends included, with shape (steps, Z).

    Examples:
        >>> import torch
        >>> interpolate(torch.zeros(2), torch.tensor([2.0, 4.0]), steps=3).tolist()
        [[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]]
    """
    if steps < 2:
        raise UserError(f"interpolation needs at least 2 steps, not {steps}")
    return torch.lerp(a, b, torch.linspace(0, 1, steps, device=a.device).unsqueeze(-1))

"""From decoder states to readable sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from tgvae.data.tokenizers import SentenceTokenizer, clean_text
from tgvae.errors import UserError
from tgvae.generation.decode import Decoded, DecodeSettings, S, StepDecoder, decode
from tgvae.nn.gru import GRUDecoder

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


@contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Draws inside depend on ``seed`` alone, and those outside are as if there had been none inside."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def write(decoder: GRUDecoder, tokenizer: SentenceTokenizer, z: Tensor, settings: DecodeSettings) -> list[Sentence]:
    """A sentence for every row of z with shape (N, Z); some at a time, so that memory does not grow with N."""
    return [sentence for part in z.split(AT_ONCE) for sentence in _write(decoder, tokenizer, part, settings)]


def decode_tokens(decoder: StepDecoder[S], state: S, tokenizer: SentenceTokenizer, settings: DecodeSettings) -> Decoded:
    """``decode`` with the special ids of a tokenizer: pad, unk and bos are never written, bytes may repeat."""
    return decode(
        decoder,
        state,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        settings=settings,
        forbidden=[tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id],
        repeatable=tokenizer.byte_ids,
    )


def _write(decoder: GRUDecoder, tokenizer: SentenceTokenizer, z: Tensor, settings: DecodeSettings) -> list[Sentence]:
    decoded = decode_tokens(decoder, decoder.start(z), tokenizer, settings)
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


def between(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Latents on the straight line from a to b, both ends included, with shape (steps, Z)."""
    if steps < 2:
        raise UserError(f"interpolation needs at least 2 steps, not {steps}")
    return torch.lerp(a, b, torch.linspace(0, 1, steps, device=a.device).unsqueeze(-1))

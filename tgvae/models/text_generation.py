"""From decoder states to readable sentences, and back to tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from tgvae.data.tokenizers import SentenceTokenizer, clean_text
from tgvae.errors import UserError
from tgvae.formatting import Table
from tgvae.generation.decode import Decoded, DecodeSettings, decode
from tgvae.nn.decoder import LatentStepDecoder, S, StepDecoder
from tgvae.progress import track

MAX_BATCH = 1024  # sentences decoded together


class ScoredText(Protocol):
    """Text from a model, such as ``Sentence`` and ``Summary``."""

    @property
    def text(self) -> str: ...

    @property
    def log_prob(self) -> float: ...


T = TypeVar("T", bound=ScoredText)


class Texts(list[T]):
    """A list of sentences or summaries, shown by notebooks as a table with log p in nats."""

    def _repr_html_(self) -> str:
        rows = [(row.text, f"{row.log_prob:.1f}") for row in self]
        return Table(("text", "log p, nats"), rows, numeric={1}).to_html(inline_style=True)


@dataclass(frozen=True)
class Sentence:
    """A generated sentence.

    Attributes:
        text: detokenised.
        log_prob: log p(y | z) in nats under the model itself (no temperature, no filters).
        finished: False if it was cut at the maximum length.
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
    """Generate a sentence for each row of z with shape (N, Z), in batches, so memory does not grow with N."""
    sentences = Texts[Sentence]()
    for part in track(z.split(MAX_BATCH), "generating"):
        decoded = decode_tokens(decoder, decoder.start(part), tokenizer, settings, generator)
        sentences.extend(readable(decoded, tokenizer))
    return sentences


def decode_tokens(
    decoder: StepDecoder[S],
    state: S,
    tokenizer: SentenceTokenizer,
    settings: DecodeSettings,
    generator: torch.Generator | None,
) -> Decoded:
    """Call ``decode`` with the special ids of a tokenizer; pad, unk and bos are never generated."""
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


def readable(decoded: Decoded, tokenizer: SentenceTokenizer) -> list[Sentence]:
    """Return decoded tokens as text."""
    texts = [tokenizer.decode(i for i in row if i != tokenizer.pad_id) for row in decoded.ids.tolist()]
    rows = zip(texts, decoded.log_prob.tolist(), decoded.finished.tolist(), strict=True)
    return [Sentence(*row) for row in rows]


def read(tokenizer: SentenceTokenizer, sentences: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return sentences as padded tokens with eos, (B, L), and their lengths (B,).

    Raises:
        UserError: a sentence has no tokens.
    """
    rows = tokenizer.encode_batch([clean_text(s) for s in sentences])
    for sentence, row in zip(sentences, rows, strict=True):
        if not row:
            raise UserError(f"the sentence {sentence!r} has no words; give some text")
    padded = [torch.tensor([*row, tokenizer.eos_id]) for row in rows]
    targets = torch.nn.utils.rnn.pad_sequence(padded, batch_first=True, padding_value=tokenizer.pad_id)
    return targets.to(device), torch.tensor([len(p) for p in padded], device=device)


def interpolate(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Return points on the straight line from a to b, both ends included, with shape (steps, Z).

    Examples:
        >>> import torch
        >>> interpolate(torch.zeros(2), torch.tensor([2.0, 4.0]), steps=3).tolist()
        [[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]]
    """
    if steps < 2:
        raise UserError(f"interpolation needs at least 2 steps, not {steps}")
    return torch.lerp(a, b, torch.linspace(0, 1, steps, device=a.device).unsqueeze(-1))

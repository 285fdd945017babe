"""Batches: documents, and sentences with their documents.

Shape legend: U documents, B sentences, P passages, L tokens, N tokens of a source or passage, D bag-of-words
vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Self

import torch
from torch import Tensor

from tgvae.data.bow import BagOfWords


@dataclass(frozen=True)
class Documents:
    """Documents as bags of words.

    Attributes:
        counts: word counts (U, D).
        index: row of each document in its split, with shape (U,).
    """

    counts: BagOfWords
    index: Tensor

    @property
    def sizes(self) -> dict[str, Tensor]:
        """Topic words (as words and as tokens) and document of every row, each (U,)."""
        words = self.counts.sizes.long()
        return {"words": words, "tokens": words, "documents": self.index}

    def to(self, device: torch.device | str) -> Documents:
        return Documents(self.counts.to(device), self.index.to(device))


@dataclass(frozen=True)
class Passages:
    """Consecutive sentences, for models in which a sentence depends on those before it.

    Attributes:
        tokens: bos and the tokens of every passage without eos, padded, with shape (P, N).
        row: the passage of each sentence of the batch, with shape (B,).
        start: place in ``tokens`` of the token before the sentence, with shape (B,).
    """

    tokens: Tensor
    row: Tensor
    start: Tensor

    def to(self, device: torch.device | str) -> Passages:
        return Passages(self.tokens.to(device), self.row.to(device), self.start.to(device))


@dataclass(frozen=True)
class Batch:
    """Sentences with the documents they come from; ``documents`` holds each document once.

    Attributes:
        documents: the U documents.
        inputs: bos, then the sentence, padded, with shape (B, L).
        targets: the sentence, then eos, padded, with shape (B, L).
        lengths: tokens of each row of ``targets``, eos included, with shape (B,).
        words: nltk words of each sentence, end of sentence counted as one, with shape (B,).
        parent: row in ``documents`` of each sentence's document, with shape (B,).
        sentence_bow: bag of words of the sentence itself, (B, D).
        context: the document without the sentence, (B, D), on which the sentence may depend.
        noisy: tokens and lengths of ``targets`` after corruption, for a denoising model.
        passages: the sentences with those before them, where a model reads these.
    """

    documents: Documents
    inputs: Tensor
    targets: Tensor
    lengths: Tensor
    words: Tensor
    parent: Tensor
    sentence_bow: BagOfWords
    context: BagOfWords
    noisy: tuple[Tensor, Tensor] | None = field(default=None, kw_only=True)
    passages: Passages | None = field(default=None, kw_only=True)

    @property
    def encoder_inputs(self) -> tuple[Tensor, Tensor]:
        """Tokens (B, L') and lengths (B,) that the encoder reads: the sentence, or its corrupted copy."""
        return self.noisy or (self.targets, self.lengths)

    @property
    def sizes(self) -> dict[str, Tensor]:
        """Words, tokens and document of every row, each (B,)."""
        return {"words": self.words, "tokens": self.lengths, "documents": self.documents.index[self.parent]}

    def to(self, device: torch.device | str) -> Self:
        optional = {"noisy", "passages"}
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name not in optional}
        noisy = None if self.noisy is None else (self.noisy[0].to(device), self.noisy[1].to(device))
        return type(self)(**moved, noisy=noisy, passages=self.passages and self.passages.to(device))


@dataclass(frozen=True)
class PairBatch(Batch):
    """Documents with their summaries: a row is a pair, its sentence is the summary, its document belongs to it alone.

    In source and targets, ids of at least V are words that the tokenizer lacks (see ``ExtendedVocabulary``); targets
    have them only if the source of the row has the word. A summary is not part of its document, so ``context`` is the
    whole document.

    Attributes:
        source: first tokens of each document, padded, with shape (B, N).
        source_lengths: tokens of each row of ``source``, at least one, with shape (B,).
    """

    source: Tensor
    source_lengths: Tensor

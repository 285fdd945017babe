"""A decoder that attends to a source and copies from it, with a latent in every step.

Shape legend: S samples, B batch, L tokens, N source tokens, E embedding, H hidden, F source features,
Z latent, V vocabulary, X words beyond it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tgvae.distributions import TokenSequence
from tgvae.distributions_copy import CopySequence, mixed_log_probs
from tgvae.nn.attention import AdditiveAttention, Memory


class Source(NamedTuple):
    """A document as the decoder sees it.

    Attributes:
        memory: its states, to attend to.
        final: the encoder's final states with shape (B, F).
        ids: its tokens with shape (B, N), those that the vocabulary lacks from V on.
    """

    memory: Memory
    final: Tensor
    ids: Tensor


class CopyState(NamedTuple):
    """State before a token: that of both GRUs, each (B, H), z (B, Z), the source, and zeros (B, X)."""

    query: Tensor
    hidden: Tensor
    z: Tensor
    source: Source
    beyond: Tensor


class CopyDecoder(nn.Module):
    """p(y | x, z): one GRU asks the source, a second one reads the answers, the words are written or copied.

        q_m = GRU([emb(y_{m-1}); z], q_{m-1})     c_m = attention(q_m)     h_m = GRU([q_m; c_m], h_{m-1})
        softmax(W (P [h_m; c_m] + A z) + b),      p_gen = sigmoid(g' [h_m; c_m; emb(y_{m-1})])

    Attention hangs on the words so far alone (as in Wu et al. 2016, arXiv 1609.08144), so that all steps of a
    known sentence are computed at once; the second GRU sees what was attended to before. W is the embedding.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        features: int,
        hidden_size: int,
        latent_size: int,
        dropout: float,
        *,
        unk_id: int,
        copy: bool,
    ) -> None:
        super().__init__()
        size = embedding.embedding_dim
        self.embedding, self.unk_id = embedding, unk_id
        self.initial = nn.Linear(features + latent_size, 2 * hidden_size)
        self.asking = nn.GRU(size + latent_size, hidden_size, batch_first=True)
        self.attention = AdditiveAttention(features, hidden_size, size)
        self.reading = nn.GRU(hidden_size + features, hidden_size, batch_first=True)
        self.project = nn.Linear(hidden_size + features, size)
        self.direct = nn.Linear(latent_size, size, bias=False) if latent_size else None
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))
        self.gate = nn.Linear(hidden_size + features + size, 1) if copy else None
        self.dropout = nn.Dropout(dropout)

    def within(self, ids: Tensor) -> Tensor:
        """The ids with unk in place of those beyond the vocabulary."""
        return ids.masked_fill(ids >= self.embedding.num_embeddings, self.unk_id)

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings (..., E) of ids (...), with dropout in training, scaled to unit size for the GRUs to read.

        Those of tied logits start at E^-1/2, at which an encoder learns slowly (Vaswani et al. 2017 scale alike).
        """
        return self.dropout(self.embedding(self.within(ids)) * self.embedding.embedding_dim**0.5)

    def start(self, z: Tensor, source: Source, beyond: int = 0) -> CopyState:
        """State before the first token for latents (B, Z); ``beyond`` is X, 0 without words to copy from there."""
        query, hidden = self.initial(torch.cat((source.final, z), dim=-1)).tanh().chunk(2, dim=-1)
        return CopyState(query, hidden, z, source, z.new_zeros(len(z), beyond))

    def step(self, tokens: Tensor, state: CopyState) -> tuple[Tensor, CopyState]:
        """Log-probabilities (B, V + X) of the token after ``tokens`` (B,), and the next state."""
        embedded, z = self.embed(tokens).unsqueeze(1), state.z.unsqueeze(0)
        h, attention, query, hidden = self._run(embedded, z, state.query, state.hidden, state.source.memory)
        logits = nn.functional.linear(self._before_words(h, z), self.embedding.weight, self.bias)[0, :, 0]
        after = state._replace(query=query, hidden=hidden)
        if self.gate is None:
            return logits.float().log_softmax(-1), after
        gate = self._gate(h, embedded)[0, :, 0]
        return mixed_log_probs(logits, gate, attention[0, :, 0], state.source.ids, state.beyond), after

    def forward(self, inputs: Tensor, z: Tensor, source: Source) -> tuple[TokenSequence | CopySequence, Tensor]:
        """Likelihood of summaries, teacher-forced, and the attention that it paid.

        Args:
            inputs: bos and the tokens before each position, with shape (B, L).
            z: with shape (S, B, Z).
            source: of B documents.

        Returns:
            A distribution over targets (B, L) with batch shape (S, B), and weights with shape (S, B, L, N).
        """
        embedded = self.embed(inputs)
        start = self.start(z, source._replace(final=source.final.expand(len(z), -1, -1)))
        h, attention, *_ = self._run(embedded, z, start.query.flatten(0, 1), start.hidden.flatten(0, 1), source.memory)
        pad_id = self.embedding.padding_idx
        assert pad_id is not None
        written = TokenSequence(self._before_words(h, z), self.embedding.weight, self.bias, pad_id)
        if self.gate is None:
            return written, attention
        return CopySequence(written, self._gate(h, embedded), attention, source.ids), attention

    def _run(
        self, embedded: Tensor, z: Tensor, query: Tensor, hidden: Tensor, memory: Memory
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[h; c] (S, B, L, H + F), attention (S, B, L, N) and last states (S B, H), from embeddings (B, L, E)."""
        rows, latent = z.shape[:2], z.unsqueeze(2).expand(-1, -1, embedded.shape[1], -1)
        inputs = torch.cat((embedded.expand(len(z), -1, -1, -1), latent), dim=-1)
        asked, query = self.asking(inputs.flatten(0, 1), query.unsqueeze(0))
        queries = asked.unflatten(0, rows)
        attention, context = self.attention(queries, memory)
        read, hidden = self.reading(torch.cat((queries, context), dim=-1).flatten(0, 1), hidden.unsqueeze(0))
        return torch.cat((read.unflatten(0, rows), context), dim=-1), attention, query.squeeze(0), hidden.squeeze(0)

    def _before_words(self, h: Tensor, z: Tensor) -> Tensor:
        projected = self.project(self.dropout(h))
        return projected if self.direct is None else projected + self.direct(z.unsqueeze(2))

    def _gate(self, h: Tensor, embedded: Tensor) -> Tensor:
        """Logit of p_gen with shape (S, B, L)."""
        assert self.gate is not None
        return self.gate(torch.cat((h, embedded.expand(len(h), -1, -1, -1)), dim=-1)).squeeze(-1)

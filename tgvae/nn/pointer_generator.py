"""A decoder that attends to a source and copies from it, with a latent in every step.

Shape legend: S samples, B batch, L tokens, N source tokens, E embedding, H hidden, F source features,
Z latent, V vocabulary, X words beyond it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tgvae.distributions import TokenSequence
from tgvae.distributions_copy import PointerGeneratorSequence, mixed_log_probs
from tgvae.nn.attention import AdditiveAttention, Memory
from tgvae.nn.dropout import Dropout
from tgvae.nn.gru import run_gru


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

    def rows(self, index: Tensor) -> Source:
        """The documents ``index`` (B',), repeats allowed."""
        return Source(Memory(*(part[index] for part in self.memory)), self.final[index], self.ids[index])


class PointerGeneratorDecoder(nn.Module):
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
        self.dropout = Dropout(dropout)

    def within(self, ids: Tensor) -> Tensor:
        """The ids with unk in place of those beyond the vocabulary."""
        return ids.masked_fill(ids >= self.embedding.num_embeddings, self.unk_id)

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings (..., E) of ids (...), with dropout in training, scaled to unit size for the GRUs to read.

        Those of tied logits start at E^-1/2, at which an encoder learns slowly (Vaswani et al. 2017 scale alike).
        """
        return self.dropout(self.embedding(self.within(ids)) * self.embedding.embedding_dim**0.5)

    def start(self, final: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """States (..., H) of both GRUs before the first token, for final states (..., F) and latents (..., Z)."""
        query, hidden = self.initial(torch.cat((final, z), dim=-1)).tanh().chunk(2, dim=-1)
        return query, hidden

    def forward(
        self, inputs: Tensor, z: Tensor, source: Source
    ) -> tuple[TokenSequence | PointerGeneratorSequence, Tensor]:
        """Likelihood of summaries, teacher-forced, and the attention that it paid.

        Args:
            inputs: bos and the tokens before each position, with shape (B, L).
            z: with shape (S, B, Z).
            source: of B documents.

        Returns:
            A distribution over targets (B, L) with batch shape (S, B), and weights with shape (S, B, L, N).
        """
        embedded = self.embed(inputs).expand(len(z), -1, -1, -1)
        start = self.start(source.final.expand(len(z), -1, -1), z)
        h, attention, *_ = self.run(embedded, z, *start, source.memory)
        pad_id = self.embedding.padding_idx
        assert pad_id is not None
        written = TokenSequence(self.before_words(h, z), self.embedding.weight, self.bias, pad_id)
        if self.gate is None:
            return written, attention
        return PointerGeneratorSequence(written, self.write_gate(h, embedded), attention, source.ids), attention

    def run(
        self, embedded: Tensor, z: Tensor, query: Tensor, hidden: Tensor, memory: Memory
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[h; c] (S, B, L, H + F), attention (S, B, L, N) and last states (S, B, H).

        Args:
            embedded: with shape (S, B, L, E).
            z: with shape (S, B, Z).
            query, hidden: first states with shape (S, B, H).
            memory: of B documents.
        """
        rows, latent = z.shape[:2], z.unsqueeze(2).expand(-1, -1, embedded.shape[2], -1)
        inputs = torch.cat((embedded, latent), dim=-1).flatten(0, 1)
        (asked,) = run_gru((self.asking, inputs, query.flatten(0, 1)))
        queries = asked.unflatten(0, rows)
        attention, context = self.attention(queries, memory)
        answered = torch.cat((queries, context), dim=-1).flatten(0, 1)
        (read,) = run_gru((self.reading, answered, hidden.flatten(0, 1)))
        states = torch.cat((read.unflatten(0, rows), context), dim=-1)
        return states, attention, asked[:, -1].unflatten(0, rows), read[:, -1].unflatten(0, rows)

    def before_words(self, h: Tensor, z: Tensor) -> Tensor:
        """P [h; c] + A z with shape (S, B, L, E): what the embedding turns into logits."""
        projected = self.project(self.dropout(h))
        return projected if self.direct is None else projected + self.direct(z.unsqueeze(2))

    def write_gate(self, h: Tensor, embedded: Tensor) -> Tensor:
        """Logit of p_gen with shape (S, B, L)."""
        assert self.gate is not None
        return self.gate(torch.cat((h, embedded), dim=-1)).squeeze(-1)


class PointerGeneratorState(NamedTuple):
    """State of R rows before a token: of both GRUs (R, H), latents (R, Z), and the document of each row (R,)."""

    query: Tensor
    hidden: Tensor
    z: Tensor
    document: Tensor


class PointerGeneratorStepper:
    """A decoder before its documents, to write from token by token.

    The documents are no part of the state: the beams of one share its memory, which is not copied with them.
    Rows of one document stand together.

    Args:
        decoder: in evaluation mode.
        source: of B documents.
        beyond: X, words to copy that the vocabulary lacks.
    """

    def __init__(self, decoder: PointerGeneratorDecoder, source: Source, beyond: int = 0) -> None:
        self.decoder, self.source = decoder, source
        self.beyond = source.final.new_zeros(1, beyond)
        self._last = torch.arange(len(source.final), device=source.final.device), source

    def start(self, z: Tensor, document: Tensor) -> PointerGeneratorState:
        """State before the first token for latents (R, Z), each of a ``document`` (R,)."""
        return PointerGeneratorState(*self.decoder.start(self.source.final[document], z), z, document)

    def step(self, tokens: Tensor, state: PointerGeneratorState) -> tuple[Tensor, PointerGeneratorState]:
        """Log-probabilities (R, V + X) of the token after ``tokens`` (R,), and the next state."""
        model, (source, each) = self.decoder, self._in_use(state.document)

        def together(rows: Tensor) -> Tensor:
            """Rows (R, ...) as samples of their documents (each, documents, ...)."""
            return rows.unflatten(0, (-1, each)).transpose(0, 1)

        embedded, z = together(model.embed(tokens)).unsqueeze(2), together(state.z)
        h, attention, *after = model.run(embedded, z, together(state.query), together(state.hidden), source.memory)
        before = model.before_words(h, z)
        gate = attention.new_zeros(0) if model.gate is None else model.write_gate(h, embedded)
        before, attention, query, hidden = (x.transpose(0, 1).flatten(0, 1) for x in (before, attention, *after))
        logits = nn.functional.linear(before.squeeze(1), model.embedding.weight, model.bias)
        state = state._replace(query=query, hidden=hidden)
        if model.gate is None:
            return logits.float().log_softmax(-1), state
        ids = source.ids.repeat_interleave(each, 0)
        beyond = self.beyond.expand(len(tokens), -1)
        return mixed_log_probs(logits, gate.transpose(0, 1).flatten(), attention.squeeze(1), ids, beyond), state

    def _in_use(self, document: Tensor) -> tuple[Source, int]:
        """Documents of the rows, ``each`` rows one after the other: one with several times as many comes again."""
        _, counts = document.unique_consecutive(return_counts=True)
        each = math.gcd(*counts.tolist())
        documents = document[::each]
        if not torch.equal(documents, self._last[0]):
            self._last = documents, self.source.rows(documents)
        return self._last[1], each

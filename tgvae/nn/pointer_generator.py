"""A decoder that attends to a source document and copies from it, with a latent at every step.

Shape legend: S samples, B batch, L tokens, N source tokens, E embedding, H hidden, F source features, Z latent,
V vocabulary, X extra words, which only sources hold; R rows being generated, several per document.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgvae.distributions import PointerGeneratorSequence, TokenSequence, pointer_generator_log_probs
from tgvae.nn.attention import AdditiveAttention, Memory
from tgvae.nn.dropout import Dropout
from tgvae.nn.gru import run_gru


class Source(NamedTuple):
    """Encoded documents.

    Attributes:
        memory: token states to attend to.
        final: final encoder states with shape (B, F).
        ids: tokens with shape (B, N); those that the vocabulary lacks have ids from V on.
    """

    memory: Memory
    final: Tensor
    ids: Tensor

    def rows(self, index: Tensor) -> Source:
        """Return the documents ``index`` (B',), repeats allowed."""
        return Source(Memory(*(part[index] for part in self.memory)), self.final[index], self.ids[index])


class PointerGeneratorDecoder(nn.Module):
    """p(y | x, z) with attention and a copy gate (See et al. 2017, arXiv 1704.04368).

        q_m = GRU([emb(y_{m-1}); z], q_{m-1})     c_m = attention(q_m)     h_m = GRU([q_m; c_m], h_{m-1})
        softmax(W (P [h_m; c_m] + A z) + b),      p_gen = sigmoid(g' [h_m; c_m; emb(y_{m-1})])

    Attention depends on the previous tokens through the first GRU alone (as in Wu et al. 2016, arXiv 1609.08144), so
    teacher forcing computes all steps at once; the second GRU knows what was attended to before. W is the embedding.
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

    def forward(self, inputs: Tensor, z: Tensor, source: Source) -> PointerGeneratorSequence:
        """Return p(y | x, z) of B summaries by teacher forcing, see ``Decoder``; ids as in ``Source``."""
        embedded = self.embed(inputs).expand(len(z), -1, -1, -1)
        start = self.start(source.final.expand(len(z), -1, -1), z)
        h, attention, *_ = self.run(embedded, z, *start, source.memory)
        pad_id: int = self.embedding.padding_idx  # type: ignore[assignment]
        generated = TokenSequence(self.output(h, z), self.embedding.weight, self.bias, pad_id)
        return PointerGeneratorSequence(generated, self.gate_logit(h, embedded), attention, source.ids)

    def within(self, ids: Tensor) -> Tensor:
        """Return the ids with unk in place of extra words."""
        return ids.masked_fill(ids >= self.embedding.num_embeddings, self.unk_id)

    def embed(self, ids: Tensor) -> Tensor:
        """Return embeddings (..., E) of ids (...), with dropout in training, scaled to unit size for the GRUs.

        Embeddings tied to logits start at scale E^-1/2, where an encoder learns slowly (as in Vaswani et al. 2017).
        """
        return self.dropout(self.embedding(self.within(ids)) * self.embedding.embedding_dim**0.5)

    def start(self, final: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first states (..., H) of both GRUs for final encoder states (..., F) and latents (..., Z)."""
        query, hidden = self.initial(torch.cat((final, z), dim=-1)).tanh().chunk(2, dim=-1)
        return query, hidden

    def run(
        self, embedded: Tensor, z: Tensor, query: Tensor, hidden: Tensor, memory: Memory
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run both GRUs over L tokens.

        Args:
            embedded: previous tokens with shape (S, B, L, E).
            z: with shape (S, B, Z).
            query, hidden: first states with shape (S, B, H).
            memory: of B documents.

        Returns:
            [h; c] (S, B, L, H + F), attention (S, B, L, N) and the last states of both GRUs, (S, B, H) each.
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

    def output(self, h: Tensor, z: Tensor) -> Tensor:
        """Return P [h; c] + A z with shape (S, B, L, E), which the embedding turns into logits."""
        projected = self.project(self.dropout(h))
        return projected if self.direct is None else projected + self.direct(z.unsqueeze(2))

    def gate_logit(self, h: Tensor, embedded: Tensor) -> Tensor | None:
        """Return the logit of p_gen with shape (S, B, L); None for a decoder that does not copy."""
        return None if self.gate is None else self.gate(torch.cat((h, embedded), dim=-1)).squeeze(-1)


class PointerGeneratorState(NamedTuple):
    """State of R rows before a token: of both GRUs (R, H), latents (R, Z), and the document of each row (R,)."""

    query: Tensor
    hidden: Tensor
    z: Tensor
    document: Tensor


class SourceDecoder:
    """A pointer-generator in front of its documents: it satisfies ``tgvae.nn.decoder.Decoder``.

    The documents are no part of the state, so beams share the memory of a document instead of copying it.

    Args:
        decoder: in evaluation mode when it generates.
        source: B documents.
        extra_words: X.
    """

    def __init__(self, decoder: PointerGeneratorDecoder, source: Source, extra_words: int = 0) -> None:
        self.decoder, self.source, self.extra_words = decoder, source, extra_words
        self._documents, self._rows = torch.arange(len(source.final), device=source.final.device), source

    def __call__(self, inputs: Tensor, z: Tensor) -> PointerGeneratorSequence:
        likelihood: PointerGeneratorSequence = self.decoder(inputs, z, self.source)
        return likelihood

    def start(self, z: Tensor, document: Tensor | None = None) -> PointerGeneratorState:
        """Return the state before the first token for latents (R, Z).

        Args:
            z: the same number of consecutive rows for each document, unless ``document`` is given.
            document: of each row, with shape (R,); rows of one document must be consecutive.
        """
        if document is None:
            documents = len(self.source.final)
            document = torch.arange(documents, device=z.device).repeat_interleave(len(z) // documents)
        return PointerGeneratorState(*self.decoder.start(self.source.final[document], z), z, document)

    def step(self, tokens: Tensor, state: PointerGeneratorState) -> tuple[Tensor, PointerGeneratorState]:
        """Return log-probabilities (R, V + X) of the token after ``tokens`` (R,), and the next state."""
        model, (source, each) = self.decoder, self._group(state.document)

        def as_samples(rows: Tensor) -> Tensor:
            """Rows (R, ...) as samples of their documents, (each, documents, ...)."""
            return rows.unflatten(0, (-1, each)).transpose(0, 1)

        def as_rows(samples: Tensor) -> Tensor:
            return samples.transpose(0, 1).flatten(0, 1)

        embedded, z = as_samples(model.embed(tokens)).unsqueeze(2), as_samples(state.z)
        start = as_samples(state.query), as_samples(state.hidden)
        h, attention, query, hidden = model.run(embedded, z, *start, source.memory)
        logits = F.linear(as_rows(model.output(h, z)).squeeze(1), model.embedding.weight, model.bias)
        state = state._replace(query=as_rows(query), hidden=as_rows(hidden))
        if (gate := model.gate_logit(h, embedded)) is None:
            return logits.float().log_softmax(-1), state
        ids = source.ids.repeat_interleave(each, 0)
        gate, attention = as_rows(gate).squeeze(1), as_rows(attention).squeeze(1)
        return pointer_generator_log_probs(logits, gate, attention, ids, self.extra_words), state

    def _group(self, document: Tensor) -> tuple[Source, int]:
        """Return the documents of the rows and ``each``, such that every document has ``each`` consecutive rows.

        A document with a multiple of ``each`` rows is repeated. The result is kept, because documents are copied only
        when rows have finished since the step before.
        """
        _, counts = document.unique_consecutive(return_counts=True)
        each = math.gcd(*counts.tolist())
        documents = document[::each]
        if not torch.equal(documents, self._documents):
            self._documents, self._rows = documents, self.source.rows(documents)
        return self._rows, each

"""A recurrent encoder of sentences, and a recurrent decoder with a latent.

Batches are padded, not packed: ``pack_padded_sequence`` halves the speed of a GRU on the CPU.

Shape legend: S samples, B batch, R rows, L tokens, E embedding, H hidden, Z latent, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tgvae.distributions import TokenSequence
from tgvae.kernels.adaptive_softmax import Clusters, adaptive_log_probs, new_clusters
from tgvae.kernels.parallel import concurrently, threads
from tgvae.nn.dropout import Dropout

State = tuple[Tensor, Tensor]
MIN_ROWS = 16  # per thread: products of fewer rows do not keep a core busy


def run_gru(*runs: tuple[nn.GRU, Tensor, Tensor]) -> list[Tensor]:
    """Run several GRUs of one layer and direction in parallel; rows are divided among threads.

    Args:
        runs: tuples of a GRU, its inputs with shape (R, L, E) and first states with shape (R, H), with common R and L.

    Returns:
        The states of each, with shape (R, L, H).
    """
    _, rows, _ = runs[0]
    if len(rows) < MIN_ROWS or rows.shape[1] == 1 or rows.device.type != "cpu":
        return [_states(rows, first, *gru.parameters()) for gru, rows, first in runs]
    share = max(1, min(threads() // len(runs), len(rows) // MIN_ROWS))
    calls = [
        (*piece, *gru.parameters())
        for gru, rows, first in runs
        for piece in zip(rows.tensor_split(share), first.tensor_split(share), strict=True)
    ]
    states = concurrently(_states, calls)
    return states if share == 1 else [torch.cat(states[i : i + share]) for i in range(0, len(states), share)]


def _states(rows: Tensor, first: Tensor, *weights: Tensor) -> Tensor:
    """Compute ``nn.GRU`` with its weights as arguments, so that ``concurrently`` returns their gradients."""
    return torch.gru(rows, first.unsqueeze(0), weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)[0]


class GRUEncoder(nn.Module):
    """A GRU over padded sentences, bidirectional or forward only; padding has no effect.

    Rows are reversed without their padding for the backward direction. ``features`` is H times the directions.
    """

    def __init__(self, embedding_size: int, hidden_size: int, bidirectional: bool = True) -> None:
        super().__init__()
        self.features = 2 * hidden_size if bidirectional else hidden_size
        self.forwards = nn.GRU(embedding_size, hidden_size, batch_first=True)
        self.backwards = nn.GRU(embedding_size, hidden_size, batch_first=True) if bidirectional else None

    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Return the final states of all directions with shape (B, features).

        Args:
            embedded: with shape (B, L, E).
            lengths: without padding, at least 1, with shape (B,).
        """
        last = (lengths - 1).view(-1, 1, 1)
        ends = [h.gather(1, last.expand(-1, 1, h.shape[-1])).squeeze(1) for h in self._run(embedded, lengths)]
        return torch.cat(ends, dim=-1)

    def states(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Return the states at every token with shape (B, L, features), forward half first.

        States of padding are finite and meaningless. Final states are the forward half at the last token and the
        backward half at the first one.
        """
        forwards, *backwards = self._run(embedded, lengths)
        return torch.cat((forwards, *(_flipped(h, lengths) for h in backwards)), dim=-1)

    def _run(self, embedded: Tensor, lengths: Tensor) -> list[Tensor]:
        """Return the states (B, L, H) of each direction in its reading order."""
        first = embedded.new_zeros(len(embedded), self.forwards.hidden_size)
        runs = [(self.forwards, embedded, first)]
        if self.backwards is not None:
            runs.append((self.backwards, _flipped(embedded, lengths), first))
        return run_gru(*runs)


def _flipped(rows: Tensor, lengths: Tensor) -> Tensor:
    """Return each row (B, L, F) with its tokens reversed; padding becomes meaningless."""
    position = torch.arange(rows.shape[1], device=rows.device)
    flip = (lengths.unsqueeze(1) - 1 - position).clamp_min(0).unsqueeze(-1)
    return rows.gather(1, flip.expand(-1, -1, rows.shape[-1]))


class GRUDecoder(nn.Module):
    """p(y | z) = prod_m softmax(W (P h_m + A z) + b)[y_m], h_m = GRU(h_{m-1}, [emb(y_{m-1}); z]), h_0 = f(z).

    z enters every step, and through A the logits directly: without A topic fidelity after two epochs was .09 instead of
    .25. W is the embedding (tied weights, Press & Wolf 2017) and P a projection to its size. ``latent_size`` 0 gives a
    plain GRU language model. ``adaptive`` selects the softmax of ``tgvae.kernels.adaptive_softmax``.
    """

    def __init__(
        self, embedding: nn.Embedding, hidden_size: int, latent_size: int, dropout: float, adaptive: bool = False
    ) -> None:
        super().__init__()
        if embedding.padding_idx is None:
            raise ValueError("the decoder needs an embedding with padding_idx")
        self.embedding = embedding
        self.gru = nn.GRU(embedding.embedding_dim + latent_size, hidden_size, batch_first=True)
        self.initial = nn.Linear(latent_size, hidden_size) if latent_size else None
        self.project = nn.Linear(hidden_size, embedding.embedding_dim)
        self.direct = nn.Linear(latent_size, embedding.embedding_dim, bias=False) if latent_size else None
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))
        self.clusters = new_clusters(embedding.embedding_dim, embedding.num_embeddings) if adaptive else None
        self.dropout = Dropout(dropout)

    def start(self, z: Tensor) -> State:
        """Return the state before the first token for latents with shape (B, Z); Z = 0 for a language model."""
        h = z.new_zeros(z.shape[0], self.gru.hidden_size) if self.initial is None else self.initial(z).tanh()
        return h, z

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Return logits (B, V) of the next token, or log-probabilities if ``adaptive``, and the next state."""
        return self.step_embedded(self.embedding(tokens), state)

    def step_embedded(self, embedded: Tensor, state: State) -> tuple[Tensor, State]:
        """``step`` for a token given by its embedding (B, E), which may be a mixture of several tokens."""
        h, z = state
        inputs = torch.cat((embedded, z), dim=-1).unsqueeze(1)
        out, h_next = self.gru(inputs, h.unsqueeze(0))
        before_logits = self._output(out.squeeze(1), z)
        return self._logits(before_logits), (h_next.squeeze(0), z)

    def forward(self, inputs: Tensor, z: Tensor) -> TokenSequence:
        """Return p(y | z) by teacher forcing, see ``tgvae.nn.decoder.Decoder``."""
        samples, batch, length = z.shape[0], *inputs.shape
        embedded = self.dropout(self.embedding(inputs)).expand(samples, -1, -1, -1)
        latent = z.unsqueeze(2).expand(-1, -1, length, -1)
        h, _ = self.start(z.flatten(0, 1))
        (states,) = run_gru((self.gru, torch.cat((embedded, latent), dim=-1).flatten(0, 1), h))
        states = self._output(self.dropout(states).view(samples, batch, length, -1), z.unsqueeze(2))
        pad_id: int = self.embedding.padding_idx  # type: ignore[assignment]
        return TokenSequence(states, self.embedding.weight, self.bias, pad_id, self._clusters)

    def _logits(self, h: Tensor) -> Tensor:
        if (clusters := self._clusters) is None:
            return nn.functional.linear(h, self.embedding.weight, self.bias)
        return adaptive_log_probs(h, self.embedding.weight, self.bias, clusters)

    @property
    def _clusters(self) -> Clusters | None:
        return None if self.clusters is None else (self.clusters.weight, self.clusters.bias)

    def _output(self, h: Tensor, z: Tensor) -> Tensor:
        projected = self.project(h)
        return projected if self.direct is None else projected + self.direct(z)


def drop_words(inputs: Tensor, rate: float, unk_id: int) -> Tensor:
    """Word dropout (Bowman et al. 2016): replace each input but the first by unk with probability ``rate``."""
    hidden = torch.rand(inputs.shape, device=inputs.device) < rate
    hidden[:, 0] = False
    return inputs.masked_fill(hidden, unk_id)

"""Recurrent parts: a sentence encoder and a latent-fed decoder with start/step.

Shape legend: S samples, B batch, L tokens, E embedding, H hidden, Z latent, V vocabulary.
Padded batches are used as they are: packing halves the speed of a GRU on the CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tgvae.distributions import TokenSequence
from tgvae.kernels.adaptive_softmax import Clusters, adaptive_log_probs, new_clusters
from tgvae.kernels.parallel import concurrently, threads
from tgvae.nn.dropout import Dropout

State = tuple[Tensor, Tensor]
FEWEST_ROWS = 16  # for a thread of its own: products of fewer rows do not keep it busy


def run_gru(*runs: tuple[nn.GRU, Tensor, Tensor]) -> list[Tensor]:
    """States of GRUs of one layer and direction, all at the same time; rows are shared out among threads.

    Args:
        runs: each a GRU, its embedded rows with shape (R, L, E), and their first states with shape (R, H); R and L are
            those of all.

    Returns:
        With shape (R, L, H), one for each run.
    """
    _, rows, _ = runs[0]
    if len(rows) < FEWEST_ROWS or rows.shape[1] == 1 or rows.device.type != "cpu":
        return [_states(rows, first, *gru.parameters()) for gru, rows, first in runs]
    share = max(1, min(threads() // len(runs), len(rows) // FEWEST_ROWS))
    calls = [
        (*piece, *gru.parameters())
        for gru, rows, first in runs
        for piece in zip(rows.tensor_split(share), first.tensor_split(share), strict=True)
    ]
    states = concurrently(_states, calls)
    return states if share == 1 else [torch.cat(states[i : i + share]) for i in range(0, len(states), share)]


def _states(rows: Tensor, first: Tensor, *weights: Tensor) -> Tensor:
    """What ``nn.GRU`` computes, with its weights as arguments, so that each call has a gradient of its own."""
    return torch.gru(rows, first.unsqueeze(0), weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)[0]


class GRUEncoder(nn.Module):
    """Reads a padded batch both ways, or forwards alone; padding changes nothing, as it stands behind every last token.

    ``features`` is the number of its final states' values, H for each direction.
    """

    def __init__(self, embedding_size: int, hidden_size: int, bidirectional: bool = True) -> None:
        super().__init__()
        self.features = 2 * hidden_size if bidirectional else hidden_size
        self.forwards = nn.GRU(embedding_size, hidden_size, batch_first=True)
        self.backwards = nn.GRU(embedding_size, hidden_size, batch_first=True) if bidirectional else None

    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Final states of its directions.

        Args:
            embedded: with shape (B, L, E).
            lengths: true lengths, at least 1, with shape (B,).

        Returns:
            With shape (B, features).
        """
        last = (lengths - 1).view(-1, 1, 1)
        ends = [h.gather(1, last.expand(-1, 1, h.shape[-1])).squeeze(1) for h in self._run(embedded, lengths)]
        return torch.cat(ends, dim=-1)

    def states(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """States at every token, with shape (B, L, features): of what was read up to it, and then from it on.

        On padding they are finite and mean nothing. Read both ways, the final states are the first half at the last
        token and the second half at the first one.
        """
        forwards, *backwards = self._run(embedded, lengths)
        return torch.cat((forwards, *(_flipped(h, lengths) for h in backwards)), dim=-1)

    def _run(self, embedded: Tensor, lengths: Tensor) -> list[Tensor]:
        """States of each direction in the order it reads, each with shape (B, L, H)."""
        first = embedded.new_zeros(len(embedded), self.forwards.hidden_size)
        runs = [(self.forwards, embedded, first)]
        if self.backwards is not None:
            runs.append((self.backwards, _flipped(embedded, lengths), first))
        return run_gru(*runs)


def _flipped(rows: Tensor, lengths: Tensor) -> Tensor:
    """The tokens of each row (B, L, F) in reverse; what stands on padding means nothing."""
    position = torch.arange(rows.shape[1], device=rows.device)
    flip = (lengths.unsqueeze(1) - 1 - position).clamp_min(0).unsqueeze(-1)
    return rows.gather(1, flip.expand(-1, -1, rows.shape[-1]))


class GRUDecoder(nn.Module):
    """p(y | z) = prod_m softmax(W (h_m + A z) + b)[y_m], h_m = GRU(h_{m-1}, [emb(y_{m-1}); z]), h_0 = f(z).

    z enters every step, and through A the choice of words directly: without A it takes many epochs until
    the words follow the latent's topic. W is the embedding, after a projection of h to its size (tied weights,
    Press & Wolf 2017). With ``latent_size`` 0 it is a plain GRU language model. ``adaptive``: the softmax goes by
    clusters of ids, see ``tgvae.kernels.adaptive_softmax``.
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
        """State before the first token for latents z with shape (B, Z); Z = 0 for a language model."""
        h = z.new_zeros(z.shape[0], self.gru.hidden_size) if self.initial is None else self.initial(z).tanh()
        return h, z

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, V) of the token after ``tokens`` (B,), log-probabilities if ``adaptive``, and the next state."""
        return self.step_embedded(self.embedding(tokens), state)

    def step_embedded(self, embedded: Tensor, state: State) -> tuple[Tensor, State]:
        """``step`` for a token given by its embedding (B, E), which may be a mixture of several."""
        h, z = state
        inputs = torch.cat((embedded, z), dim=-1).unsqueeze(1)
        out, h_next = self.gru(inputs, h.unsqueeze(0))
        state_out = self._before_words(out.squeeze(1), z)
        return self._logits(state_out), (h_next.squeeze(0), z)

    def forward(self, inputs: Tensor, z: Tensor) -> TokenSequence:
        """Likelihood of the sentence, teacher-forced.

        Args:
            inputs: bos and the tokens before each position, with shape (B, L).
            z: with shape (S, B, Z).

        Returns:
            A distribution over targets with shape (B, L), with batch shape (S, B).
        """
        samples, batch, length = z.shape[0], *inputs.shape
        embedded = self.dropout(self.embedding(inputs)).expand(samples, -1, -1, -1)
        latent = z.unsqueeze(2).expand(-1, -1, length, -1)
        h, _ = self.start(z.flatten(0, 1))
        (states,) = run_gru((self.gru, torch.cat((embedded, latent), dim=-1).flatten(0, 1), h))
        states = self._before_words(self.dropout(states).view(samples, batch, length, -1), z.unsqueeze(2))
        pad_id = self.embedding.padding_idx
        assert pad_id is not None
        return TokenSequence(states, self.embedding.weight, self.bias, pad_id, self._clusters)

    def _logits(self, before_words: Tensor) -> Tensor:
        if (clusters := self._clusters) is None:
            return nn.functional.linear(before_words, self.embedding.weight, self.bias)
        return adaptive_log_probs(before_words, self.embedding.weight, self.bias, clusters)

    @property
    def _clusters(self) -> Clusters | None:
        return None if self.clusters is None else (self.clusters.weight, self.clusters.bias)

    def _before_words(self, h: Tensor, z: Tensor) -> Tensor:
        projected = self.project(h)
        return projected if self.direct is None else projected + self.direct(z)


def drop_words(inputs: Tensor, rate: float, unk_id: int) -> Tensor:
    """Word dropout (Bowman et al. 2016): each input but the first becomes unk with probability ``rate``."""
    hidden = torch.rand(inputs.shape, device=inputs.device) < rate
    hidden[:, 0] = False
    return inputs.masked_fill(hidden, unk_id)

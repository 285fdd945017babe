"""Recurrent parts: a bidirectional sentence encoder and a latent-fed decoder with start/step.

Shape legend: S samples, B batch, L tokens, E embedding, H hidden, Z latent, V vocabulary.
Padded batches are used as they are: packing halves the speed of a GRU on the CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tgvae.distributions import TokenSequence

State = tuple[Tensor, Tensor]


class BidirectionalGRU(nn.Module):
    """Reads a padded batch both ways; padding changes nothing, as it stands behind every last token."""

    def __init__(self, embedding_size: int, hidden_size: int) -> None:
        super().__init__()
        self.forwards = nn.GRU(embedding_size, hidden_size, batch_first=True)
        self.backwards = nn.GRU(embedding_size, hidden_size, batch_first=True)

    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Final states of both directions.

        Args:
            embedded: with shape (B, L, E).
            lengths: true lengths, at least 1, with shape (B,).

        Returns:
            With shape (B, 2H).
        """
        last = (lengths - 1).view(-1, 1, 1)
        ends = [h.gather(1, last.expand(-1, 1, h.shape[-1])).squeeze(1) for h in self._run(embedded, lengths)]
        return torch.cat(ends, dim=-1)

    def states(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """States of both directions at every token, with shape (B, L, 2H): what was read up to it, and from it on.

        On padding they are finite and mean nothing. The final states are the first half at the last token and
        the second half at the first one.
        """
        forwards, backwards = self._run(embedded, lengths)
        return torch.cat((forwards, _flipped(backwards, lengths)), dim=-1)

    def _run(self, embedded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """States of each direction in the order it reads, each with shape (B, L, H)."""
        return self.forwards(embedded)[0], self.backwards(_flipped(embedded, lengths))[0]


def _flipped(rows: Tensor, lengths: Tensor) -> Tensor:
    """The tokens of each row (B, L, F) in reverse; what stands on padding means nothing."""
    position = torch.arange(rows.shape[1], device=rows.device)
    flip = (lengths.unsqueeze(1) - 1 - position).clamp_min(0).unsqueeze(-1)
    return rows.gather(1, flip.expand(-1, -1, rows.shape[-1]))


class GRUDecoder(nn.Module):
    """p(y | z) = prod_m softmax(W (h_m + A z) + b)[y_m], h_m = GRU(h_{m-1}, [emb(y_{m-1}); z]), h_0 = f(z).

    z enters every step, and through A the choice of words directly: without A it takes many epochs until
    the words follow the latent's topic. W is the embedding, after a projection of h to its size (tied weights,
    Press & Wolf 2017). With ``latent_size`` 0 it is a plain GRU language model.
    """

    def __init__(self, embedding: nn.Embedding, hidden_size: int, latent_size: int, dropout: float) -> None:
        super().__init__()
        if embedding.padding_idx is None:
            raise ValueError("the decoder needs an embedding with padding_idx")
        self.embedding = embedding
        self.gru = nn.GRU(embedding.embedding_dim + latent_size, hidden_size, batch_first=True)
        self.initial = nn.Linear(latent_size, hidden_size) if latent_size else None
        self.project = nn.Linear(hidden_size, embedding.embedding_dim)
        self.direct = nn.Linear(latent_size, embedding.embedding_dim, bias=False) if latent_size else None
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))
        self.dropout = nn.Dropout(dropout)

    def start(self, z: Tensor) -> State:
        """State before the first token for latents z with shape (B, Z); Z = 0 for a language model."""
        h = z.new_zeros(z.shape[0], self.gru.hidden_size) if self.initial is None else self.initial(z).tanh()
        return h, z

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, V) of the token after ``tokens`` (B,), and the next state."""
        return self.step_embedded(self.embedding(tokens), state)

    def step_embedded(self, embedded: Tensor, state: State) -> tuple[Tensor, State]:
        """``step`` for a token given by its embedding (B, E), which may be a mixture of several."""
        h, z = state
        inputs = torch.cat((embedded, z), dim=-1).unsqueeze(1)
        out, h_next = self.gru(inputs, h.unsqueeze(0))
        state_out = self._before_words(out.squeeze(1), z)
        logits = nn.functional.linear(state_out, self.embedding.weight, self.bias)
        return logits, (h_next.squeeze(0), z)

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
        states, _ = self.gru(torch.cat((embedded, latent), dim=-1).flatten(0, 1), h.unsqueeze(0))
        states = self._before_words(self.dropout(states).view(samples, batch, length, -1), z.unsqueeze(2))
        pad_id = self.embedding.padding_idx
        assert pad_id is not None
        return TokenSequence(states, self.embedding.weight, self.bias, pad_id)

    def _before_words(self, h: Tensor, z: Tensor) -> Tensor:
        projected = self.project(h)
        return projected if self.direct is None else projected + self.direct(z)


def drop_words(inputs: Tensor, rate: float, unk_id: int) -> Tensor:
    """Word dropout (Bowman et al. 2016): each input but the first becomes unk with probability ``rate``."""
    hidden = torch.rand(inputs.shape, device=inputs.device) < rate
    hidden[:, 0] = False
    return inputs.masked_fill(hidden, unk_id)

"""Words that are written or copied: the pointer-generator (See et al. 2017, arXiv 1704.04368).

    p(w) = p_gen softmax(W h + b)[w] + (1 - p_gen) sum_{n: source_n = w} a_n

over ids of the vocabulary (0 to V - 1) and, from V on, ids of words that only the sources hold.
Shape legend: S samples, B batch, L tokens, N source tokens, E embedding, V vocabulary, X words beyond it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints

from tgvae.distributions import TokenSequence, safe_log


class PointerGeneratorSequence(Distribution):
    """p(y | z) = prod_m p(y_m), each token written or copied from the source.

    Only the probability of the target is formed: softmax logits as in ``TokenSequence``, and the attention on
    the target's places in the source, never a row of the extended vocabulary.

    Args:
        written: what the softmax says of the targets, with batch shape (S, B); pad_id is its own.
        gate: logit of p_gen with shape (S, B, L).
        attention: a over the source with shape (S, B, L, N); zero on padding.
        source: ids of the source with shape (B, N), those of words beyond the vocabulary from V on.

    Examples:
        A word that the vocabulary of 4 lacks has the id 4. It is copied with the probability 1/2, written with none:

        >>> import torch
        >>> from tgvae.distributions import TokenSequence
        >>> written = TokenSequence(torch.zeros(1, 1, 1, 8), torch.zeros(4, 8), torch.zeros(4), pad_id=0)
        >>> gate, attention, source = torch.zeros(1, 1, 1), torch.ones(1, 1, 1, 1), torch.tensor([[4]])
        >>> y = PointerGeneratorSequence(written, gate, attention, source)
        >>> [round(y.log_prob(torch.tensor([[word]])).item(), 4) for word in (4, 3)]  # log 1/2, log 1/8
        [-0.6931, -2.0794]
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.nonnegative_integer

    def __init__(self, written: TokenSequence, gate: Tensor, attention: Tensor, source: Tensor) -> None:
        self.written, self.gate, self.attention, self.source = written, gate, attention, source
        super().__init__(written.batch_shape, written.event_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """``value``: target ids with shape (B, L), eos included, padded; returns shape (S, B)."""
        return self.token_log_prob(value).sum(-1)

    def token_log_prob(self, value: Tensor) -> Tensor:
        """log p(y_m | y_<m, z) in nats with shape (S, B, L); zero on padding.

        A target that can neither be written nor copied has the floor of ``safe_log``, 87 nats.
        """
        pad_id, size = self.written.pad_id, len(self.written.weight)
        writable = value < size
        written = self.written.token_log_prob(value.masked_fill(~writable, pad_id))
        written = (F.logsigmoid(self.gate.float()) + written).masked_fill(~writable, -torch.inf)
        here = self.source.unsqueeze(1) == value.unsqueeze(-1)
        copied = F.logsigmoid(-self.gate.float()) + safe_log((self.attention * here).sum(-1))
        return torch.logaddexp(written, copied).masked_fill(value == pad_id, 0.0)


def mixed_log_probs(logits: Tensor, gate: Tensor, attention: Tensor, source: Tensor, beyond: Tensor) -> Tensor:
    """log p over all ids of one step, with shape (B, V + X): minus infinity for words of other sources.

    Args:
        logits: of the softmax with shape (B, V).
        gate: logit of p_gen with shape (B,).
        attention: over the source with shape (B, N).
        source: ids with shape (B, N), all below V + X.
        beyond: zeros with shape (B, X).

    Examples:
        >>> import torch
        >>> logits, gate, attention, source = torch.zeros(1, 4), torch.zeros(1), torch.ones(1, 1), torch.tensor([[4]])
        >>> p = mixed_log_probs(logits, gate, attention, source, beyond=torch.zeros(1, 1))
        >>> p.exp().tolist()
        [[0.125, 0.125, 0.125, 0.125, 0.5]]
    """
    write = gate.float().sigmoid().unsqueeze(-1)
    written = torch.cat((write * logits.float().softmax(-1), beyond), dim=-1)
    return written.scatter_add(-1, source, (1 - write) * attention.float()).log()

"""Distributions of latents and token sequences: Householder posterior, Gaussian mixture, softmax and pointer-generator.

All are ``torch.distributions.Distribution``s; log-probabilities are in nats.

Shape legend: S samples, B batch, L tokens, N source tokens, V vocabulary, X words beyond it, T topics, Z latent size,
K flow length, E embedding.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints

from tgvae.kernels.adaptive_softmax import Clusters, adaptive_cross_entropy
from tgvae.kernels.cross_entropy import linear_cross_entropy

Shape = torch.Size | list[int] | tuple[int, ...]


def safe_log(probabilities: Tensor) -> Tensor:
    """Return log p with p floored at the smallest normal number: an impossible event costs 87 nats instead of infinity.

    Examples:
        >>> import torch
        >>> [round(x, 1) for x in safe_log(torch.tensor([1.0, 0.5, 0.0])).tolist()]
        [0.0, -0.7, -87.3]
    """
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def diagonal_normal(loc: Tensor, scale: Tensor) -> Independent:
    """N(loc, diag(scale^2)) over the last dimension; the others are the batch shape.

    Examples:
        >>> import torch
        >>> p = diagonal_normal(torch.zeros(5, 2), torch.ones(5, 2))
        >>> p.batch_shape, p.event_shape
        (torch.Size([5]), torch.Size([2]))
        >>> round(p.log_prob(torch.zeros(2))[0].item(), 4)  # -log 2 pi
        -1.8379
    """
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


def standard_normal(size: int, device: torch.device | None = None) -> Independent:
    """N(0, I) over ``size`` values, with batch shape ()."""
    return diagonal_normal(torch.zeros(size, device=device), torch.ones(size, device=device))


def householder(z: Tensor, vectors: Tensor) -> Tensor:
    """Return H_K ... H_1 z with H_k = I - 2 v_k v_k' / |v_k|^2 (Tomczak & Welling 2016, arXiv 1611.09630).

    Args:
        z: with shape (..., Z).
        vectors: the v_k with shape (..., K, Z), whose leading dimensions broadcast with those of ``z``; K = 0 is the
            identity.

    Examples:
        A reflection along (1, -1) swaps the two values:

        >>> import torch
        >>> reflected = householder(torch.tensor([3.0, 4.0]), torch.tensor([[1.0, -1.0]]))
        >>> [round(x, 4) for x in reflected.tolist()]
        [4.0, 3.0]
    """
    for v in F.normalize(vectors, dim=-1).unbind(-2):
        z = z - 2 * (z * v).sum(-1, keepdim=True) * v
    return z


class HouseholderNormal(Distribution):
    """Distribution of z = centre + U z_0, z_0 ~ N(loc, diag(scale^2)), U = H_K ... H_1.

    U is orthogonal and does not depend on z_0, so this is exactly the full-covariance Gaussian
    N(centre + U loc, U diag(scale^2) U'), and log q(z) = log q(z_0).

    Args:
        loc: mean of z_0 with shape (B, Z).
        scale: standard deviation of z_0 with shape (B, Z).
        vectors: the v_k with shape (B, K, Z); K = 0 gives the diagonal Gaussian.
        centre: shift after the flow with shape (..., Z), which broadcasts with (B, Z); zero by default. With the mean
            of a mixture component as centre, z_0 is the deviation from that component. The batch shape is that of the
            broadcast, so S centres per row give S independent samples per row.

    Examples:
        A diagonal Gaussian whose axes are swapped by a reflection:

        >>> import torch
        >>> loc, scale, vectors = torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]), torch.tensor([[[1.0, -1.0]]])
        >>> q = HouseholderNormal(loc, scale, vectors)
        >>> [[round(x, 4) + 0.0 for x in row] for row in q.covariance_matrix[0].tolist()]
        [[9.0, 0.0], [0.0, 1.0]]
        >>> round(q.entropy().item(), 4)  # log 2 pi e + log 3: a reflection changes no volume
        3.9365
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, vectors: Tensor, centre: Tensor | None = None) -> None:
        self.centre = torch.zeros_like(loc) if centre is None else centre
        shape = torch.broadcast_shapes(loc.shape, self.centre.shape)
        self.loc, self.scale, self.vectors = loc.expand(shape), scale.expand(shape), vectors
        super().__init__(shape[:-1], shape[-1:], validate_args=False)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        return self.place(self.loc.new_empty((*sample_shape, *self.loc.shape)).normal_())

    def place(self, noise: Tensor) -> Tensor:
        """Return the z of standard normal noise with shape (..., B, Z)."""
        return self.centre + householder(self.loc + self.scale * noise, self.vectors)

    def log_prob(self, value: Tensor) -> Tensor:
        z_0 = householder(value - self.centre, self.vectors.flip(-2))
        return Normal(self.loc, self.scale, validate_args=False).log_prob(z_0).sum(-1)

    def entropy(self) -> Tensor:
        """Return H[q] in nats; reflections do not change volumes."""
        return Normal(self.loc, self.scale, validate_args=False).entropy().sum(-1)

    @property
    def orthogonal(self) -> Tensor:
        """U with shape (B, Z, Z); column j is the image of the j-th unit vector."""
        unit = torch.eye(self.loc.shape[-1], dtype=self.loc.dtype, device=self.loc.device)
        return householder(unit.expand(*self.vectors.shape[:-2], -1, -1), self.vectors.unsqueeze(-3)).mT

    @property
    def mean(self) -> Tensor:
        return self.centre + householder(self.loc, self.vectors)

    @property
    def variance(self) -> Tensor:
        """diag(U diag(scale^2) U') with shape (B, Z): all that a KL to a diagonal Gaussian needs."""
        return (self.orthogonal.square() * self.scale.square().unsqueeze(-2)).sum(-1)

    @property
    def covariance_matrix(self) -> Tensor:
        root = self.orthogonal * self.scale.unsqueeze(-2)
        return root @ root.mT


class GaussianMixture(Distribution):
    """The topic prior p(z | t) = sum_i t_i N(z; loc_i, diag(scale_i^2)), one Gaussian per topic.

    (``torch.distributions.MixtureSameFamily`` reports a wrong batch shape and cannot sample if its components are not
    expanded to the batch.)

    Args:
        weights: topic proportions t with shape (B, T), each row a distribution.
        loc: component means with shape (T, Z).
        scale: component standard deviations with shape (T, Z).

    Examples:
        Two topics at -1 and 1 with variance 1 and equal weights:

        >>> import torch
        >>> weights, loc = torch.tensor([[0.5, 0.5]]), torch.tensor([[-1.0], [1.0]])
        >>> p = GaussianMixture(weights, loc, scale=torch.ones(2, 1))
        >>> p.mean.tolist(), p.variance.tolist()
        ([[0.0]], [[2.0]])
        >>> p.given(torch.tensor([0.0, 1.0])).mean.tolist()
        [1.0]
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.real_vector

    def __init__(self, weights: Tensor, loc: Tensor, scale: Tensor) -> None:
        self.weights, self.loc, self.scale = weights, loc, scale
        super().__init__(weights.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def log_weights(self) -> Tensor:
        return safe_log(self.weights)

    @property
    def components(self) -> Independent:
        """The T Gaussians as one distribution with batch shape (T,)."""
        return diagonal_normal(self.loc, self.scale)

    def given(self, component: Tensor) -> Independent:
        """Return p(z | c) with batch shape (...) for a one-hot or relaxed c with shape (..., T)."""
        return diagonal_normal(component @ self.loc, component @ self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        per_component = self.components.log_prob(value.unsqueeze(-2))
        return (self.log_weights + per_component).logsumexp(-1)

    def sample(self, sample_shape: Shape = (), generator: torch.Generator | None = None) -> Tensor:
        with torch.no_grad():
            rows = self.weights.expand(*sample_shape, *self.weights.shape)
            drawn = torch.multinomial(rows.reshape(-1, rows.shape[-1]), 1, generator=generator)
            index = drawn.reshape(rows.shape[:-1])
            loc, scale = self.loc[index], self.scale[index]
            return loc + scale * torch.empty_like(loc).normal_(generator=generator)

    @property
    def mean(self) -> Tensor:
        return self.weights @ self.loc

    @property
    def variance(self) -> Tensor:
        return self.weights @ (self.scale.square() + self.loc.square()) - self.mean.square()


class SequenceDistribution(Distribution, ABC):
    """Abstract: p(y | z) of padded token sequences, with batch shape (S, B) and event shape (L,)."""

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.nonnegative_integer

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p with shape (S, B) of target tokens with shape (B, L), eos included, padded."""
        return self.token_log_prob(value).sum(-1)

    @abstractmethod
    def token_log_prob(self, value: Tensor) -> Tensor:
        """Return log p(y_m | y_<m, z) in nats with shape (S, B, L); zero on padding."""


class TokenSequence(SequenceDistribution):
    """p(y | z) = prod_m softmax(W h_m + b)[y_m], given the decoder states h of every position.

    Logits are formed only where there is a token, so padding costs nothing.

    Args:
        states: h with shape (..., L, E), teacher-forced.
        weight: W with shape (V, E).
        bias: b with shape (V,).
        pad_id: padding token; it contributes log 1.
        clusters: of an adaptive softmax, see ``tgvae.kernels.adaptive_softmax``; None is the full softmax.

    Examples:
        With weights of zero each of four tokens has probability 1/4; padding, here 0, costs nothing:

        >>> import torch
        >>> y = TokenSequence(torch.zeros(1, 3, 8), torch.zeros(4, 8), torch.zeros(4), pad_id=0)
        >>> [round(x, 4) for x in y.token_log_prob(torch.tensor([[2, 3, 0]]))[0].tolist()]  # -log 4
        [-1.3863, -1.3863, 0.0]
    """

    def __init__(
        self, states: Tensor, weight: Tensor, bias: Tensor, pad_id: int, clusters: Clusters | None = None
    ) -> None:
        self.states, self.weight, self.bias, self.pad_id, self.clusters = states, weight, bias, pad_id, clusters
        super().__init__(states.shape[:-2], states.shape[-2:-1], validate_args=False)

    def token_log_prob(self, value: Tensor) -> Tensor:
        value = value.expand(self.states.shape[:-1])
        real = value != self.pad_id
        nll = self._cross_entropy(self.states[real], value[real])
        filled = torch.zeros(value.shape, dtype=torch.float32, device=value.device)
        return filled.masked_scatter(real, -nll)

    def _cross_entropy(self, states: Tensor, target: Tensor) -> Tensor:
        if self.clusters is None:
            return linear_cross_entropy(states, self.weight, self.bias, target)
        return adaptive_cross_entropy(states, self.weight, self.bias, self.clusters, target)


class PointerGeneratorSequence(SequenceDistribution):
    """p(y | z) = prod_m p(y_m), each token generated or copied from a source (See et al. 2017, arXiv 1704.04368).

        p(w) = p_gen softmax(W h + b)[w] + (1 - p_gen) sum_{n: source_n = w} a_n

    Ids run over the vocabulary (0 to V - 1) and then over words that only the sources hold (from V on). Only the
    probability of the target is formed: its softmax as in ``TokenSequence``, and the attention on its positions in the
    source; never a row of the extended vocabulary.

    Args:
        generated: the softmax part with batch shape (S, B).
        gate: logit of p_gen with shape (S, B, L); None if nothing is copied.
        attention: a over the source with shape (S, B, L, N); zero on padding.
        source: ids of the source with shape (B, N).

    Examples:
        The word 4 is not in the vocabulary of size 4: it is copied with probability 1/2 and never generated.

        >>> import torch
        >>> generated = TokenSequence(torch.zeros(1, 1, 1, 8), torch.zeros(4, 8), torch.zeros(4), pad_id=0)
        >>> gate, attention, source = torch.zeros(1, 1, 1), torch.ones(1, 1, 1, 1), torch.tensor([[4]])
        >>> y = PointerGeneratorSequence(generated, gate, attention, source)
        >>> [round(y.log_prob(torch.tensor([[word]])).item(), 4) for word in (4, 3)]  # log 1/2, log 1/8
        [-0.6931, -2.0794]
    """

    def __init__(self, generated: TokenSequence, gate: Tensor | None, attention: Tensor, source: Tensor) -> None:
        self.generated, self.gate, self.attention, self.source = generated, gate, attention, source
        super().__init__(generated.batch_shape, generated.event_shape, validate_args=False)

    def token_log_prob(self, value: Tensor) -> Tensor:
        """Return log p(y_m | y_<m, z); a target that can neither be generated nor copied has -87, see ``safe_log``."""
        if self.gate is None:
            return self.generated.token_log_prob(value)
        pad_id, size = self.generated.pad_id, len(self.generated.weight)
        known = value < size
        generated = self.generated.token_log_prob(value.masked_fill(~known, pad_id))
        generated = (F.logsigmoid(self.gate.float()) + generated).masked_fill(~known, -torch.inf)
        here = self.source.unsqueeze(1) == value.unsqueeze(-1)
        copied = F.logsigmoid(-self.gate.float()) + safe_log((self.attention * here).sum(-1))
        return torch.logaddexp(generated, copied).masked_fill(value == pad_id, 0.0)


def pointer_generator_log_probs(
    logits: Tensor, gate: Tensor, attention: Tensor, source: Tensor, extra_words: int
) -> Tensor:
    """Return log p over all ids of one step of ``PointerGeneratorSequence``, with shape (B, V + X).

    Args:
        logits: of the softmax with shape (B, V).
        gate: logit of p_gen with shape (B,).
        attention: over the source with shape (B, N).
        source: ids with shape (B, N), all below V + X.
        extra_words: X, the number of ids beyond the vocabulary; those of other sources have -inf.

    Examples:
        >>> import torch
        >>> logits, gate, attention, source = torch.zeros(1, 4), torch.zeros(1), torch.ones(1, 1), torch.tensor([[4]])
        >>> pointer_generator_log_probs(logits, gate, attention, source, extra_words=1).exp().tolist()
        [[0.125, 0.125, 0.125, 0.125, 0.5]]
    """
    p_gen = gate.float().sigmoid().unsqueeze(-1)
    generated = F.pad(p_gen * logits.float().softmax(-1), (0, extra_words))
    return generated.scatter_add(-1, source, (1 - p_gen) * attention.float()).log()


def gumbel_softmax(logits: Tensor, temperature: float, hard: bool) -> Tensor:
    """Return a relaxed one-hot sample of Categorical(softmax(logits)) (Jang et al. 2017; Maddison et al. 2017).

    Args:
        logits: with shape (..., C).
        temperature: tau > 0; the sample approaches one-hot as tau falls.
        hard: straight-through: one-hot forward, with the gradient of the relaxed sample.

    Examples:
        >>> import torch
        >>> gumbel_softmax(torch.tensor([0.0, 100.0, 0.0]), temperature=1.0, hard=True).tolist()
        [0.0, 1.0, 0.0]
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"the Gumbel-softmax temperature must be positive and finite, not {temperature}")
    return F.gumbel_softmax(logits, tau=temperature, hard=hard, dim=-1)

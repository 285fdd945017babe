"""The vocabulary softmax by clusters of ids (Grave et al. 2017, arXiv 1609.04309): exact, and cheap where V is large.

    p(y | h) = s(h)[y]              for y < V / 2^C, the head
    p(y | h) = s(h)[c] s_c(h)[y]    for y of cluster c = 1 ... C, from V / 2^(C - c + 1) to V / 2^(C - c)

s is a softmax over the ids of the head and the C clusters, s_c one over the ids of its cluster. With ids in order of
frequency few words need a large cluster; in any other order the likelihood is as exact and the step less cheap.
Every cluster is as large as all before it, so one rule serves every V: of Zipf's law each has about the same share.
All rows of W are as wide as h, unlike in the paper and in torch's module, so that W can be the embedding.
Shape legend: N tokens, R rows, E embedding, V vocabulary, C clusters.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgvae.kernels.cross_entropy import linear_cross_entropy
from tgvae.kernels.parallel import concurrently

MOST_CLUSTERS = 5  # at V = 50,000 four take 1.3 times as long and six 0.85; at 5,000 a sixth saves nothing
Clusters = tuple[Tensor, Tensor]  # their rows of s: weights with shape (C, E), biases with shape (C,)


def new_clusters(features: int, size: int) -> nn.Linear:
    """The clusters' rows of s for a vocabulary of ``size``: where h is zero, all words are equally likely.

    Args:
        features: E.
        size: V, at least 2; fewer than 32 words have fewer clusters.
    """
    count = min(MOST_CLUSTERS, size.bit_length() - 1)
    layer = nn.Linear(features, count)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor(_sizes(size, count)[1:]).log())
    return layer


def adaptive_cross_entropy(h: Tensor, weight: Tensor, bias: Tensor, clusters: Clusters, target: Tensor) -> Tensor:
    """-log p(y | h) of every token, in nats, in float32, with shape (N,).

    Each of the two factors of a probability is floored as in ``linear_cross_entropy``.

    Args:
        h: with shape (N, E).
        weight: W with shape (V, E).
        bias: b with shape (V,).
        clusters: their weights and biases.
        target: y with shape (N,).
    """
    sizes = _sizes(len(weight), len(clusters[1]))
    starts = list(accumulate(sizes[:-1]))
    past = torch.stack([target >= start for start in starts])
    cluster = past.sum(0)
    order = cluster.argsort(stable=True)  # tokens of a cluster side by side: one copy, and one wait for the device
    counts = [a - b for a, b in pairwise([len(target), *past.sum(1).tolist(), 0])]
    h, target, cluster = h[order], target[order], cluster[order]
    (head, *weights), (head_bias, *biases) = weight.split(sizes), bias.split(sizes)
    in_head = torch.where(cluster > 0, sizes[0] - 1 + cluster, target)
    head_rows = h, torch.cat((head, clusters[0])), torch.cat((head_bias, clusters[1])), in_head
    each = zip(h.split(counts)[1:], weights, biases, target.split(counts)[1:], starts, strict=True)
    within = [(rows, w, b, ids - start) for rows, w, b, ids, start in each]
    *nll_within, nll = concurrently(linear_cross_entropy, [*reversed(within), head_rows])  # the largest cluster first
    return (nll + torch.cat((nll.new_zeros(counts[0]), *reversed(nll_within))))[order.argsort()]


def adaptive_log_probs(h: Tensor, weight: Tensor, bias: Tensor, clusters: Clusters) -> Tensor:
    """log p(. | h) in nats of all words, in float32, with shape (R, V), for h with shape (R, E)."""
    sizes = _sizes(len(weight), len(clusters[1]))
    head, *logits = F.linear(h, weight, bias).float().split(sizes, -1)
    s = torch.cat((head, F.linear(h, *clusters).float()), -1).log_softmax(-1)
    head, *of_clusters = s.split([sizes[0], *[1] * len(logits)], -1)
    within = [c + part.log_softmax(-1) for c, part in zip(of_clusters, logits, strict=True)]
    return torch.cat((head, *within), -1)


def _sizes(size: int, clusters: int) -> list[int]:
    """Words of the head, and of each cluster."""
    starts = [size >> k for k in range(clusters, -1, -1)]
    return [starts[0], *(end - start for start, end in pairwise(starts))]

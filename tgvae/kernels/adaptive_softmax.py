"""The vocabulary softmax in clusters of ids (Grave et al. 2017, arXiv 1609.04309): normalised, and cheap for large V.

    p(y | h) = s(h)[y]              for y < V / 2^C, the head
    p(y | h) = s(h)[c] s_c(h)[y]    for y of cluster c = 1 ... C, from V / 2^(C - c + 1) to V / 2^(C - c)

s is a softmax over the ids of the head and the C clusters, s_c one over the ids of cluster c. If ids are in order of
frequency, few words need a large cluster; any other order gives a valid likelihood too, at a higher cost. Each cluster
is as large as everything before it, so one rule serves every V: under Zipf's law all have about the same probability.

``torch.nn.AdaptiveLogSoftmaxWithLoss`` gives rare words narrower vectors. Here all rows of W are as wide as h, so W can
be the embedding.

Shape legend: N tokens, R rows, E embedding, V vocabulary, C clusters.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgvae.kernels.cross_entropy import linear_cross_entropy
from tgvae.kernels.parallel import concurrently

MAX_CLUSTERS = 5  # a step at V = 50,000 takes 1.3 times as long with 4 and 0.85 times with 6; at 5,000 6 save nothing
Clusters = tuple[Tensor, Tensor]  # the clusters' rows of s: weights (C, E) and biases (C,)


def new_clusters(features: int, size: int) -> nn.Linear:
    """Create the clusters' rows of s, such that all words are equally probable at h = 0.

    Args:
        features: E.
        size: V, at least 2; below 32 there are fewer clusters.
    """
    count = min(MAX_CLUSTERS, size.bit_length() - 1)
    layer = nn.Linear(features, count)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor(_sizes(size, count)[1:]).log())
    return layer


def adaptive_cross_entropy(h: Tensor, weight: Tensor, bias: Tensor, clusters: Clusters, target: Tensor) -> Tensor:
    """Return -log p(y | h) of every token in nats, float32, with shape (N,).

    Each of the two factors of a probability is floored as in ``linear_cross_entropy``.

    Args:
        h: with shape (N, E).
        weight: W with shape (V, E).
        bias: b with shape (V,).
        clusters: weights and biases of the clusters in s.
        target: y with shape (N,).
    """
    sizes = _sizes(len(weight), len(clusters[1]))
    starts = list(accumulate(sizes[:-1]))
    past = torch.stack([target >= start for start in starts])
    cluster = past.sum(0)
    order = cluster.argsort(stable=True)  # tokens of a cluster become adjacent: one copy, one device sync
    counts = [a - b for a, b in pairwise([len(target), *past.sum(1).tolist(), 0])]
    h, target, cluster = h[order], target[order], cluster[order]
    (head, *weights), (head_bias, *biases) = weight.split(sizes), bias.split(sizes)
    in_head = torch.where(cluster > 0, sizes[0] - 1 + cluster, target)
    head_rows = h, torch.cat((head, clusters[0])), torch.cat((head_bias, clusters[1])), in_head
    each = zip(h.split(counts)[1:], weights, biases, target.split(counts)[1:], starts, strict=True)
    within = [(rows, w, b, ids - start) for rows, w, b, ids, start in each]
    # The largest cluster comes first, so that no thread starts on it when the others are done.
    *nll_within, nll = concurrently(linear_cross_entropy, [*reversed(within), head_rows])
    return (nll + torch.cat((nll.new_zeros(counts[0]), *reversed(nll_within))))[order.argsort()]


def adaptive_log_probs(h: Tensor, weight: Tensor, bias: Tensor, clusters: Clusters) -> Tensor:
    """Return log p(. | h) of all words in nats, float32, with shape (R, V), for h with shape (R, E)."""
    sizes = _sizes(len(weight), len(clusters[1]))
    head, *logits = F.linear(h, weight, bias).float().split(sizes, -1)
    s = torch.cat((head, F.linear(h, *clusters).float()), -1).log_softmax(-1)
    head, *of_clusters = s.split([sizes[0], *[1] * len(logits)], -1)
    within = [c + part.log_softmax(-1) for c, part in zip(of_clusters, logits, strict=True)]
    return torch.cat((head, *within), -1)


def _sizes(size: int, clusters: int) -> list[int]:
    """Return the number of words in the head and in each cluster."""
    starts = [size >> k for k in range(clusters, -1, -1)]
    return [starts[0], *(end - start for start, end in pairwise(starts))]

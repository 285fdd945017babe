"""From many dimensions to two or one, for pictures: distances of topics, scaling, neighbours, components, an order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from scipy.special import entr

Floats = NDArray[np.floating]
FARTHEST = float(np.sqrt(np.log(2)))
"""The Jensen-Shannon distance of distributions with nothing in common."""


def topic_distances(beta: Floats) -> Floats:
    """Jensen-Shannon distances of the rows of ``beta`` (T, D), each a distribution; with shape (T, T).

    sqrt(H((p + q) / 2) - (H(p) + H(q)) / 2) with H in nats: a metric between 0 and sqrt(ln 2)
    (Endres & Schindelin 2003).
    """
    beta = np.asarray(beta, dtype=np.float64)
    entropy = entr(beta).sum(1)
    between = np.stack([entr((row + beta) / 2).sum(1) for row in beta])
    squared = between - (entropy[:, None] + entropy) / 2
    np.fill_diagonal(squared, 0.0)
    return np.sqrt(squared.clip(0))


def scaled_to_plane(distances: Floats) -> Floats:
    """Points (N, 2) whose distances are those of ``distances`` (N, N) as far as a plane allows.

    Classical multidimensional scaling (Torgerson 1952): the two largest eigenvectors of -1/2 J D^2 J,
    J = I - 1/N. Exact where the distances are those of points in a plane.
    """
    squared = np.asarray(distances, dtype=np.float64) ** 2
    gram = -(squared - squared.mean(0) - squared.mean(1)[:, None] + squared.mean()) / 2
    values, vectors = _two_largest(gram)
    return vectors * np.sqrt(values)


def alike_together(distances: Floats) -> NDArray[np.int64]:
    """Places of all N in an order where neighbours are alike, by their ``distances`` (N, N).

    Leaves of the tree of average linkage, turned so that the distances of neighbours sum to the least
    (Bar-Joseph et al. 2001).
    """
    if len(distances) < 3:
        return np.arange(len(distances))
    tree = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    return leaves_list(tree).astype(np.int64)


def neighbours_in_plane(points: Floats, seed: int = 0) -> Floats:
    """A plane (N, 2) where near points are neighbours among ``points`` (N, Z): t-SNE (van der Maaten & Hinton 2008).

    Distances between groups tell nothing. Fewer than 5 points, which have no neighbourhoods, are shown by their
    principal components, as all alike ones are.
    """
    if len(points) < 5 or not np.ptp(points, axis=0).any():
        return principal_plane(points)[0]
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(points) - 1) / 3)
    found: Floats = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(points)
    return found.astype(np.float64)


def principal_plane(points: Floats) -> tuple[Floats, Floats]:
    """First two principal components of ``points`` (N, Z): scores (N, 2), and their shares of the variance (2,).

    A component that does not exist (Z = 1) or does not vary is zero, with a share of zero.
    """
    centred = np.asarray(points, dtype=np.float64)
    centred = centred - centred.mean(0)
    values, vectors = _two_largest(centred.T @ centred)
    return centred @ vectors, values / max(float((centred**2).sum()), np.finfo(np.float64).tiny)


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` places among ``count``, evenly spread, first and last included, in order."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def _two_largest(matrix: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues (2,), not below zero, and eigenvectors (N, 2) of a symmetric matrix, largest first.

    The largest entry of a vector is positive, so that a picture is not mirrored from one machine to another.
    """
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = values[::-1][:2].clip(0), vectors[:, ::-1][:, :2]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], axis=0)
    missing = 2 - len(values)
    return np.pad(values, (0, missing)), np.pad(vectors * np.sign(largest), ((0, 0), (0, missing)))

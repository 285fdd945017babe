"""Projections to two dimensions for plots, distances of topics, and orders of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from scipy.special import entr

Floats = NDArray[np.floating]
MAX_JS_DISTANCE = float(np.sqrt(np.log(2)))
"""Jensen-Shannon distance of distributions with disjoint support."""


def topic_distances(beta: Floats) -> Floats:
    """Return the Jensen-Shannon distances of the rows of ``beta`` (T, D), each a distribution; with shape (T, T).

    sqrt(H((p + q) / 2) - (H(p) + H(q)) / 2) with H in nats: a metric between 0 and sqrt(ln 2)
    (Endres & Schindelin 2003).
    """
    beta = np.asarray(beta, dtype=np.float64)
    entropy = entr(beta).sum(1)
    mixed = np.stack([entr((row + beta) / 2).sum(1) for row in beta])
    squared = mixed - (entropy[:, None] + entropy) / 2
    np.fill_diagonal(squared, 0.0)
    return np.sqrt(squared.clip(0))


def classical_scaling(distances: Floats) -> Floats:
    """Return points (N, 2) with about the given ``distances`` (N, N): classical multidimensional scaling.

    The two largest eigenvectors of -1/2 J D^2 J with J = I - 1/N (Torgerson 1952). Exact if the distances are those
    of points in a plane.
    """
    squared = np.asarray(distances, dtype=np.float64) ** 2
    gram = -(squared - squared.mean(0) - squared.mean(1)[:, None] + squared.mean()) / 2
    values, vectors = _top_two_eigenpairs(gram)
    return vectors * np.sqrt(values)


def separate_circles(centers: Floats, radii: Floats, steps: int = 500) -> Floats:
    """Move the ``centers`` (N, 2) of circles apart until none overlap, or for ``steps`` iterations.

    Every step moves each pair of overlapping circles along the line between their centers by half of their overlap.
    """
    centers = np.array(centers, dtype=np.float64)
    # Equal centers have no direction between them; a tiny spiral gives them one, the same on every machine.
    angle = np.arange(len(centers)) * np.pi * (3 - np.sqrt(5))
    centers += 1e-3 * np.stack((np.cos(angle), np.sin(angle)), axis=1)
    for _ in range(steps):
        between = centers[:, None] - centers
        distance = np.linalg.norm(between, axis=2) + np.eye(len(centers))
        overlap = (radii[:, None] + radii - distance).clip(0)
        np.fill_diagonal(overlap, 0)
        if overlap.max(initial=0) < 0.1:
            break
        centers += (between / distance[:, :, None] * overlap[:, :, None]).sum(1) / 2
    return centers


def similarity_order(distances: Floats) -> NDArray[np.int64]:
    """Return an order of all N items in which neighbours are similar, by their ``distances`` (N, N).

    The leaves of average linkage, arranged so that the sum of the distances of neighbours is minimal
    (Bar-Joseph et al. 2001).
    """
    if len(distances) < 3:
        return np.arange(len(distances))
    tree = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    return leaves_list(tree).astype(np.int64)


def tsne_plane(points: Floats, seed: int = 0) -> Floats:
    """Return positions (N, 2) of ``points`` (N, Z) by t-SNE (van der Maaten & Hinton 2008).

    Principal components replace it for fewer than 5 points and for identical points, where t-SNE is undefined.
    """
    if len(points) < 5 or not np.ptp(points, axis=0).any():
        return principal_plane(points)[0]
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(points) - 1) / 3)
    plane: Floats = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(points)
    return plane.astype(np.float64)


def principal_plane(points: Floats) -> tuple[Floats, Floats]:
    """Return the first two principal components of ``points`` (N, Z) and their shares of the variance.

    Returns:
        Scores with shape (N, 2) and shares with shape (2,). Both are zero for a component that does not exist (Z = 1)
        or has no variance.
    """
    centered = np.asarray(points, dtype=np.float64)
    centered = centered - centered.mean(0)
    values, vectors = _top_two_eigenpairs(centered.T @ centered)
    return centered @ vectors, values / max(float((centered**2).sum()), np.finfo(np.float64).tiny)


def evenly_spaced(count: int, at_most: int) -> NDArray[np.int64]:
    """Return ``at_most`` evenly spaced indices below ``count``, first and last included; all if there are fewer."""
    return np.linspace(0, count - 1, min(count, at_most)).round().astype(np.int64)


def _top_two_eigenpairs(matrix: Floats) -> tuple[Floats, Floats]:
    """Return the two largest eigenvalues (2,), clipped at zero, and eigenvectors (N, 2) of a symmetric matrix.

    The largest entry of each vector is positive, so that plots are not mirrored from one machine to another.
    """
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = values[::-1][:2].clip(0), vectors[:, ::-1][:, :2]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], axis=0)
    missing = 2 - len(values)
    return np.pad(values, (0, missing)), np.pad(vectors * np.sign(largest), ((0, 0), (0, missing)))

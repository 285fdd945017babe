"""Projections to two dimensions against scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist, jensenshannon
from sklearn.decomposition import PCA

from tgvae.evaluation.projections import (
    MAX_JS_DISTANCE,
    classical_scaling,
    evenly_spaced,
    principal_plane,
    separate_circles,
    similarity_order,
    topic_distances,
    tsne_plane,
)


def test_topic_distances_equal_scipy() -> None:
    beta = np.random.default_rng(1).dirichlet(np.full(40, 0.1), 7)
    expected = [[jensenshannon(p, q) for q in beta] for p in beta]
    np.testing.assert_allclose(topic_distances(beta), expected, atol=1e-7)
    np.testing.assert_allclose(topic_distances(np.eye(3)), MAX_JS_DISTANCE * (1 - np.eye(3)), atol=1e-12)


def test_scaling_reproduces_distances_in_a_plane() -> None:
    points = np.random.default_rng(2).normal(size=(12, 2))
    found = classical_scaling(cdist(points, points))
    np.testing.assert_allclose(cdist(found, found), cdist(points, points), atol=1e-7)
    np.testing.assert_allclose(classical_scaling(np.array([[0.0, 3.0], [3.0, 0.0]])), [[1.5, 0], [-1.5, 0]], atol=1e-7)
    assert classical_scaling(np.zeros((1, 1))).tolist() == [[0, 0]]


@pytest.mark.parametrize("spread", [0, 100])
def test_separated_circles_do_not_overlap(spread: float) -> None:
    rng = np.random.default_rng(0)
    centers, radii = spread * rng.normal(size=(40, 2)), rng.uniform(5, 30, 40)
    found = separate_circles(centers, radii)
    gaps = cdist(found, found) - (radii[:, None] + radii)
    assert gaps[~np.eye(40, dtype=bool)].min() > -0.5
    apart = np.array([[0.0, 0.0], [50.0, 0.0]])
    np.testing.assert_allclose(separate_circles(apart, np.array([10.0, 20.0])), apart, atol=0.01)


def test_principal_plane_equals_scikit_learn() -> None:
    points = np.random.default_rng(3).normal(size=(50, 5)) * [3, 1, 2, 0.1, 0.5]
    found, share = principal_plane(points)
    oracle = PCA(2).fit(points)
    np.testing.assert_allclose(np.abs(found), np.abs(oracle.transform(points)), atol=1e-8)
    np.testing.assert_allclose(share, oracle.explained_variance_ratio_)
    line, all_of_it = principal_plane(np.array([[1.0], [3.0]]))
    assert (line.tolist(), all_of_it.tolist()) == ([[-1, 0], [1, 0]], [1, 0])
    still, none_of_it = principal_plane(np.ones((1, 4)))
    assert (still.tolist(), none_of_it.tolist()) == ([[0, 0]], [0, 0])


@pytest.mark.parametrize(("count", "at_most"), [(0, 5), (1, 5), (5, 5), (6, 5), (4420, 300)])
def test_indices_are_evenly_spaced(count: int, at_most: int) -> None:
    indices = evenly_spaced(count, at_most)
    assert len(indices) == min(count, at_most)
    if count > 1:
        gaps = np.diff(indices)
        assert (indices[0], indices[-1]) == (0, count - 1)
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1


def test_similarity_order_is_optimal_for_points_on_a_line() -> None:
    points = np.array([5.0, 0, 9, 1, 6, 10])
    order = points[similarity_order(np.abs(points[:, None] - points))]
    assert list(order) in ([0, 1, 5, 6, 9, 10], [10, 9, 6, 5, 1, 0])
    assert [similarity_order(np.zeros((n, n))).tolist() for n in range(3)] == [[], [0], [0, 1]]


def test_tsne_keeps_neighbours_and_is_deterministic() -> None:
    rng = np.random.default_rng(0)
    group = np.arange(90) % 3
    points = 10 * np.eye(3)[group] + rng.normal(size=(90, 3))
    found = tsne_plane(points)
    apart = cdist(found, found) + 1e9 * np.eye(90)
    assert (group[apart.argmin(1)] == group).mean() > 0.95
    np.testing.assert_array_equal(tsne_plane(points), found)


@pytest.mark.parametrize("points", [np.ones((1, 3)), np.eye(4), np.ones((40, 3)), np.eye(5)])
def test_few_or_identical_points_have_positions(points: np.ndarray) -> None:
    found = tsne_plane(points)
    assert found.shape == (len(points), 2)
    assert np.isfinite(found).all()

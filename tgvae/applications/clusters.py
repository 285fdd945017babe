"""Are classes apart in latent space? k-means on latents against labels that the model was never told.

Shape legend: N vectors, D values of each, Z latent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from tgvae.applications.common import Shown, require
from tgvae.data.vectors import Vectors
from tgvae.evaluation.metric import Metric, Parts
from tgvae.evaluation.plots.latent_plots import latent_map
from tgvae.evaluation.projections import Floats
from tgvae.evaluation.vector_figures import embedded, row_of
from tgvae.models.vae import VectorVAE

STARTS = 10
SPLITS = ("train", "test")
CAPTION = (
    "Every mark is an image, placed by its latent (the first two principal components of it, where it has more than "
    "two dimensions) and marked by its class, which the model was not told. Click a class above to hide it, twice to "
    "see it alone. The figures compare clusters of k-means, as many as there are classes, with the classes: 0 is "
    "chance for the adjusted Rand index, 1 is perfect for all three."
)

Measure = Callable[[NDArray[np.str_], NDArray[np.int32]], float]


def show(model: VectorVAE, data: Vectors, seed: int = 0) -> Shown:
    """The latent plane by class, and how well k-means finds the classes in it, in raw values and in PCA.

    Raises:
        UserError: the data has no labels.
    """
    require("clusters", model.config, data)
    splits = [data.splits[name] for name in SPLITS]
    x, z = np.concatenate([split.x for split in splits]), np.concatenate([embedded(model, split) for split in splits])
    labels = np.concatenate([split.labels for split in splits if split.labels is not None])
    classes, of_class = np.unique(labels, return_inverse=True)
    size = min(z.shape[1], *x.shape)
    spaces = {"latents": z, "raw values": x, f"PCA, {size} components": PCA(size, random_state=seed).fit_transform(x)}
    found = {name: k_means(points, len(classes), seed) for name, points in spaces.items()}
    how = f"k-means, k = {len(classes)}, best of {STARTS} starts, train and test {row_of(model)}s"
    of_latents = found.pop("latents")

    def figure(measure: Measure, unit: str) -> Metric:
        marks = {name: measure(labels, clusters) for name, clusters in found.items()}
        return Metric(measure(labels, of_latents), unit, how, len(labels), seed, baselines=marks)

    hits = Parts.mean(matched(labels, of_latents))
    beside = {name: matched(labels, clusters).mean() for name, clusters in found.items()}
    report = {
        "clusters and classes": {
            "accuracy of the best matching": Metric.of(hits, "share", how, seed, **beside),
            "adjusted Rand index": figure(adjusted_rand_score, "1 is perfect, 0 chance"),
            "normalised mutual information": figure(normalized_mutual_info_score, "share"),
        }
    }
    names = [f"{split.name} {row}" for split in splits for row in range(len(split.x))]
    picture = latent_map(z, of_class, names, [f"class {name}" for name in classes])
    return Shown("Classes in latent space", picture, CAPTION, report)


def k_means(points: Floats, clusters: int, seed: int) -> NDArray[np.int32]:
    """The cluster of each of the points, (N,)."""
    return np.asarray(KMeans(clusters, n_init=STARTS, random_state=seed).fit_predict(points))


def matched(labels: NDArray[np.str_], clusters: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether each vector's class is that of its cluster, (N,), classes being given to clusters one to one.

    The matching is the best of all (the Hungarian method); with more clusters than classes some have none.
    """
    classes, clusters_known = np.unique(labels), np.unique(clusters)
    rows, columns = linear_sum_assignment(contingency_matrix(labels, clusters), maximize=True)
    class_of = dict(zip(clusters_known[columns].tolist(), classes[rows].tolist(), strict=True))
    return np.array([class_of.get(cluster) == label for cluster, label in zip(clusters.tolist(), labels, strict=True)])

"""Classes and VAEs that were trained without labels: clustering, anomaly detection and few-label classification.

Shape legend: N vectors, D values per vector, Z latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, roc_auc_score, roc_curve
from sklearn.metrics.cluster import contingency_matrix

from tgvae.applications.application import IW_SAMPLES, Result, held_out_class, model_inputs
from tgvae.data.vectors import Vectors, VectorSplit, open_vectors
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import bound_of, evaluating, importance_weighted_nll
from tgvae.evaluation.link_prediction import RESAMPLES, bootstrap_error
from tgvae.evaluation.metric import Metric, Metrics, Parts, Report
from tgvae.evaluation.plots.latent_plots import latent_map
from tgvae.evaluation.plots.plot_style import GRAY_DOTTED, figure_with_axes, styled_line
from tgvae.evaluation.vector_metrics import embedded
from tgvae.models.vae import VectorVAE

Floats = NDArray[np.float64]
KMEANS_STARTS = 10
LABELS_PER_CLASS, REPEATS, COPIES, MAX_ITERATIONS = (1, 2, 5, 10), 10, 10, 2000
FEATURES = {
    "pixels": "pixels",
    "vae_copies": "pixels and VAE copies",
    "noisy_copies": "pixels and noisy copies",
    "latents": "latents of the VAE",
}
SCORES = {
    "vae_iw": f"VAE, IW {IW_SAMPLES}",
    "vae_elbo": "VAE, -ELBO",
    "pca": "PCA, squared error",
    "isolation_forest": "isolation forest",
}
CLUSTERS_CAPTION = (
    "Each point is an image, placed by the first two principal components of its latent and coloured by class. The "
    "model was not trained on labels. The metrics compare k-means clusters, one per class, with the classes: 1 is "
    "perfect."
)
ANOMALIES_CAPTION = (
    "ROC curves of anomaly scores for a class without training examples. The upper left corner is perfect, the dotted"
    " diagonal is chance. A likelihood is not a reliable anomaly score: simple images of an unseen kind can be "
    "probable."
)
AUGMENTATION_CAPTION = (
    "Test accuracy of a logistic regression with few labelled images per class; bars are standard errors over ten "
    "random choices of these images. The VAE was trained on all training images without labels. It can help by copies"
    " of the labelled images, x' ~ p(x | z) with z ~ q(z | x), or by its latents as features. Noisy copies are a "
    "control: they change as many pixels at random."
)


def clusters(models: Sequence[VectorVAE], data: Vectors, seed: int = 0) -> Result:
    """Plot the latent plane by class, and compare k-means clusters of latents with those of raw values and of PCA."""
    (model,) = models
    splits = [data.splits[name] for name in ("train", "test")]
    x, z = np.concatenate([split.x for split in splits]), np.concatenate([embedded(model, split) for split in splits])
    labels = np.concatenate([split.labels for split in splits if split.labels is not None])
    classes, class_index = np.unique(labels, return_inverse=True)
    size = min(z.shape[1], *x.shape)
    spaces = {"raw_values": x, "pca": PCA(size, random_state=seed).fit_transform(x)}
    baselines = {name: k_means(points, len(classes), seed) for name, points in spaces.items()}
    found = k_means(z, len(classes), seed)
    how = f"k-means, k = {len(classes)}, best of {KMEANS_STARTS} starts; PCA with {size} components"

    def measure(name: str, score: Callable[..., float], unit: str) -> Metric:
        marks = {space: score(labels, clusters) for space, clusters in baselines.items()}
        return Metric(score(labels, found), unit, how, len(labels), seed, baselines=marks, name=name)

    shares = {space: float(matched(labels, clusters).mean()) for space, clusters in baselines.items()}
    accuracy = Metric.of(Parts.mean(matched(labels, found)), "share", how, seed, **shares)
    metrics = {
        "accuracy": replace(accuracy, name="accuracy of the best matching"),
        "adjusted_rand": measure("adjusted Rand index", adjusted_rand_score, "1 is perfect, 0 chance"),
        "nmi": measure("normalised mutual information", normalized_mutual_info_score, "share"),
    }
    names = [f"{split.name} {row}" for split in splits for row in range(len(split.x))]
    figure = latent_map(z, class_index, names, [f"class {name}" for name in classes])
    return Result("Classes in latent space", figure, CLUSTERS_CAPTION, {"clusters and classes": metrics})


def k_means(points: Floats, count: int, seed: int) -> NDArray[np.int32]:
    """Return the cluster of each point, with shape (N,)."""
    return np.asarray(KMeans(count, n_init=KMEANS_STARTS, random_state=seed).fit_predict(points))


def matched(labels: NDArray[np.str_], clusters: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return whether each vector has the class of its cluster under the best one-to-one matching, with shape (N,).

    The matching is optimal (Hungarian method). If there are more clusters than classes, some have no class.
    """
    classes, found = np.unique(labels), np.unique(clusters)
    rows, columns = linear_sum_assignment(contingency_matrix(labels, clusters), maximize=True)
    class_of = dict(zip(found[columns].tolist(), classes[rows].tolist(), strict=True))
    return np.array([class_of.get(cluster) == label for cluster, label in zip(clusters.tolist(), labels, strict=True)])


def anomalies(models: Sequence[VectorVAE], data: Vectors, seed: int = 0) -> Result:
    """Plot ROC curves for the class that training never saw, by bounds of the VAE and by scores without a VAE.

    Raises:
        UserError: the test split has no other class.
    """
    (model,) = models
    label, test = held_out_class(data), with_anomalies(model, data)
    anomalous = np.asarray(test.labels == label)
    if anomalous.all():
        raise UserError(
            f"anomalies needs other classes than {label} in the test split of {data.source}: give more data"
        )
    scores = anomaly_scores(model, data, test, seed)
    report = {f"detection of class {label}": roc_metrics(anomalous, scores, seed)}
    return Result(f"Class {label}, never seen in training", roc_curves(anomalous, scores), ANOMALIES_CAPTION, report)


def with_anomalies(model: VectorVAE, data: Vectors) -> VectorSplit:
    """Return all vectors of the held-out class, from every split, and the test vectors of the other classes."""
    name, _, label = data.source.partition(":not=")
    everything, test = model_inputs(model, open_vectors(name)), data.splits["test"]
    parts = [(split, split.labels == label) for split in everything.splits.values()]
    parts.append((test, test.labels != label))
    x, labels = (np.concatenate([getattr(split, field)[rows] for split, rows in parts]) for field in ("x", "labels"))
    return replace(test, x=x, labels=labels)


def anomaly_scores(model: VectorVAE, data: Vectors, test: VectorSplit, seed: int) -> dict[str, Floats]:
    """Return the ``SCORES`` of test vectors, each with shape (N,), higher for anomalies."""
    train = data.splits["train"].x
    pca = PCA(min(model.config.latent_size, *train.shape), random_state=seed).fit(train)
    reconstruction = pca.inverse_transform(pca.transform(test.x))
    weighted = importance_weighted_nll(model, test, IW_SAMPLES, seed, unit="vector").bound
    return {
        "vae_iw": weighted.total().numpy(),
        "vae_elbo": bound_of(model, test, "vector", seed).total().numpy(),
        "pca": np.square(test.x - reconstruction).sum(1).astype(np.float64),
        "isolation_forest": -IsolationForest(random_state=seed).fit(train).score_samples(test.x),
    }


def roc_metrics(anomalous: NDArray[np.bool_], scores: dict[str, Floats], seed: int) -> Metrics:
    """Return the area under the ROC curve by score: P(score of an anomaly > score of a normal vector)."""
    how = f"{np.count_nonzero(anomalous)} of the class; bootstrap error, {RESAMPLES} draws"
    metrics = {}
    for id_, score in scores.items():
        area = float(roc_auc_score(anomalous, score))
        error = bootstrap_error(roc_auc_score, anomalous.astype(float), score, seed)
        metric = Metric(area, "area under the ROC curve", how, len(score), seed, error, baselines={"chance": 0.5})
        metrics[id_] = replace(metric, name=SCORES.get(id_, id_))
    return metrics


def roc_curves(anomalous: NDArray[np.bool_], scores: dict[str, Floats]) -> go.Figure:
    """Plot one ROC curve per score, and the diagonal of chance."""
    lines = [styled_line([0, 1], [0, 1], "chance", GRAY_DOTTED, ["chance"] * 2, mode="lines")]
    for style, (id_, score) in enumerate(scores.items()):
        name = SCORES.get(id_, id_)
        false, true, _ = roc_curve(anomalous, score)
        hover = [
            f"{name}<br>true positives {t:.1%}<br>false positives {f:.1%}" for f, t in zip(false, true, strict=True)
        ]
        lines.append(styled_line(false, true, name, style, hover, mode="lines"))
    figure = figure_with_axes(lines, "false positive rate", "true positive rate", height=560)
    return figure.update_xaxes(tickformat=".0%").update_yaxes(tickformat=".0%")


def augmentation(
    models: Sequence[VectorVAE],
    data: Vectors,
    seed: int = 0,
    per_class: Sequence[int] = LABELS_PER_CLASS,
    repeats: int = REPEATS,
) -> Result:
    """Plot the accuracy of a classifier with few labels, with and without the help of the VAE.

    Raises:
        UserError: a class has too few training images.
    """
    (model,) = models
    report: Report = {}
    for count in per_class:
        runs = [few_label_accuracies(model, data, count, seed + i) for i in range(repeats)]
        report[f"labels per class: {count}"] = mean_accuracies(runs, seed)
    figure = accuracy_curves(per_class, list(report.values()))
    return Result("Classification with few labels", figure, AUGMENTATION_CAPTION, report)


def few_label_accuracies(model: VectorVAE, data: Vectors, per_class: int, seed: int) -> dict[str, float]:
    """Return the test accuracy by kind of features, with ``per_class`` random labelled images of each class."""
    train, test = data.splits["train"], data.splits["test"]
    assert train.labels is not None
    chosen = choose_per_class(train.labels, per_class, seed)
    labels = train.labels[chosen]
    few = replace(train, x=train.x[chosen], labels=labels)
    repeated, repeated_labels = np.tile(few.x, (COPIES, 1)), np.tile(labels, 1 + COPIES)
    copied = vae_copies(model, repeated, seed)
    noisy = noisy_copies(copied, repeated, model.config.likelihood == "bernoulli", seed)
    features = {
        "pixels": (few.x, labels, test.x),
        "vae_copies": (np.concatenate((few.x, copied)), repeated_labels, test.x),
        "noisy_copies": (np.concatenate((few.x, noisy)), repeated_labels, test.x),
        "latents": (embedded(model, few), labels, embedded(model, test)),
    }
    return {
        name: float(LogisticRegression(max_iter=MAX_ITERATIONS).fit(x, y).score(x_test, test.labels))
        for name, (x, y, x_test) in features.items()
    }


def mean_accuracies(runs: Sequence[dict[str, float]], seed: int) -> Metrics:
    """Return means over random choices of the labelled images, with standard errors."""
    how = f"logistic regression, mean of {len(runs)} random choices of the labelled images"
    return {
        id_: replace(Metric.of(Parts.mean([run[id_] for run in runs]), "accuracy on test", how, seed), name=name)
        for id_, name in FEATURES.items()
        if id_ in runs[0]
    }


def accuracy_curves(per_class: Sequence[int], sections: Sequence[Metrics]) -> go.Figure:
    """Plot accuracy by the number of labels per class, one line per kind of features."""
    lines = []
    for style, (id_, name) in enumerate(FEATURES.items()):
        metrics = [section[id_] for section in sections]
        hover = [f"{name}<br>labels per class: {n}<br>{m.value:.1%}" for n, m in zip(per_class, metrics, strict=True)]
        bars = {"type": "data", "array": [metric.error or 0 for metric in metrics]}
        lines.append(styled_line(per_class, [metric.value for metric in metrics], name, style, hover, error_y=bars))
    figure = figure_with_axes(lines, "labels per class", "accuracy", height=480).update_yaxes(tickformat=".0%")
    return figure.update_xaxes(type="log", tickvals=list(per_class))


def choose_per_class(labels: NDArray[np.str_], per_class: int, seed: int) -> NDArray[np.bool_]:
    """Return a mask (N,) of ``per_class`` random vectors of each class; smaller choices are subsets of larger ones.

    Raises:
        UserError: a class has too few vectors.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    chosen = np.zeros(len(labels), bool)
    for name in np.unique(labels):
        rows = order[labels[order] == name]
        if len(rows) < per_class:
            raise UserError(f"class {name} has {len(rows)} training images, not {per_class} to label; give more images")
        chosen[rows[:per_class]] = True
    return chosen


def vae_copies(model: VectorVAE, x: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Return x' ~ p(x | z), z ~ q(z | x), for every row of x (N, D)."""
    with evaluating(model, seed):
        q = model.posterior(torch.from_numpy(x).to(model.device))
        assert q is not None
        return model.likelihood(q.sample()).sample().cpu().numpy()


def noisy_copies(copied: NDArray[np.float32], x: NDArray[np.float32], binary: bool, seed: int) -> NDArray[np.float32]:
    """Return x (N, D) with as much noise as its VAE copies: the same share of flipped values, or the same variance."""
    rng = np.random.default_rng(seed)
    if binary:
        return np.where(rng.random(x.shape) < np.mean(copied != x), 1 - x, x)
    return (x + rng.normal(0, np.sqrt(np.mean((copied - x) ** 2)), x.shape)).astype(np.float32)

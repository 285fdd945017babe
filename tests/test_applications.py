"""Applications of VAEs on small data and small models, with brute-force oracles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from torch.distributions import Bernoulli, Normal

from tgvae.applications import APPLICATIONS, beta_sweep, classes, inpainting, sampling
from tgvae.applications.application import Result, model_inputs
from tgvae.data.vectors import Space, Vectors, open_vectors
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import bound_of, importance_weighted_nll
from tgvae.evaluation.plots.latent_plots import tile_images
from tgvae.evaluation.report_io import report_to_json
from tgvae.models.vae import VectorConfig, VectorVAE

SIDE = 4
SETTINGS: list[dict[str, object]] = [
    {},
    {"latent": "categorical", "categories": 3},
    {"likelihood": "normal"},
    {"latent": "point"},
]
FUNCTIONS: dict[str, Callable[..., Result]] = {name: application.function for name, application in APPLICATIONS.items()}
FUNCTIONS["augmentation"] = partial(classes.augmentation, per_class=(1, 3), repeats=2)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 images of three classes: a dark block in one of three corners, with noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 3
    x = rng.uniform(0, 0.2, (150, SIDE, SIDE))
    for image, label in zip(x, labels, strict=True):
        row, column = ((0, 0), (0, 2), (2, 0))[label]
        image[row : row + 2, column : column + 2] = rng.uniform(0.8, 1, (2, 2))
    path = tmp_path_factory.mktemp("vectors") / "corners.npz"
    np.savez(path, x=x, labels=np.array(["a", "b", "c"])[labels])
    return path


def build(**settings: object) -> VectorVAE:
    torch.manual_seed(0)
    return VectorVAE(VectorConfig(hidden_sizes=(8,), **({"latent_size": 2} | settings)), Space(16, (4, 4))).eval()


@pytest.fixture(scope="module")
def model() -> VectorVAE:
    return build()


@pytest.fixture(scope="module")
def data(file: Path, model: VectorVAE) -> Vectors:
    return model_inputs(model, open_vectors(str(file)))


@pytest.fixture(scope="module")
def without_b(file: Path, model: VectorVAE) -> Vectors:
    """The images without class b in training."""
    return model_inputs(model, open_vectors(f"{file}:not=b"))


def apply(name: str, model: VectorVAE, data: Vectors, without_b: Vectors) -> Result:
    models = [model] * (len(beta_sweep.BETAS) if name == "rate-distortion" else 1)
    return FUNCTIONS[name](models, without_b if name == "anomalies" else data)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_application_returns_a_plot_and_finite_metrics(
    settings: dict[str, object], data: Vectors, without_b: Vectors
) -> None:
    model = build(**settings)
    for name, application in APPLICATIONS.items():
        if model.config.latent not in application.latents:
            continue
        result = apply(name, model, data, without_b)
        assert result.figure.data, name
        assert result.caption.endswith("."), name
        metrics = [metric for section in result.report.values() for metric in section.values()]
        assert all(math.isfinite(m.value) and m.unit and m.size and m.name for m in metrics), name


@pytest.mark.parametrize("name", sorted(APPLICATIONS))
def test_applications_are_deterministic(name: str, model: VectorVAE, data: Vectors, without_b: Vectors) -> None:
    first, again = (apply(name, model, data, without_b) for _ in range(2))
    assert first.figure == again.figure
    assert report_to_json(first.report) == report_to_json(again.report)


def test_requirements_are_checked(data: Vectors) -> None:
    for name, application in APPLICATIONS.items():
        for latent in {"normal", "categorical", "point"} - set(application.latents):
            with pytest.raises(UserError, match=f"{name} needs a normal.* latent, not a {latent} one"):
                application.require(name, VectorConfig(latent=latent), data)  # type: ignore[arg-type]
    unlabelled = replace(data, splits={name: replace(split, labels=None) for name, split in data.splits.items()})
    cases = [
        ("manifold", VectorConfig(latent_size=5), data, "latent size of 2, not 5"),
        ("anomalies", VectorConfig(), replace(data, source="digits"), "digits:not=LABEL"),
        *((name, VectorConfig(), unlabelled, "needs labels") for name in ("clusters", "anomalies", "augmentation")),
    ]
    held_out = replace(data, source="digits:not=8")
    cases += [(name, VectorConfig(), held_out, "needs every class") for name in ("clusters", "augmentation")]
    for name, config, vectors, message in cases:
        with pytest.raises(UserError, match=message):
            APPLICATIONS[name].require(name, config, vectors)


def test_samples_show_their_bounds(model: VectorVAE, data: Vectors) -> None:
    result, test = sampling.samples([model, build(latent_size=5)], data, seed=3), data.splits["test"]
    assert list(result.report) == ["latent size 2", "latent size 5"]
    metrics = result.report["latent size 2"]
    assert metrics["neg_elbo"].value == bound_of(model, test, "vector", 3).negative_elbo
    assert metrics["nll_iw"].value == importance_weighted_nll(model, test, 100, 3, unit="vector").nll
    assert metrics["neg_elbo"].value == pytest.approx(metrics["rate"].value + metrics["distortion"].value)
    assert f"{metrics['neg_elbo'].value:.2f} nats" in result.figure.layout.annotations[0].text
    expected = tile_images(model.sample(60, 3).numpy().reshape(3, 20, 4, 4))
    assert np.array_equal(result.figure.data[0].z, expected)


def test_plane_is_a_grid_of_quantiles(model: VectorVAE) -> None:
    z = sampling.normal_quantiles(7)
    np.testing.assert_allclose(norm.cdf(z), (np.arange(7) + 0.5) / 7)
    found = sampling.decode_plane(model, 7, 7)
    upper_left, lower_right = [z[0], z[-1]], [z[-1], z[0]]  # z_1 grows to the right, z_2 upwards
    with torch.no_grad():
        corners = model.likelihood(torch.tensor([upper_left, lower_right]).float()).mean
    torch.testing.assert_close(torch.stack((found[0, 0], found[-1, -1])), corners)


def test_log_loss_is_that_of_the_mean_over_draws() -> None:
    x, known = torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([True, False, False])
    given = Bernoulli(torch.tensor([[[0.5, 0.2, 0.4]], [[0.5, 0.6, 0.8]]]))
    assert inpainting.log_loss(given, x, known).item() == pytest.approx(-(math.log(0.6) + math.log(0.6)) / 2)


@pytest.mark.parametrize("binary", [True, False])
def test_neighbours_are_nearest_in_the_known_values(binary: bool, data: Vectors) -> None:
    train, x = (torch.from_numpy(data.splits[name].x) for name in ("train", "test"))
    train = train + 0.001 * torch.rand(train.shape, generator=torch.Generator().manual_seed(0))  # no ties
    known = inpainting.upper_half(Space(16, (4, 4)))
    assert known.tolist() == [True] * 8 + [False] * 8
    found = inpainting.nearest_neighbours(train, x, known, 3, binary)
    for row in range(len(x)):
        order = sorted(range(len(train)), key=lambda i: (train[i] - x[row])[:8].square().sum())
        nearest = train[order[:3]]
        expected = (nearest.sum(0) + 1) / 5 if binary else nearest.mean(0)
        torch.testing.assert_close(found.mean[0, row].float(), expected)
    assert isinstance(found, Bernoulli if binary else Normal)
    assert inpainting.upper_half(Space(5)).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("settings", [SETTINGS[0], SETTINGS[1], SETTINGS[3]], ids=str)
def test_lines_go_from_reconstruction_to_reconstruction(settings: dict[str, object], data: Vectors) -> None:
    x, model = torch.from_numpy(data.splits["test"].x), build(**settings)
    first, last = x[:4], x[4:8]
    found = sampling.decode_line(model, first, last, 5)
    with torch.no_grad():
        a, b = model.embed(first), model.embed(last)
        expected = [model.likelihood(z).mean for z in (a, (a + b) / 2, b)]
    torch.testing.assert_close(found[[0, 2, 4]], torch.stack(expected))
    torch.testing.assert_close(sampling.straight_line(first, last, 3)[1], (first + last) / 2)


def test_pairs_are_disjoint_and_of_different_classes() -> None:
    labels = np.array(list("aaabbbccca"))
    first, last = sampling.random_pairs(labels, 10, seed=1)
    assert (labels[first] != labels[last]).all()
    assert len({*first, *last}) == 2 * len(first)
    assert len(sampling.random_pairs(None, 7, seed=1)[0]) == 3
    with pytest.raises(UserError, match="two test vectors of different classes"):
        sampling.random_pairs(np.array(["a", "a"]), 2, seed=0)


def test_distance_to_training_is_that_of_the_nearest_vector(data: Vectors) -> None:
    x, train = np.random.default_rng(0).random((5, 16), np.float32), data.splits["train"].x
    expected = [min(((row - other) ** 2).mean() for other in train) for row in x]
    np.testing.assert_allclose(sampling.distance_to_training(x, data), expected, rtol=1e-5)
    np.testing.assert_allclose(sampling.distance_to_training(train, data), 0, atol=1e-12)


def test_matching_is_the_best_of_all_permutations() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels, found = rng.choice(list("abc"), 30), rng.integers(0, 3, 30)
        best = max(np.mean(np.array(names)[found] == labels) for names in itertools.permutations("abc"))
        assert classes.matched(labels, found).mean() == pytest.approx(best)
        assert classes.matched(labels, 7 - found).mean() == pytest.approx(best), "cluster numbers do not matter"
    assert classes.matched(np.array(list("aabb")), np.array([0, 1, 2, 2])).tolist() == [True, False, True, True]


def test_latents_that_copy_the_values_cluster_like_the_values(data: Vectors) -> None:
    model = VectorVAE(VectorConfig(hidden_sizes=(), latent="point", latent_size=16), Space(16, (4, 4))).eval()
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(16))
        model.head.bias.zero_()
    metrics = classes.clusters([model], data).report["clusters and classes"]
    for metric in metrics.values():
        assert metric.value == pytest.approx(metric.baselines["raw_values"])
        assert metric.value > 0.8
        assert set(metric.baselines) == {"raw_values", "pca"}


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    rng = np.random.default_rng(0)
    anomalous, score = np.arange(12) < 5, rng.integers(0, 6, 12).astype(float)
    wins = [(a > b) + (a == b) / 2 for a in score[anomalous] for b in score[~anomalous]]
    scores = {"some": score, "perfect": anomalous.astype(float), "wrong": -anomalous.astype(float), "none": score * 0}
    found = classes.roc_metrics(anomalous, scores, seed=0)
    areas = {name: metric.value for name, metric in found.items()}
    assert areas == {"some": pytest.approx(np.mean(wins)), "perfect": 1, "wrong": 0, "none": 0.5}
    assert found["perfect"].error == 0
    assert found["some"].error is not None
    assert found["some"].error > 0
    for line in classes.roc_curves(anomalous, scores).data:
        assert (line.x[0], line.y[0], line.x[-1], line.y[-1]) == (0, 0, 1, 1)


def test_the_held_out_class_is_compared_with_the_test_split(model: VectorVAE, without_b: Vectors) -> None:
    found = classes.with_anomalies(model, without_b)
    rest = without_b.splits["test"].labels != "b"
    assert (found.labels == "b").sum() == 50
    assert np.array_equal(found.x[50:], without_b.splits["test"].x[rest])
    assert set(np.unique(found.x)) == {0, 1}, "binary, as the model reads it"
    assert "b" not in without_b.splits["train"].labels
    weighted = importance_weighted_nll(model, found, 100, 0, unit="vector").bound.total()
    assert np.array_equal(classes.anomaly_scores(model, without_b, found, seed=0)["vae_iw"], weighted)
    metrics = classes.anomalies([model], without_b).report["detection of class b"]
    assert metrics["vae_iw"].value == roc_auc_score(found.labels == "b", weighted)
    test = without_b.splits["test"]
    no_others = replace(test, x=test.x[:0], labels=test.labels[:0])
    with pytest.raises(UserError, match="needs other classes than b"):
        classes.anomalies([model], replace(without_b, splits=without_b.splits | {"test": no_others}))


def test_labelled_images_are_balanced_and_nested(data: Vectors) -> None:
    labels = np.array(list("abcabcabca"))
    few, more = (classes.choose_per_class(labels, count, seed=2) for count in (1, 3))
    assert sorted(labels[few]) == list("abc")
    assert sorted(labels[more]) == list("aaabbbccc")
    assert (few <= more).all()
    assert not np.array_equal(few, classes.choose_per_class(labels, 1, seed=3))
    with pytest.raises(UserError, match="class b has 3 training images, not 4"):
        classes.choose_per_class(labels, 4, seed=0)


def test_copies_are_samples_of_the_decoder_and_noise_matches_them() -> None:
    model = build()
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.copy_(torch.logit(torch.full((16,), 0.3)))
    x = np.zeros((4000, 16), np.float32)
    copied = classes.vae_copies(model, x, seed=0)
    assert copied.mean() == pytest.approx(0.3, abs=0.01)
    flipped = classes.noisy_copies(copied, x, binary=True, seed=0)
    assert set(np.unique(flipped)) == {0, 1}
    assert flipped.mean() == pytest.approx(copied.mean(), abs=0.01)
    noisy = classes.noisy_copies(x + 2, x, binary=False, seed=0)
    assert (noisy.dtype, noisy.std()) == (np.float32, pytest.approx(2, abs=0.03))
    assert np.array_equal(classes.noisy_copies(x, x, binary=True, seed=0), x)


def test_accuracies_are_means_over_repeats(model: VectorVAE, data: Vectors) -> None:
    found = classes.mean_accuracies([{"pixels": 0.5}, {"pixels": 0.7}, {"pixels": 0.9}], seed=0)["pixels"]
    assert (found.value, found.size) == (pytest.approx(0.7), 3)
    assert found.error == pytest.approx(0.2 / math.sqrt(3))
    assert classes.few_label_accuracies(model, data, 10, seed=0)["pixels"] > 0.9, "the classes are easy to separate"


def test_total_correlation_is_that_of_the_gaussian() -> None:
    rho = 0.6
    loc = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]).double()
    loc = loc @ torch.tensor([[1.0, rho], [0.0, math.sqrt(1 - rho**2)]]).double()  # covariance 1, rho, 1 exactly
    assert beta_sweep.total_correlation(loc, loc * 0) == pytest.approx(-0.5 * math.log(1 - rho**2))
    assert beta_sweep.total_correlation(loc, loc * 0 + 1) == pytest.approx(-0.5 * math.log(1 - (rho / 2) ** 2))
    assert beta_sweep.total_correlation(loc[:1], loc[:1] * 0 + 1) == 0, "one vector: a diagonal Gaussian"


def test_discrete_latents_have_no_total_correlation(data: Vectors) -> None:
    assert beta_sweep.unit_metrics(build(latent="categorical"), data) == {}
    assert set(beta_sweep.unit_metrics(build(), data)) == {"active_units", "total_correlation"}

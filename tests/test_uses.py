"""What a VAE is used for: every use on a small set and small models, its figures against brute force."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from torch.distributions import Bernoulli, Normal

from tgvae.applications import (
    anomalies,
    augmentation,
    clusters,
    inpainting,
    interpolation,
    manifold,
    rate_distortion,
    samples,
)
from tgvae.applications.common import LATENTS, Shown, as_seen, require
from tgvae.data.vectors import Space, Vectors, open_vectors
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import bound_of, importance_weighted_nll
from tgvae.evaluation.plots.latent_plots import tile_images
from tgvae.evaluation.report_io import report_to_json
from tgvae.models.vae import VectorConfig, VectorVAE

SIDE = 4
SHOW: dict[str, Callable[[VectorVAE, Vectors], Shown]] = {
    "samples": lambda model, data: samples.show([model], data),
    "manifold": manifold.show,
    "completion": inpainting.show,
    "interpolation": interpolation.show,
    "clusters": clusters.show,
    "anomalies": lambda model, data: anomalies.show(model, without_b(model, data.source)),
    "augmentation": lambda model, data: augmentation.show(model, data, per_class=(1, 3), draws=2),
    "rate-distortion": lambda model, data: rate_distortion.show([model] * len(rate_distortion.BETAS), data),
}
SETTINGS: list[dict[str, object]] = [
    {},
    {"latent": "categorical", "categories": 3},
    {"likelihood": "normal"},
    {"latent": "point"},
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 pictures of three classes, each a block of ink in another corner, with noise."""
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
    return as_seen(model, open_vectors(str(file)))


@pytest.fixture(scope="module")
def strange(file: Path, model: VectorVAE) -> Vectors:
    return without_b(model, str(file))


def without_b(model: VectorVAE, source: str) -> Vectors:
    """The pictures without class b in training."""
    return as_seen(model, open_vectors(f"{source}:not=b"))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_use_shows_a_picture_with_words_and_figures(settings: dict[str, object], data: Vectors) -> None:
    model = build(**settings)
    for use in (use for use, latents in LATENTS.items() if model.config.latent in latents):
        shown = SHOW[use](model, data)
        assert shown.picture.data, use
        assert shown.caption.endswith("."), use
        figures = [figure for section in shown.report.values() for figure in section.values()]
        assert all(math.isfinite(figure.value) and figure.unit and figure.size for figure in figures), use


@pytest.mark.parametrize("use", sorted(LATENTS))
def test_the_seed_decides_what_is_shown(use: str, model: VectorVAE, data: Vectors) -> None:
    first, again = (SHOW[use](model, data) for _ in range(2))
    assert first.picture == again.picture
    assert report_to_json(first.report) == report_to_json(again.report)


@pytest.mark.parametrize("use", sorted(LATENTS))
def test_a_use_refuses_models_without_what_it_needs(use: str, data: Vectors) -> None:
    for latent in {"normal", "categorical", "point"} - set(LATENTS[use]):
        with pytest.raises(UserError, match=f"{use} needs a normal.* latent, not a {latent} one"):
            SHOW[use](build(latent=latent), data)


def test_mistakes_are_named(data: Vectors) -> None:
    with pytest.raises(UserError, match="latent size of 2, not 5"):
        require("manifold", VectorConfig(latent_size=5), data)
    bare = replace(data, splits={name: replace(split, labels=None) for name, split in data.splits.items()})
    for use in ("clusters", "anomalies", "augmentation"):
        with pytest.raises(UserError, match=f"{use} needs labels"):
            require(use, VectorConfig(), bare)
    with pytest.raises(UserError, match="digits:not=LABEL"):
        require("anomalies", VectorConfig(), replace(data, source="digits"))
    for use in ("clusters", "augmentation"):
        with pytest.raises(UserError, match=f"{use} wants every class"):
            require(use, VectorConfig(), replace(data, source="digits:not=8"))
    with pytest.raises(UserError, match="training images, not 99 to label"):
        augmentation.show(build(), data, per_class=(99,))


def test_samples_stand_beside_their_bounds(model: VectorVAE, data: Vectors) -> None:
    shown, test = samples.show([model, build(latent_size=5)], data, seed=3), data.splits["test"]
    assert list(shown.report) == ["latent size 2", "latent size 5"]
    figures = shown.report["latent size 2"]
    assert figures["-ELBO"].value == bound_of(model, test, "vector", 3).negative_elbo
    assert figures["nll, IW 100"].value == importance_weighted_nll(model, test, 100, 3, unit="vector").nll
    assert f"{figures['-ELBO'].value:.2f} nats" in shown.picture.layout.annotations[0].text
    assert figures["-ELBO"].value == pytest.approx(
        figures["rate: KL"].value + figures["distortion: -E log p(x|z)"].value
    )
    expected = tile_images(model.sample(60, 3).numpy().reshape(3, 20, 4, 4))
    assert np.array_equal(shown.picture.data[0].z, expected)


def test_the_plane_is_a_grid_of_quantiles(model: VectorVAE) -> None:
    z = manifold.quantiles(7)
    np.testing.assert_allclose(norm.cdf(z), (np.arange(7) + 0.5) / 7)
    np.testing.assert_allclose(z, -z[::-1], atol=1e-12)
    found = manifold.manifold(model, 7, 7)
    with torch.no_grad():
        corners = model.likelihood(torch.tensor([[z[0], z[-1]], [z[-1], z[0]]]).float()).mean
    torch.testing.assert_close(torch.stack((found[0, 0], found[-1, -1])), corners)


def test_the_log_loss_is_that_of_the_mean_over_draws() -> None:
    x, known = torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([True, False, False])
    given = Bernoulli(torch.tensor([[[0.5, 0.2, 0.4]], [[0.5, 0.6, 0.8]]]))
    assert inpainting.log_loss(given, x, known).item() == pytest.approx(-(math.log(0.6) + math.log(0.6)) / 2)
    assert inpainting.mistakes(given, x, known, binary=True).item() == 0
    assert inpainting.mistakes(given, 1 - x, known, binary=True).item() == 1
    assert inpainting.mistakes(given, x, known, binary=False).item() == pytest.approx(0.16)


@pytest.mark.parametrize("binary", [True, False])
def test_neighbours_are_the_nearest_by_what_is_known(binary: bool, data: Vectors) -> None:
    train, x = (torch.from_numpy(data.splits[name].x) for name in ("train", "test"))
    train = train + 0.001 * torch.rand(train.shape, generator=torch.Generator().manual_seed(0))  # no ties
    known = inpainting.upper_half(Space(16, (4, 4)))
    assert known.tolist() == [True] * 8 + [False] * 8
    found = inpainting.neighbours(train, x, known, 3, binary)
    for row in range(len(x)):
        order = sorted(range(len(train)), key=lambda i: (train[i] - x[row])[:8].square().sum())
        nearest = train[order[:3]]
        expected = (nearest.sum(0) + 1) / 5 if binary else nearest.mean(0)
        torch.testing.assert_close(found.mean[0, row].float(), expected)
    assert isinstance(found, Bernoulli if binary else Normal)
    assert inpainting.upper_half(Space(5)).tolist() == [True, True, False, False, False]


def test_a_line_goes_from_reconstruction_to_reconstruction(data: Vectors) -> None:
    x = torch.from_numpy(data.splits["test"].x)
    first, last = x[:4], x[4:8]
    for settings in ({}, {"latent": "point"}, {"latent": "categorical", "categories": 3}):
        model = build(**settings)
        found = interpolation.line(model, first, last, 5)
        with torch.no_grad():
            a, b = model.embed(first), model.embed(last)
            expected = [model.likelihood(z).mean for z in (a, (a + b) / 2, b)]
        torch.testing.assert_close(found[[0, 2, 4]], torch.stack(expected))
    torch.testing.assert_close(interpolation.straight(first, last, 3)[1], (first + last) / 2)
    with pytest.raises(UserError, match="at least 2 steps"):
        interpolation.line(model, first, last, 1)


def test_pairs_are_of_different_classes_and_nobody_is_in_two() -> None:
    labels = np.array(list("aaabbbccca"))
    first, last = interpolation.pairs(labels, 10, seed=1)
    assert (labels[first] != labels[last]).all()
    assert len({*first, *last}) == 2 * len(first)
    assert len(interpolation.pairs(None, 7, seed=1)[0]) == 3
    with pytest.raises(UserError, match="two test vectors of different classes"):
        interpolation.pairs(np.array(["a", "a"]), 2, seed=0)


def test_strangeness_is_the_distance_to_the_nearest_training_vector(data: Vectors) -> None:
    x, train = np.random.default_rng(0).random((5, 16), np.float32), data.splits["train"].x
    expected = [min(((row - other) ** 2).mean() for other in train) for row in x]
    np.testing.assert_allclose(interpolation.strangeness(x, data), expected, rtol=1e-5)
    np.testing.assert_allclose(interpolation.strangeness(train, data), 0, atol=1e-12)


def test_the_best_matching_is_the_best_of_all_permutations() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels, found = rng.choice(list("abc"), 30), rng.integers(0, 3, 30)
        # classes given to clusters in every way
        best = max(np.mean(np.array(names)[found] == labels) for names in itertools.permutations("abc"))
        assert clusters.matched(labels, found).mean() == pytest.approx(best)
        assert clusters.matched(labels, 7 - found).mean() == pytest.approx(best), "names of clusters do not count"
    assert clusters.matched(np.array(list("aabb")), np.array([0, 1, 2, 2])).tolist() == [True, False, True, True]


def test_classes_that_are_apart_are_found(data: Vectors) -> None:
    """By a model whose latents are the values: what the latents have is what the values have."""
    model = VectorVAE(VectorConfig(hidden_sizes=(), latent="point", latent_size=16), Space(16, (4, 4))).eval()
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(16))
        model.head.bias.zero_()
    found = clusters.show(model, data).report["clusters and classes"]
    for figure in found.values():
        assert figure.value == pytest.approx(figure.baselines["raw values"])
        assert figure.value > 0.8
    assert set(found["adjusted Rand index"].baselines) == {"raw values", "PCA, 16 components"}


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    rng = np.random.default_rng(0)
    strange, score = np.arange(12) < 5, rng.integers(0, 6, 12).astype(float)
    wins = [(a > b) + (a == b) / 2 for a in score[strange] for b in score[~strange]]
    scores = {"some": score, "perfect": strange.astype(float), "wrong": -strange.astype(float), "blind": score * 0}
    found = anomalies.auc_figures(strange, scores, seed=0)
    areas = {name: figure.value for name, figure in found.items()}
    assert areas == {"some": pytest.approx(np.mean(wins)), "perfect": 1, "wrong": 0, "blind": 0.5}
    assert found["perfect"].error == 0
    assert found["some"].error is not None
    assert found["some"].error > 0
    for line in anomalies.roc_curves(strange, scores).data:
        assert (line.x[0], line.y[0], line.x[-1], line.y[-1]) == (0, 0, 1, 1)


def test_the_whole_class_left_out_is_told_from_the_rest_of_the_test_split(model: VectorVAE, strange: Vectors) -> None:
    found = anomalies.strange_and_others(model, strange)
    rest = strange.splits["test"].labels != "b"
    assert (found.labels == "b").sum() == 50
    assert np.array_equal(found.x[50:], strange.splits["test"].x[rest])
    assert set(np.unique(found.x)) == {0, 1}, "as the model sees it"
    assert "b" not in strange.splits["train"].labels
    scores = anomalies.strangeness(model, strange, found, seed=0)
    weighted = importance_weighted_nll(model, found, 100, 0, unit="vector").bound.total()
    assert np.array_equal(scores["VAE, IW 100"], weighted)
    shown = anomalies.show(model, strange).report["telling class b"]
    assert shown["VAE, IW 100"].value == roc_auc_score(found.labels == "b", weighted)


def test_nothing_but_the_class_left_out_is_a_mistake(model: VectorVAE, strange: Vectors) -> None:
    test = strange.splits["test"]
    alone = replace(test, x=test.x[:0], labels=test.labels[:0])
    with pytest.raises(UserError, match="needs other classes than b"):
        anomalies.show(model, replace(strange, splits=strange.splits | {"test": alone}))


def test_as_many_of_each_class_are_labelled_and_fewer_are_among_more() -> None:
    labels = np.array(list("abcabcabca"))
    few, more = (augmentation.chosen(labels, count, seed=2) for count in (1, 3))
    assert sorted(labels[few]) == list("abc")
    assert sorted(labels[more]) == list("aaabbbccc")
    assert (few <= more).all()
    assert not np.array_equal(few, augmentation.chosen(labels, 1, seed=3))
    with pytest.raises(UserError, match="class b has 3 training images, not 4"):
        augmentation.chosen(labels, 4, seed=0)


def test_copies_are_draws_of_the_decoder_and_noise_is_as_large() -> None:
    model = build()
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.copy_(torch.logit(torch.full((16,), 0.3)))
    x = np.zeros((4000, 16), np.float32)
    copied = augmentation.copies(model, x, seed=0)
    assert copied.mean() == pytest.approx(0.3, abs=0.01)
    flipped = augmentation.noise_like(copied, x, binary=True, seed=0)
    assert set(np.unique(flipped)) == {0, 1}
    assert flipped.mean() == pytest.approx(copied.mean(), abs=0.01)
    noisy = augmentation.noise_like(x + 2, x, binary=False, seed=0)
    assert (noisy.dtype, noisy.std()) == (np.float32, pytest.approx(2, abs=0.03))
    assert np.array_equal(augmentation.noise_like(x, x, binary=True, seed=0), x)


def test_accuracies_are_means_over_draws(model: VectorVAE, file: Path) -> None:
    found = augmentation.figures_of([{"pixels": 0.5}, {"pixels": 0.7}, {"pixels": 0.9}], seed=0)["pixels"]
    assert (found.value, found.size) == (pytest.approx(0.7), 3)
    assert found.error == pytest.approx(0.2 / math.sqrt(3))
    whole = as_seen(model, open_vectors(str(file)))
    assert augmentation.accuracies(model, whole, 10, seed=0)["pixels"] > 0.9, "ink in different corners is told apart"


def test_total_correlation_is_that_of_the_gaussian() -> None:
    rho = 0.6
    loc = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]).double()
    loc = loc @ torch.tensor([[1.0, rho], [0.0, math.sqrt(1 - rho**2)]]).double()  # covariance 1, rho, 1 exactly
    assert rate_distortion.total_correlation(loc, loc * 0) == pytest.approx(-0.5 * math.log(1 - rho**2))
    assert rate_distortion.total_correlation(loc, loc * 0 + 1) == pytest.approx(-0.5 * math.log(1 - (rho / 2) ** 2))
    assert rate_distortion.total_correlation(loc[:1], loc[:1] * 0 + 1) == 0, "one vector: a diagonal Gaussian"


def test_lines_of_equal_elbo_pass_through_the_best_and_the_worst() -> None:
    *lines, points = rate_distortion.curve((0.1, 1.0), (9.0, 2.0), (4.0, 6.0)).data
    sums = [{round(x + y, 9) for x, y in zip(line.x, line.y, strict=True)} for line in lines]
    assert sums == [{total} for total in (8, 9.25, 10.5, 11.75, 13)]
    assert (list(points.x), list(points.y), list(points.text)) == ([9, 2], [4, 6], ["0.1", "1"])
    assert rate_distortion.curve((1.0,), (2.0,), (3.0,)).layout.yaxis.range == (2, 4), "a single point has room"


def test_a_discrete_latent_has_no_total_correlation(data: Vectors) -> None:
    assert rate_distortion.unit_figures(build(latent="categorical"), data) == {}
    assert set(rate_distortion.unit_figures(build(), data)) == {"active units", "total correlation of the aggregate"}

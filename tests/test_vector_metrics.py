"""Evaluations of models of vectors and graphs: figures against closed forms, and the commands from run to page."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import bernoulli, norm
from sklearn.decomposition import PCA

from tests.conftest import out_of, refused
from tgvae.cli.main import main
from tgvae.data.graph_io import open_graph
from tgvae.data.graphs import split_edges
from tgvae.data.schema import PreparedFolder
from tgvae.data.vectors import Space, VectorSplit
from tgvae.evaluation import vector_metrics as module
from tgvae.evaluation.eval_config import EvalConfig
from tgvae.evaluation.latent import mutual_information
from tgvae.evaluation.likelihood import importance_weighted_nll
from tgvae.evaluation.link_prediction import link_metrics
from tgvae.evaluation.metric import Metrics, Report, difference
from tgvae.evaluation.plots.catalog import render_section
from tgvae.evaluation.report import evaluate
from tgvae.evaluation.report_data import (
    ReportData,
    node_embeddings,
    reconstruct_images,
    sample_images,
    vector_embeddings,
)
from tgvae.evaluation.vector_metrics import (
    Categories,
    baselines,
    gaussians,
    independent_values,
    neighbour_hits,
    vector_likelihood_metrics,
)
from tgvae.models.vae import VectorConfig, VectorVAE
from tgvae.models.vgae import GraphConfig, GraphVAE
from tgvae.runs import load_run

QUICK = EvalConfig(samples=3)
SPACE = Space(6, (2, 3))


def split(name: str, count: int, labels: bool = True, seed: int = 0) -> VectorSplit:
    """Binary vectors of two kinds: ones in front, or at the back."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, count)
    p = np.where(kind[:, None] == 1, [0.9, 0.9, 0.9, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.9, 0.9, 0.9])
    x = (rng.random((count, 6)) < p).astype(np.float32)
    return VectorSplit("made up", name, x, kind.astype(str) if labels else None)


def build(latent: str = "normal", likelihood: str = "bernoulli", space: Space = SPACE) -> VectorVAE:
    torch.manual_seed(0)
    config = VectorConfig((8,), latent_size=2, latent=latent, categories=3, likelihood=likelihood)
    return VectorVAE(config, space).eval()


def measured(latent: str = "normal", likelihood: str = "bernoulli", protocol: EvalConfig = QUICK) -> Report:
    return evaluate(build(latent, likelihood), split("train", 40), split("test", 30, seed=1), protocol).report


def values(figures: Metrics) -> dict[str, float]:
    return {name: figure.value for name, figure in figures.items()}


# Likelihood


def test_independent_values_by_hand() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]).double()
    fitted = independent_values(x, binary=True)
    expected = bernoulli.logpmf([1, 1], [3 / 5, 1 / 5]).sum()
    assert fitted.log_prob(torch.ones(2).double()).item() == pytest.approx(expected), "what was never seen is possible"
    x = torch.tensor([[1.0, 0.0], [3.0, 0.0]]).double()
    fitted = independent_values(x, binary=False)
    scale = math.sqrt((1 + 1 + 0 + 0) / 4)
    expected = norm.logpdf([2, 1], [2, 0], scale).sum()
    assert fitted.log_prob(torch.tensor([2.0, 1.0]).double()).item() == pytest.approx(expected)
    constant = independent_values(torch.ones(3, 2).double(), binary=False)
    assert constant.log_prob(torch.ones(2).double()).item() == pytest.approx(2 * norm.logpdf(0, 0, math.exp(-6)))


def principal(pca: PCA, widened: float = 1.0) -> VectorVAE:
    """The linear VAE that is probabilistic PCA, with its exact posterior, or one of a wider scale.

    p(x | z) = N(W z + b, s^2), q(z | x) = N(M^-1 W' (x - b), s^2 M^-1), M = W'W + s^2, which is diagonal.
    """
    size, values = pca.components_.shape
    model = VectorVAE(VectorConfig((), latent_size=size, likelihood="normal"), Space(values)).eval()
    noise = pca.noise_variance_
    weight = torch.from_numpy(pca.components_.T * np.sqrt(pca.explained_variance_ - noise))
    b, m = torch.from_numpy(pca.mean_), torch.from_numpy(pca.explained_variance_)
    parameters = {
        "head.loc.weight": weight.T / m.unsqueeze(-1),
        "head.loc.bias": -(weight.T @ b) / m,
        "head.log_scale.weight": torch.zeros(size, values),
        "head.log_scale.bias": 0.5 * (noise / m).log() + math.log(widened),
        "output.weight": weight,
        "output.bias": b,
        "log_scale": torch.tensor(0.5 * math.log(noise)),
    }
    model.load_state_dict(parameters)
    return model


def gaussian_data(count: int = 80) -> VectorSplit:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(count, 2)) @ rng.normal(size=(2, 5)) + 0.5 * rng.normal(size=(count, 5)) + 1
    return VectorSplit("made up", "train", x.astype(np.float32), None)


def test_a_linear_gaussian_vae_is_probabilistic_pca() -> None:
    data = gaussian_data()
    pca = PCA(2).fit(data.x.astype(np.float64))
    oracle = -pca.score(data.x)
    figures = vector_likelihood_metrics(principal(pca), data, data, samples=3, seed=0)
    exact = figures["nll_iw_per_vector_density"]
    assert exact.value == pytest.approx(oracle, rel=1e-5), "with the exact posterior all weights are the same"
    assert exact.baselines["pca"] == pytest.approx(oracle)
    assert exact.baselines["independent_values"] > oracle
    assert figures["nll_iw_per_value_density"].value == pytest.approx(oracle / 5, rel=1e-5)
    assert figures["nll_iw_per_value_density"].baselines["pca"] == pytest.approx(oracle / 5)
    assert exact.error == pytest.approx(np.std(pca.score_samples(data.x), ddof=1) / math.sqrt(80), rel=1e-4)


def test_a_wrong_posterior_is_weighted_to_the_same_likelihood() -> None:
    data = gaussian_data(20)
    pca = PCA(2).fit(data.x.astype(np.float64))
    model, oracle = principal(pca, widened=1.5), -pca.score(data.x)
    estimates = [importance_weighted_nll(model, data, 400, seed, unit="vector").nll for seed in range(5)]
    error = np.std(estimates, ddof=1) / math.sqrt(5)
    assert 0 < error < 0.02
    assert np.mean(estimates) == pytest.approx(oracle, abs=4 * error + 0.005)
    figures = values(vector_likelihood_metrics(model, data, data, samples=3, seed=0))
    assert figures["neg_elbo_per_vector_density"] > figures["nll_iw_per_vector_density"] > oracle


def test_pca_is_left_out_where_it_is_not_defined() -> None:
    data = gaussian_data()
    many = VectorVAE(VectorConfig((), latent_size=5, likelihood="normal"), Space(5))
    assert set(baselines(many, data.x, data.x)) == {"independent_values"}, "no value is left for the noise"
    flat = np.repeat(data.x[:, :1], 5, axis=1)
    few = VectorVAE(VectorConfig((), latent_size=2, likelihood="normal"), Space(5))
    assert set(baselines(few, flat, flat)) == {"independent_values"}, "there is no noise"
    assert set(baselines(few, data.x, data.x)) == {"independent_values", "pca"}
    assert set(baselines(build(), split("train", 9).x, split("test", 9).x)) == {"independent_values"}, "not of bits"


@pytest.mark.parametrize("latent", ["normal", "categorical"])
@pytest.mark.parametrize(("likelihood", "of"), [("bernoulli", ""), ("normal", "_density")])
def test_the_bound_in_both_units(latent: str, likelihood: str, of: str) -> None:
    figures = measured(latent, likelihood)["likelihood"]
    found = values(figures)
    for unit in ("image", "value"):
        parts = found[f"reconstruction_per_{unit}{of}"] + found[f"kl_per_{unit}"]
        assert found[f"neg_elbo_per_{unit}{of}"] == pytest.approx(parts)
        assert "independent_values" in figures[f"neg_elbo_per_{unit}{of}"].baselines
        assert figures[f"neg_elbo_per_{unit}{of}"].baselines == figures[f"nll_iw_per_{unit}{of}"].baselines
    assert found[f"neg_elbo_per_image{of}"] == pytest.approx(6 * found[f"neg_elbo_per_value{of}"])
    assert {figure.size for figure in figures.values()} == {30}
    assert len(found) == 8
    shown = vector_likelihood_metrics(build(latent, likelihood), split("train", 40), split("test", 30, seed=1), 0, 0)
    assert not any("_iw" in name for name in shown)


def test_a_deterministic_autoencoder_has_no_bound() -> None:
    figures = measured("point")["likelihood"]
    assert set(figures) == {"reconstruction_per_image", "reconstruction_per_value"}
    assert {figure.unit for figure in figures.values()} == {"nats, no bound"}
    assert figures["reconstruction_per_image"].seed is None
    test, model = split("test", 30, seed=1), build("point")
    by_hand = -model.likelihood(model.embed(torch.from_numpy(test.x))).log_prob(torch.from_numpy(test.x))
    assert figures["reconstruction_per_image"].value == pytest.approx(by_hand.mean().item(), rel=1e-6)


def test_runs_are_compared_image_by_image() -> None:
    a, b = (measured(latent)["likelihood"]["neg_elbo_per_image"] for latent in ("normal", "categorical"))
    assert difference(a, b).paired
    a, b = (measured(latent)["latent"]["knn_accuracy"] for latent in ("normal", "point"))
    assert difference(a, b).paired


def test_the_seed_alone_decides() -> None:
    def found(seed: int) -> dict[str, float]:
        return values(measured(protocol=replace(QUICK, seed=seed))["likelihood"])

    assert found(1) == found(1)
    assert found(1) != found(2)


# Latent


def test_sections_of_the_latent() -> None:
    shared = ["mutual_information", "knn_accuracy"]
    assert set(measured("normal")["latent"]) == {*shared, "active_units"}
    assert measured("normal")["latent"]["active_units"].unit == "of 2"
    discrete = {"posterior_entropy", "category_perplexity", "unused_categories"}
    assert set(measured("categorical")["latent"]) == {*shared, *discrete}
    assert set(measured("point")["latent"]) == {"knn_accuracy"}
    without = [split(name, 20, labels=False) for name in ("train", "test")]
    assert "latent" not in evaluate(build("point"), *without, QUICK).report
    assert "knn_accuracy" not in evaluate(build(), *without, QUICK).report["latent"]
    single = evaluate(build(), without[0], split("test", 1, labels=False), QUICK).report["latent"]
    assert values(single) == {"active_units": 0}, "no information in one image"


def test_vectors_that_are_no_pictures_are_called_vectors() -> None:
    model = build(space=Space(6))
    found = evaluate(model, split("train", 9), split("test", 9), QUICK).report
    assert "neg_elbo_per_vector" in found["likelihood"]
    assert found["latent"]["mutual_information"].name == "mutual information of vector and z"


def test_gaussians_are_those_of_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = build(), split("test", 11)
    whole = gaussians(model, data)
    q = model.posterior(torch.from_numpy(data.x))
    torch.testing.assert_close(whole.means.float(), q.mean)
    torch.testing.assert_close(whole.scale.float(), q.stddev)
    monkeypatch.setitem(module.BATCH_SIZES, "vector", 4)
    torch.testing.assert_close(gaussians(model, data).means, whole.means)
    z = torch.randn(3, 2).double()
    expected = torch.stack([q.log_prob(row.float()) for row in z], dim=1)
    torch.testing.assert_close(whole.log_densities(slice(0, 11), z).float(), expected, rtol=1e-4, atol=1e-4)


def of_probabilities(rows: list[list[list[float]]]) -> Categories:
    return Categories(torch.tensor(rows, dtype=torch.float64).clamp_min(1e-300).log())


def test_use_of_categories_by_hand() -> None:
    """The first variable is sure and uses two of three categories evenly; the second ignores x."""
    third = [1 / 3 + 2e-9, 1 / 3 - 1e-9, 1 / 3 - 1e-9]
    found = of_probabilities([[[1, 0, 0], third], [[0, 1, 0], third]]).metrics()
    assert found["posterior_entropy"].value == pytest.approx(math.log(3) / 2)
    assert found["posterior_entropy"].baselines == {"ln_c": pytest.approx(math.log(3))}
    assert found["category_perplexity"].value == pytest.approx((2 + 3) / 2)
    assert (found["unused_categories"].value, found["unused_categories"].unit) == (3, "of 6")


def test_information_of_categories_is_that_of_enumeration() -> None:
    logits = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(0)).double() * 2
    found = Categories(logits.log_softmax(-1))
    every = torch.tensor(list(itertools.product(range(3), repeat=2)))
    z = torch.nn.functional.one_hot(every, 3).double()
    log_q = found.log_densities(slice(0, 7), z)
    torch.testing.assert_close(log_q.exp().sum(1), torch.ones(7).double())
    by_hand = found.log_probs[4, 0, every[5, 0]] + found.log_probs[4, 1, every[5, 1]]
    assert log_q[4, 5].item() == pytest.approx(by_hand.item())
    exact = (log_q.exp() * (log_q - log_q.exp().mean(0).log())).sum(1).mean().item()
    measured = mutual_information(found, 4000)
    assert measured.nats == pytest.approx(exact, abs=4 * measured.standard_error)
    assert measured.standard_error < 0.05


def test_information_of_categories_at_its_ends() -> None:
    told = of_probabilities([[[float(i == j) for j in range(4)]] for i in range(4)])
    assert mutual_information(told, 8).nats == pytest.approx(math.log(4))
    silent = of_probabilities([[[0.2, 0.3, 0.5]]] * 4)
    assert mutual_information(silent, 8).nats == pytest.approx(0, abs=1e-12)


def test_neighbours_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(40, 3)), rng.normal(size=(15, 3))
    labels, gold = rng.integers(0, 2, 40).astype(str), rng.integers(0, 2, 15).astype(str)
    expected = []
    for point, label in zip(test, gold, strict=True):
        nearest = np.argsort(((train - point) ** 2).sum(1))[:5]
        expected.append((labels[nearest] == label).sum() >= 3)
    assert neighbour_hits(train, labels, test, gold).tolist() == expected
    few = neighbour_hits(train[:2], np.array(["a", "a"]), test[:2], np.array(["a", "b"]))
    assert few.tolist() == [True, False], "fewer training vectors than neighbours; a label that training lacks"


def test_separate_kinds_are_told_apart() -> None:
    figure = measured()["latent"]["knn_accuracy"]
    assert figure.baselines["raw_values"] > 0.9
    assert figure.size == 30
    assert 0.5 < figure.value <= 1


# Embeddings and images


def test_points_of_vectors() -> None:
    model, data = build(), split("test", 12)
    points = vector_embeddings(model, data)
    assert points.items == "images"
    assert points.group_names == ["0", "1"]
    assert [points.group_names[i] for i in points.group] == data.labels.tolist()
    assert points.texts[3] == "test 3"
    np.testing.assert_allclose(points.means, model.embed(torch.from_numpy(data.x)).detach(), rtol=1e-5)
    plain = vector_embeddings(build(space=Space(6)), split("test", 12, labels=False))
    assert (plain.items, plain.group_names, set(plain.group)) == ("vectors", ["vectors"], {0})
    for shown, labelled in ((points, True), (plain, False)):
        (plot,) = render_section(ReportData(embeddings=shown), "Latent space")
        assert len(plot.figure.data) == len(shown.group_names)
        assert f"held-out {shown.items}" in plot.caption
        assert ("by label" in plot.caption) == labelled
    assert vector_embeddings(build("categorical"), data).means.shape == (12, 2 * 3)


def test_pictures_are_in_the_shape_of_pictures() -> None:
    data = split("test", 30)
    shown = reconstruct_images(build(), data)
    assert shown.shape == (2, 20, 2, 3)
    np.testing.assert_array_equal(shown[0].reshape(20, 6), data.x[:20])
    assert ((shown[1] > 0) & (shown[1] < 1)).all()
    assert sample_images(build()).shape == (3, 20, 2, 3)
    assert sample_images(build("point")) is None
    assert reconstruct_images(build("point"), data).shape == (2, 20, 2, 3)
    assert sample_images(build(space=Space(6))) is None
    assert reconstruct_images(build(space=Space(6)), data) is None


def test_points_of_nodes(edges: Path) -> None:
    graph = open_graph(str(edges))
    model = GraphVAE.from_data(GraphConfig(4, 2), graph).eval()
    plain = node_embeddings(model, split_edges(graph)["test"])
    assert (plain.items, plain.group_names) == ("nodes", ["nodes"])
    assert plain.texts == graph.names
    assert plain.means.shape == (graph.nodes, 2)
    labelled = replace(graph, labels=np.arange(graph.nodes) % 3 - 1)
    points = node_embeddings(model, split_edges(labelled)["test"])
    assert points.group_names == ["no label", "label 0", "label 1"]
    assert points.group[:4].tolist() == [0, 1, 2, 0]


# The commands


SMALL = ["--model.hidden-sizes", "16", "--train.phases.vectors.epochs", "3", "--train.device", "cpu"]
RUNS = {"vae": "digits-vae", "ae": "digits-autoencoder", "discrete": "digits-discrete-vae"}
OPTIONS = ["--samples", "3"]


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two communities of twelve, densely linked within, with one link between."""
    rng = np.random.default_rng(0)
    pairs = [(side + i, side + j) for side in (0, 12) for i in range(12) for j in range(i) if rng.random() < 0.7]
    path = tmp_path_factory.mktemp("graph") / "links.tsv"
    path.write_text("".join(f"n{i}\tn{j}\n" for i, j in [*pairs, (0, 12)]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def place(edges: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on digits and on the graph, evaluated."""
    place = tmp_path_factory.mktemp("runs")
    for name, recipe in RUNS.items():
        assert main(["train", "digits", "--out", str(place / name), "--recipe", recipe, *SMALL]) == 0
    for name, recipe in {"graph": "graph-vae", "plain": "graph-autoencoder"}.items():
        options = ["--train.phases.edges.epochs", "20", "--train.seed", "3", "--train.device", "cpu"]
        assert main(["train", str(edges), "--out", str(place / name), "--recipe", recipe, *options]) == 0
    return place


def test_runs_on_vectors_side_by_side_and_compared(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    runs = list(RUNS)
    assert main(["evaluate", *runs, *OPTIONS]) == 0
    printed = capsys.readouterr()
    shown = " ".join(printed.out.split())
    assert shown.index("Likelihood") < shown.index("nll, IW 3 per image nats") < shown.index("Latent")
    assert "independent values" in shown
    assert "discrete/evaluation/report.html\n" in printed.err
    report = json.loads(Path("ae/evaluation/report.json").read_text(encoding="utf-8"))
    assert report["sections"]["likelihood"]["reconstruction_per_image"]["unit"] == "nats, no bound"
    assert report["data"]["path"] == "digits"
    found = json.loads(out_of(capsys, "compare", *runs, "--json"))
    other = found["discrete"]
    assert other["likelihood/nll_iw_per_image"]["paired"] is True
    assert other["latent/knn_accuracy"]["paired"] is True
    assert set(found["ae"]) == {
        "likelihood/reconstruction_per_image",
        "likelihood/reconstruction_per_value",
        "latent/knn_accuracy",
    }


def test_runs_on_graphs(place: Path, edges: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = out_of(capsys, "evaluate", place / "graph", place / "plain", *OPTIONS, "--json")
    joint, plain = json.loads(out)["runs"].values()
    assert (set(joint), set(plain)) == ({"links", "latent"}, {"links"})
    assert set(joint["latent"]) == {"mutual_information", "active_units"}
    model = load_run(place / "graph")
    held_out = split_edges(open_graph(str(edges)), seed=3)["test"]  # as in training: no edge that the model has seen
    expected = link_metrics(model, held_out, 0)
    assert joint["links"]["auc"]["value"] == expected["auc"].value
    assert joint["links"]["auc"]["size"] == 2 * len(held_out.linked)


@pytest.mark.parametrize("name", ["vae", "graph"])
def test_pages(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out_of(capsys, "evaluate", place / name, *OPTIONS, "--split", "valid")
    page = (place / name / "evaluation/report.html").read_text(encoding="utf-8")
    pictures = ["Latent space", "Training curves", "Rate and distortion"]
    for heading in pictures + (["Samples", "Reconstructions"] if name == "vae" else []):
        assert f">{heading}</a></h3>" in page
    assert "Topics" not in page[page.index("<main>") :]
    assert f"<h1>Evaluation of {name}</h1>" in page


@pytest.fixture(scope="module")
def written(prepared: PreparedFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on text."""
    run = tmp_path_factory.mktemp("text") / "topic"
    small = ["--model.topics", "3", "--model.hidden-size", "8", "--train.phases.topics.epochs", "1"]
    assert main(["train", str(prepared.path), "--out", str(run), "--recipe", "topic", *small]) == 0
    return run


def test_other_data_is_told(place: Path, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for other in (place / "graph", written):
        told = refused(capsys, "evaluate", place / "vae", other)
        assert f"{other}: trained on other data than {place / 'vae'}" in told
    for run in (place / "vae", place / "graph"):
        out_of(capsys, "evaluate", run, *OPTIONS)
    assert "evaluated on another data set" in refused(capsys, "compare", place / "vae", place / "graph")
    few = tmp_path / "few.npz"
    np.savez(few, x=np.ones((20, 8, 8)) / 2)
    assert "not the data that" in refused(capsys, "evaluate", place / "vae", "--data", few)
    assert "no graph" in refused(capsys, "evaluate", place / "graph", "--data", tmp_path / "gone.tsv")

"""One list of autoencoders of vectors through the same contract, and through the loop."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from tests.test_training import killed_run
from tgvae.data.corruption import Corruption
from tgvae.data.vectors import Space, VectorBatch, Vectors, VectorSplit, open_vectors
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import Bound, bound_of, importance_weighted_nll
from tgvae.models.base import add_noise, load
from tgvae.models.vae import VectorConfig, VectorVAE
from tgvae.recipes import RECIPES, Recipe
from tgvae.runs import build, resume_run, start_run
from tgvae.schedules import Schedule
from tgvae.trace import objective
from tgvae.training import loop
from tgvae.training.config import Phase, TrainConfig

VAE = VectorConfig((16,), latent_size=3)
DISCRETE = replace(VAE, latent="categorical", categories=4)
POINT = replace(VAE, latent="point")
CONFIGS = {
    "vae": VAE,
    "vae-deep": replace(VAE, hidden_sizes=(16, 12)),
    "vae-normal": replace(VAE, likelihood="normal"),
    "vae-linear": replace(VAE, hidden_sizes=(), likelihood="normal"),
    "discrete": DISCRETE,
    "discrete-straight-through": replace(DISCRETE, straight_through=True),
    "discrete-normal": replace(DISCRETE, likelihood="normal"),
    "discrete-linear": replace(DISCRETE, hidden_sizes=()),
    "autoencoder": POINT,
    "autoencoder-normal": replace(POINT, likelihood="normal"),
    "autoencoder-linear": replace(POINT, hidden_sizes=(), likelihood="normal"),
}
STOCHASTIC = [name for name, config in CONFIGS.items() if config.latent != "point"]
ROWS = 12


@pytest.fixture(scope="module")
def digits() -> Vectors:
    return open_vectors("digits")


@pytest.fixture(scope="module")
def held_out(digits: Vectors) -> VectorSplit:
    return digits.splits["test"].binarised()


@pytest.fixture
def batch(held_out: VectorSplit) -> VectorBatch:
    return held_out.gather(np.arange(ROWS))


def made(config: VectorConfig, size: int = 64) -> VectorVAE:
    """A fresh model, its weights larger than usual so that z matters."""
    torch.manual_seed(0)
    model = VectorVAE(config, Space(size))
    with torch.no_grad():
        model.output.weight *= 5
    return model


def of_rows(batch: VectorBatch, rows: Tensor) -> VectorBatch:
    return VectorBatch(batch.x[rows], batch.encoder_inputs[rows], batch.index[rows])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("training", [True, False])
def test_terms_are_one_finite_value_a_row(name: str, training: bool, batch: VectorBatch) -> None:
    trace = made(CONFIGS[name]).train(training).trace(batch, samples=3)
    terms, stochastic = trace.terms("vector"), name in STOCHASTIC
    assert set(terms) == ({"nll/x", "kl/z"} if stochastic else {"nll/x"})
    for term, value in terms.items():
        assert value.shape == (ROWS,), term
        assert torch.isfinite(value).all(), term
    assert (terms.get("kl/z", torch.ones(1)) > 0).all()
    assert trace.log_weights("vector").shape == (3 if stochastic else 1, ROWS)
    assert trace.terms("document") == {}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_has_a_gradient(name: str, batch: VectorBatch) -> None:
    model = made(CONFIGS[name])
    objective(model(batch), {}).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("name", CONFIGS)
def test_save_and_load_keep_the_function(name: str, batch: VectorBatch, tmp_path: Path) -> None:
    model = made(CONFIGS[name]).eval()
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, VectorVAE)
    assert (again.config, again.space) == (model.config, model.space)
    torch.manual_seed(1)
    expected = model(batch)
    torch.manual_seed(1)
    for term, value in again(batch).items():
        torch.testing.assert_close(value, expected[term], rtol=0, atol=0)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".safetensors"}, "no pickle"


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_know_nothing_of_each_other(name: str, batch: VectorBatch) -> None:
    """In another order, and each alone: the same KL, code and likelihood of x given that code."""
    model = made(CONFIGS[name]).eval()

    def found(rows: Tensor) -> Tensor:
        part = of_rows(batch, rows)
        code = model.embed(part.encoder_inputs)
        values = [code.flatten(1), model.likelihood(code).log_prob(part.x).unsqueeze(1)]
        return torch.cat(values + [kl.unsqueeze(1) for n, kl in model.trace(part).terms().items() if n == "kl/z"], 1)

    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))
    whole = found(torch.arange(ROWS))
    torch.testing.assert_close(found(order), whole[order])
    torch.testing.assert_close(torch.cat([found(torch.tensor([row])) for row in range(ROWS)]), whole)


def every_z(config: VectorConfig) -> tuple[Tensor, float]:
    """All latents of a small model, (K, 1, ...), and the log of the volume of each: one-hot, or points of a grid."""
    if config.latent == "categorical":
        categories = torch.cartesian_prod(*[torch.arange(config.categories)] * config.latent_size)
        return torch.eye(config.categories)[categories].unsqueeze(1), 0.0
    grid = torch.linspace(-9, 9, 2001)
    return grid.view(-1, 1, 1), math.log(grid[1] - grid[0])


SMALL = {"discrete": replace(DISCRETE, latent_size=2, categories=3), "vae": replace(VAE, latent_size=1)}


@torch.no_grad()
@pytest.mark.parametrize("name", SMALL)
def test_terms_are_expectations_over_the_posterior(name: str, batch: VectorBatch) -> None:
    model = made(SMALL[name]).eval()
    z, log_volume = every_z(model.config)
    q, count = model.posterior(batch.x), 4000
    assert q is not None
    mass = (q.log_prob(z) + log_volume).exp()
    log_px = model.likelihood(z).log_prob(batch.x)
    expected = {"nll/x": -(mass * log_px).sum(0), "kl/z": (mass * (q.log_prob(z) - model.prior().log_prob(z))).sum(0)}
    torch.manual_seed(1)
    found = model.trace(batch, count).terms()
    torch.testing.assert_close(found["kl/z"], expected["kl/z"], rtol=1e-4, atol=1e-4)
    error = ((mass * log_px.square()).sum(0) - expected["nll/x"].square()).clamp_min(0).sqrt() / count**0.5
    assert ((found["nll/x"] - expected["nll/x"]).abs() < 5 * error + 1e-3).all()


@pytest.mark.parametrize("name", SMALL)
def test_importance_weighting_falls_to_the_exact_nll(name: str, held_out: VectorSplit) -> None:
    model = made(SMALL[name]).eval()
    z, log_volume = every_z(model.config)
    with torch.no_grad():
        joint = model.likelihood(z).log_prob(torch.from_numpy(held_out.x)) + model.prior().log_prob(z)
    exact = -(joint + log_volume).logsumexp(0).mean().item()
    for seen in (Corruption(), Corruption("mask", 0.3)):  # a bound, whatever the encoder reads
        found = [
            importance_weighted_nll(model, held_out, s, unit="vector", corruption=seen).nll for s in (1, 5, 50, 500)
        ]
        assert found == sorted(found, reverse=True)
        assert found[0] > exact + 0.2
        assert found[-1] == pytest.approx(exact, abs=0.03)


def test_a_point_is_no_draw(held_out: VectorSplit) -> None:
    """-log p(x | mu(x)), however many samples are asked for."""
    model = made(POINT).eval()
    nll = bound_of(model, held_out, "vector")
    assert list(nll.terms) == ["nll/x"]
    for samples in (1, 30):
        assert importance_weighted_nll(model, held_out, samples, unit="vector").nll == pytest.approx(nll.negative_elbo)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("discrete")])
def test_categories_are_relaxed_in_training_alone(name: str, batch: VectorBatch) -> None:
    model = made(CONFIGS[name])
    for training in (True, False):
        z = model.train(training).trace(batch, 5).latents["z"].z
        assert z.shape == (5, ROWS, 3, 4)
        torch.testing.assert_close(z.sum(-1), torch.ones(5, ROWS, 3))
        one_hot = ((z.amax(-1) - 1).abs() < 1e-6).all().item()
        assert one_hot == (not training or "straight-through" in name)
    assert model.train().trace(batch, 5, temperature=1e-3).latents["z"].z.amax(-1).mean() > 0.99


def test_categories_are_drawn_from_the_posterior(batch: VectorBatch) -> None:
    model, count = made(DISCRETE).eval().requires_grad_(False), 5000
    found = model.trace(of_rows(batch, torch.tensor([0])), count).latents["z"].z.sum(0)[0].numpy()
    expected = count * model.embed(batch.encoder_inputs[:1])[0].double().numpy()
    for observed, wanted in zip(found, expected, strict=True):
        assert scipy.stats.chisquare(observed, wanted, sum_check=False).pvalue > 1e-3


@pytest.mark.parametrize("name", CONFIGS)
def test_the_encoder_reads_what_is_seen_and_the_likelihood_scores_what_is_clean(name: str, batch: VectorBatch) -> None:
    model = made(CONFIGS[name]).eval()
    noisy = replace(batch, encoder_inputs=1 - batch.x)
    trace = model.trace(noisy)
    assert trace.observed["x"].x is batch.x
    code = trace.latents["z"].q.mean if name in STOCHASTIC else model.embed(noisy.encoder_inputs)
    torch.testing.assert_close(code, model.embed(1 - batch.x))
    assert (code - model.embed(batch.x)).abs().max() > 0.01


def test_noise_has_the_standard_deviation_asked_for() -> None:
    z = torch.zeros(20_000, 3)
    assert add_noise(z, 0.0) is z
    assert add_noise(z, 0.5).std().item() == pytest.approx(0.5, rel=0.02)


def test_noise_on_z_reaches_the_decoder(batch: VectorBatch) -> None:
    model = made(POINT)
    assert (model(batch, latent_noise=3.0)["nll/x"] - model(batch)["nll/x"]).abs().min() > 0


@torch.no_grad()
@pytest.mark.parametrize("name", SMALL)
def test_samples_are_means_given_draws_of_the_prior(name: str) -> None:
    model, count = made(SMALL[name], size=6), 4000
    found = model.sample(count, seed=3)
    assert found.shape == (count, 6)
    assert ((found > 0) & (found < 1)).all()
    z, log_volume = every_z(model.config)
    mass = (model.prior().log_prob(z) + log_volume).exp()
    expected = (mass.unsqueeze(-1) * model.likelihood(z).mean).sum(0)
    assert ((found.mean(0) - expected).abs() < 5 * found.std(0) / count**0.5).all()
    assert torch.equal(model.sample(count, seed=3), found)
    assert not torch.equal(model.sample(count, seed=4), found)


def test_sampling_leaves_the_callers_randomness_alone() -> None:
    model = made(VAE)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert model.sample(0).shape == (0, 64)
    model.sample(2)
    assert torch.equal(torch.rand(2), expected)


def test_a_point_has_no_prior_to_draw_from() -> None:
    with pytest.raises(UserError, match="no prior to draw from; use a VAE"):
        made(POINT).sample(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_size": 0}, "latent_size is 0"),
        ({"categories": -1}, "categories is -1"),
        ({"hidden_sizes": (8, 0)}, "hidden_sizes is 0"),
    ],
)
def test_sizes_are_at_least_1(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"{message}; it must be at least 1"):
        VectorConfig(**settings)


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    made(VAE).save_pretrained(tmp_path)
    space = tmp_path / "space.json"
    cases = ((b"{", "damaged"), (b"[8]", "expected an object"), (b'{"size": "8"}', "size"), (b"\xff", "damaged"))
    for content, message in (*cases, (b'{"size": 7}', "changed")):
        space.write_bytes(content)
        with pytest.raises(UserError, match=message):
            load(tmp_path)
    space.unlink()
    with pytest.raises(UserError, match="missing; copy the whole folder"):
        load(tmp_path)


def short(phase: Phase, config: VectorConfig = VAE) -> Recipe:
    return Recipe("vector-vae", config, TrainConfig({"vectors": phase}, device="cpu", save_minutes=0.0), "digits")


def validations(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "valid"]


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe().data == "digits"])
def test_recipes_of_digits_learn_in_two_epochs(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]()
    (phase,) = recipe.train.phases.values()
    start_run(replace(short(replace(phase, epochs=2)), model=recipe.model), "digits", tmp_path / "run", quiet=True)
    first, second = validations(tmp_path / "run")
    assert second["nll/x"] < first["nll/x"] < 64 * math.log(2), "better than to know nothing"


def test_the_loop_passes_the_temperature_and_the_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[dict[str, float]] = []
    forward = VectorVAE.forward

    def recorded(self: VectorVAE, batch: VectorBatch, **options: Any) -> dict[str, Tensor]:
        if options:  # the check before training traces one row with the defaults
            passed.append(options)
        return forward(self, batch, **options)

    monkeypatch.setattr(VectorVAE, "forward", recorded)
    cooling = Schedule("linear", start=1.0, end=0.2, share=1.0)
    phase = Phase("vector", epochs=1, batch=360, temperature=cooling, corruption=Corruption(latent=0.3))
    start_run(short(phase, DISCRETE), "digits", tmp_path / "run")
    assert [options["temperature"] for options in passed] == pytest.approx([cooling(step / 4) for step in range(4)])
    assert {options["latent_noise"] for options in passed} == {0.3}


def test_a_bound_reads_what_corruption_leaves(held_out: VectorSplit) -> None:
    """Also the one that training stops by: it is of the encoder as it is trained."""
    model = made(VAE).eval()
    blind = replace(held_out, x=np.zeros_like(held_out.x))
    noisy, empty = (
        bound_of(model, held_out, "vector", corruption=Corruption("mask", 1.0)),
        bound_of(model, blind, "vector"),
    )
    torch.testing.assert_close(noisy.terms["kl/z"], empty.terms["kl/z"])
    assert not torch.allclose(noisy.terms["nll/x"], empty.terms["nll/x"]), "what is scored stays"
    assert not torch.allclose(noisy.terms["kl/z"], bound_of(model, held_out, "vector").terms["kl/z"])


@pytest.mark.parametrize("rate", [1e-9, 1.0])
def test_an_encoder_that_sees_nothing_learns_nothing(rate: float, digits: Vectors, tmp_path: Path) -> None:
    """Its first weights have no gradient where all that it reads is zero; the decoder learns all the same."""
    recipe = short(Phase("vector", epochs=1, batch=200, corruption=Corruption("mask", rate)))
    before = build(recipe, digits).state_dict()
    after = start_run(recipe, "digits", tmp_path / "run").state_dict()
    assert torch.equal(before["encoder.0.weight"], after["encoder.0.weight"]) == (rate == 1)
    assert not torch.equal(before["output.weight"], after["output.weight"])


@pytest.mark.parametrize(("beta", "best"), [(0.0, 1), (1.0, 0), (5.0, 2)])
def test_the_state_that_is_kept_is_best_by_the_weighted_objective(
    beta: float, best: int, digits: Vectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four validations with known terms: beta as it ends decides, and of equal states the first one stays."""
    scripted = [(10.0, 1.0), (9.0, 2.0), (11.0, 0.2), (12.5, 0.0)]
    states: list[dict[str, Tensor]] = []

    def scripted_bound(model: VectorVAE, *_: Any) -> Bound:
        nll, kl = scripted[len(states)]
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        one = torch.ones(1)
        return Bound({"nll/x": nll * one, "kl/z": kl * one}, one, one, one)

    monkeypatch.setattr(loop, "validation_bound", scripted_bound)
    annealed = {"kl/z": Schedule("linear", start=1.0, end=beta)}
    phase = Phase("vector", epochs=4, batch=500, patience=4, weights=annealed)
    model = start_run(short(phase), "digits", tmp_path / "run").state_dict()
    kept = [number for number, state in enumerate(states) if all(torch.equal(state[n], model[n]) for n in model)]
    assert kept == [best]
    saved = load(tmp_path / "run").state_dict()
    assert all(torch.equal(saved[name], value) for name, value in model.items())


@pytest.mark.parametrize("step", [2, 5, 8])
def test_a_resumed_run_of_digits_equals_an_uninterrupted_one(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed within an epoch, at its end, and in the next one: bit-equal weights, all noise and schedules included."""
    phase = Phase(
        "vector",
        epochs=2,
        batch=300,
        weights={"kl/z": Schedule("linear")},
        temperature=Schedule("linear", start=1.0, end=0.2),
        corruption=Corruption("salt-and-pepper", 0.1, latent=0.2),
    )
    recipe = short(phase, DISCRETE)
    whole = start_run(recipe, "digits", tmp_path / "whole").state_dict()
    killed_run(recipe, "digits", tmp_path / "cut", step, monkeypatch)
    resumed = resume_run(tmp_path / "cut").state_dict()
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name

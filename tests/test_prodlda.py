"""ProdLDA: its formula, its prior, batch norm at the edges, exact resume, and themes found from a random start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch import Tensor

from tests.conftest import THEMES
from tests.test_training import killed_run
from tgvae.data.batch import Documents
from tgvae.data.bow import BagOfWords
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.divergences import kl
from tgvae.errors import UserError
from tgvae.evaluation.topics import top_words
from tgvae.models.base import load
from tgvae.models.sentence import SentenceConfig
from tgvae.models.tgvae import TGVAE, TGVAEConfig
from tgvae.models.topic import NormalisedLinear, ProductOfExpertsTopics, TopicConfig, laplace_scale
from tgvae.recipes import Recipe, prodlda
from tgvae.runs import build, resume_run, start_run
from tgvae.trace import objective
from tgvae.training.config import TrainConfig

SMALL = TopicConfig(topics=4, hidden_size=16, likelihood="product", concentration=0.5)


def core(config: TopicConfig = SMALL, words: int = 12) -> ProductOfExpertsTopics:
    """A product core that has seen some batches, so that its running statistics are not those of the start."""
    torch.manual_seed(0)
    made = ProductOfExpertsTopics(config, words)
    torch.nn.init.normal_(made.experts.bias)
    for _ in range(5):
        made.trace(documents(20, words))
    return made


def documents(count: int, words: int = 12) -> Documents:
    counts = torch.poisson(torch.full((count, words), 0.7)) + torch.eye(words)[torch.arange(count) % words]
    return Documents(BagOfWords.of(csr_array(counts.numpy())), torch.arange(count))


def small_recipe(epochs: int, topics: int = 3) -> Recipe:
    recipe = prodlda()
    phase = replace(recipe.train.phases["topics"], epochs=epochs, batch=32)
    assert isinstance(recipe.model, TopicConfig)
    model = replace(recipe.model, topics=topics, hidden_size=32)
    return replace(recipe, model=model, train=TrainConfig({"topics": phase}, device="cpu"))


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_log_probabilities_follow_the_formula() -> None:
    """log p(d | g) = sum_w n_w log softmax(m + (t B - mean) / sqrt(var + eps)), t = softmax(g), in NumPy."""
    model, batch = core().eval(), documents(6)
    trace = model.trace(batch, samples=3)
    g = trace.latents["g"].z.detach().double().numpy()
    e = {name: value.double().numpy() for name, value in model.experts.state_dict().items()}
    logits = np.exp(log_softmax(g)) @ e["weight"].T
    shown = e["bias"] + (logits - e["running_mean"]) / np.sqrt(e["running_var"] + 1e-5)
    expected = (batch.counts.dense().numpy() * log_softmax(shown)).sum(-1)
    np.testing.assert_allclose(trace.observed["words"].log_prob.detach().numpy(), expected, rtol=1e-4)


def test_batch_norm_is_over_samples_and_documents_together() -> None:
    layer, x = NormalisedLinear(5, 3), torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0))
    rows = x.reshape(24, 5) @ layer.weight.T
    expected = (rows - rows.mean(0)) / (rows.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(layer(x).reshape(24, 3), expected)
    torch.testing.assert_close(layer.running_mean, 0.1 * rows.detach().mean(0))
    torch.testing.assert_close(layer.running_var, 0.9 + 0.1 * rows.detach().var(0))


@pytest.mark.parametrize("concentration", [0.02, 1.0, 7.5])
@pytest.mark.parametrize("topics", [2, 5, 50])
def test_prior_is_the_laplace_approximation(concentration: float, topics: int) -> None:
    """The inverse of the Hessian of -log Dirichlet in the softmax basis, at its mode g = 0, where 1 is its null."""

    def negative_log_density(g: Tensor) -> Tensor:
        return -(concentration * g.log_softmax(-1)).sum()

    at_mode = torch.zeros(topics, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(negative_log_density, at_mode)
    variance = torch.linalg.pinv(hessian, hermitian=True).diagonal()
    general = 1 / concentration * (1 - 2 / topics) + sum([1 / concentration] * topics) / topics**2
    assert laplace_scale(concentration, topics) ** 2 == pytest.approx(variance.numpy())
    assert laplace_scale(concentration, topics) ** 2 == pytest.approx(general)


def test_prior_is_close_to_a_dirichlet_that_is_nearly_gaussian() -> None:
    drawn = np.log(np.random.default_rng(0).dirichlet([60.0] * 8, size=20000))
    centred = drawn - drawn.mean(1, keepdims=True)
    assert laplace_scale(60.0, 8) == pytest.approx(centred.std(), rel=0.03)


def test_one_topic_has_a_prior_too() -> None:
    assert laplace_scale(0.1, 1) == 1.0
    terms = core(replace(SMALL, topics=1)).trace(documents(5)).terms()
    assert all(torch.isfinite(value).all() for value in terms.values())


@pytest.mark.parametrize("concentration", [None, 0.5])
def test_kl_agrees_with_monte_carlo(concentration: float | None) -> None:
    torch.manual_seed(0)
    latent = core(replace(SMALL, concentration=concentration)).eval().trace(documents(5), 20000).latents["g"]
    assert latent.p.stddev[0].item() == pytest.approx(1.0 if concentration is None else (0.75 / 0.5) ** 0.5)
    torch.testing.assert_close(
        kl(latent.q, latent.p, latent.z), kl(latent.q, latent.p, latent.z, "monte_carlo"), rtol=0.03, atol=0.03
    )


def test_document_without_words_has_the_prior() -> None:
    model = core()
    q = model.posterior(torch.zeros(2, 12))
    assert (q.mean == 0).all()
    torch.testing.assert_close(q.stddev, torch.full((2, 4), laplace_scale(0.5, 4)))


def test_a_document_alone_is_normalised_by_what_was_seen_before() -> None:
    """In training batch norm cannot take the variance of one row: finite, and as in evaluation."""
    model = core(replace(SMALL, dropout=0.0))
    before = {name: value.clone() for name, value in model.named_buffers()}
    found = {}
    for training in (True, False):
        torch.manual_seed(3)
        found[training] = model.train(training).trace(documents(1)).terms()
        torch.manual_seed(0)
    for name, value in found[True].items():
        assert torch.isfinite(value).all()
        torch.testing.assert_close(value, found[False][name])
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_company_and_order_do_not_matter_in_evaluation() -> None:
    model, counts = core().eval(), documents(9).counts.dense()
    whole = model.theta(counts)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.theta(counts[order]), whole[order])
    torch.testing.assert_close(torch.cat([model.theta(row) for row in counts.split(1)]), whole)


def test_log_beta_is_the_same_in_training_and_evaluation_and_changes_nothing() -> None:
    """log softmax(B / s) with the order of words of B and s of the running statistics, whatever the mode."""
    model = core()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert torch.equal(model.train().log_beta, model.eval().log_beta)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    e = {name: value.double().numpy() for name, value in model.experts.state_dict().items()}
    expected = log_softmax(e["weight"].T / np.sqrt(e["running_var"].mean()))
    np.testing.assert_allclose(model.log_beta.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    assert np.array_equal(top_words(expected), top_words(e["weight"].T))


def test_start_is_random_and_of_the_seed(prepared: PreparedFolder) -> None:
    """Also with more topics than words, where a start from the corpus is impossible."""
    recipe = small_recipe(1, topics=2 * len(prepared.topic_vocabulary))
    a, b = build(recipe, prepared).state_dict(), build(recipe, prepared).state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    other = build(replace(recipe, train=replace(recipe.train, seed=1)), prepared).state_dict()
    assert not torch.equal(a["topic.experts.weight"], other["topic.experts.weight"])


@pytest.mark.parametrize("seed", [0, 1])
def test_themes_are_recovered(seed: int, prepared: PreparedFolder, corpus: Corpus) -> None:
    """Three planted themes are three topics, by their top words and by the documents that they are main in."""
    torch.manual_seed(seed)
    vocabulary = prepared.topic_vocabulary
    model = ProductOfExpertsTopics(
        TopicConfig(topics=3, hidden_size=32, likelihood="product", concentration=1.0), len(vocabulary)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(300):
        documents = corpus.gather_documents(torch.randperm(corpus.documents)[:64].numpy())
        optimizer.zero_grad()
        objective(model.trace(documents).terms(), {}).backward()
        optimizer.step()
    words = [{vocabulary.words[i] for i in row} for row in top_words(model.log_beta.detach().numpy(), 5)]
    themes = [next((name for name, theme in THEMES.items() if row <= set(theme)), None) for row in words]
    assert set(themes) == set(THEMES), words
    main = [themes[i] for i in model.eval().theta(BagOfWords.of(corpus.bags)).argmax(1)]
    assert np.mean([a == b for a, b in zip(main, corpus.table["label"].to_pylist(), strict=True)]) > 0.95


@pytest.mark.parametrize("step", [2, 7])
def test_resumed_run_equals_an_uninterrupted_one(
    step: int, prepared: PreparedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Running statistics come back too: bit-equal weights and buffers, killed in the first and second epoch."""
    recipe = small_recipe(epochs=3)
    recipe = replace(recipe, train=replace(recipe.train, save_minutes=0.0))
    whole = start_run(recipe, prepared.path, tmp_path / "whole").state_dict()
    killed_run(recipe, prepared.path, tmp_path / "cut", step, monkeypatch)
    cut, saved = resume_run(tmp_path / "cut").state_dict(), load(tmp_path / "whole").state_dict()
    assert not torch.equal(whole["topic.experts.running_var"], torch.ones_like(whole["topic.experts.running_var"]))
    for name, value in whole.items():
        assert torch.equal(cut[name], value), name
        assert torch.equal(saved[name], value), name


def test_what_makes_no_sense_is_refused(prepared: PreparedFolder) -> None:
    with pytest.raises(UserError, match="learns its prior"):
        TopicConfig(concentration=1.0)
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="positive"):
            replace(SMALL, concentration=value)
    joint = TGVAEConfig(SMALL, SentenceConfig(embedding_size=8, hidden_size=8, latent_size=4))
    with pytest.raises(UserError, match="mixture"):
        TGVAE(joint, prepared.tokenizer, prepared.topic_vocabulary)

"""Sparse bags against dense counts: both products, likelihoods and layers, forward and gradients, and odd bags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor, nn

from tests.dense import DenseWords
from tgvae.data.bow import BagOfWords, count_words
from tgvae.distributions import safe_log
from tgvae.models.topic import ExpertProduct, MixtureTopics, TopicConfig, TopicMixture, diversity
from tgvae.nn.heads import BagLinear

U, D, T, S = 6, 11, 4, 3
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")],
    ),
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def some_counts() -> Tensor:
    """Some words more than once; a document of one word, and empty ones first, between others and last."""
    counts = torch.poisson(torch.full((U, D), 0.8))
    counts[[0, 3, U - 1]] = 0
    counts[2] = F.one_hot(torch.tensor(5), D)
    counts[1, 4], counts[:, 7] = 3, 0
    return counts


def sparse(counts: Tensor) -> BagOfWords:
    return BagOfWords.of(csr_array(counts.cpu().numpy())).to(counts.device)


def same(ours: Callable[..., Tensor], plain: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Equal values, and equal gradients of a random projection of them, to 1e-5."""
    results = []
    for form in (ours, plain):
        leaves = [x.clone().requires_grad_() for x in inputs]
        value = form(*leaves)
        weights = torch.linspace(-1, 2, value.numel(), device=value.device).view(value.shape)
        gradients = torch.autograd.grad((value * weights).sum(), leaves)
        results.append([value, *gradients])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("make", [some_counts, lambda: torch.zeros(2, D), lambda: torch.ones(1, D)])
def test_products_are_those_of_dense_counts(make: Callable[[], Tensor], device: str) -> None:
    counts = make().to(device)
    bags, u = sparse(counts), len(counts)
    row, word = counts.nonzero(as_tuple=True)
    left, right = torch.randn(u, T, device=device), torch.randn(D, T, device=device)
    same(lambda table: bags @ table, lambda table: counts @ table, right)
    same(lambda table: bags.log1p() @ table.T, lambda table: counts.log1p() @ table.T, right.T.contiguous())
    same(bags.entries, lambda a, b: (a @ b.T)[row, word], left, right)
    same(bags.total, lambda v: torch.zeros_like(counts).index_put((row, word), v).mul(counts).sum(1), right[word, 0])
    assert torch.equal(bags.dense(), counts)
    assert torch.equal(bags.sizes, counts.sum(1))
    assert len(bags) == u


def test_gradients_by_finite_differences() -> None:
    bags = sparse(some_counts())
    left, right = (torch.randn(n, T, dtype=torch.float64, requires_grad=True) for n in (U, D))
    assert torch.autograd.gradcheck(lambda b: bags @ b, right)
    assert torch.autograd.gradcheck(bags.entries, (left, right))


def test_bags_of_words() -> None:
    found = BagOfWords.of(count_words([[2, 0, 2, 2], [], [1]], 4))
    assert found.dense().tolist() == [[1, 0, 3, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert BagOfWords.of(count_words([], 4)).dense().shape == (0, 4)
    assert (BagOfWords.of(count_words([[], []], 4)) @ torch.ones(4, 2)).tolist() == [[0, 0], [0, 0]]
    assert all(getattr(found.to("meta"), f.name).device.type == "meta" for f in fields(found))


@pytest.mark.parametrize("device", DEVICES)
def test_mixture_is_that_of_all_words(device: str) -> None:
    """Against log(t beta) at every word; a word that no topic knows costs the same 87 nats."""
    counts = some_counts().to(device)
    t, log_beta = torch.rand(S, U, T, device=device).softmax(-1), torch.randn(T, D, device=device).log_softmax(-1)
    log_beta[:, 5] = -200.0
    same(
        lambda t, log_beta: TopicMixture(t, log_beta).log_prob(sparse(counts)),
        lambda t, log_beta: DenseWords(safe_log(t @ log_beta.exp())).log_prob(counts),
        t,
        log_beta,
    )


@pytest.mark.parametrize("device", DEVICES)
def test_product_of_experts_is_that_of_all_words(device: str) -> None:
    counts = some_counts().to(device)
    same(
        lambda scores: ExpertProduct(scores).log_prob(sparse(counts)),
        lambda scores: DenseWords(scores.log_softmax(-1)).log_prob(counts),
        torch.randn(S, U, D, device=device),
    )


def test_bag_linear_is_a_linear_layer_and_saved_as_one() -> None:
    """From the same seed it starts as nn.Linear does; each reads what the other saved."""
    torch.manual_seed(1)
    plain = nn.Linear(D, 5)
    torch.manual_seed(1)
    ours, counts = BagLinear(D, 5), some_counts()
    torch.testing.assert_close(ours(sparse(counts)), plain(counts))
    torch.testing.assert_close(ours(counts), plain(counts))
    nn.init.normal_(plain.weight)
    ours.load_state_dict(plain.state_dict())
    torch.testing.assert_close(ours(sparse(counts)), plain(counts))
    nn.init.normal_(ours.weight)
    plain.load_state_dict(ours.state_dict())
    torch.testing.assert_close(plain(counts), ours(counts))
    with pytest.raises(RuntimeError, match="Missing key"):
        ours.load_state_dict({"bias": ours.bias})


def test_diversity_is_that_of_angles() -> None:
    beta = torch.randn(T, D).softmax(-1)
    rows = beta.double().numpy()
    angles = [
        np.arccos(rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j]))
        for i in range(T)
        for j in range(i)
    ]
    assert diversity(beta).item() == pytest.approx(np.mean(angles) - np.var(angles), rel=1e-5)
    assert diversity(beta[:1]) == 0
    twins = beta[:1].repeat(2, 1).requires_grad_()
    diversity(twins).backward()
    assert twins.grad is not None
    assert torch.isfinite(twins.grad).all(), "equal topics have a finite gradient"


def test_of_many_topics_some_are_compared_at_a_time_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The diversity is that of some three topics of five, each three at some time; in evaluation that of all."""
    monkeypatch.setattr("tgvae.models.topic.DIVERSITY_TOPICS", 3)
    torch.manual_seed(0)
    core = MixtureTopics(TopicConfig(topics=5, word_embedding_size=4, hidden_size=8), D)
    t = torch.full((1, 2, 5), 0.2)
    beta = core.log_beta.exp()
    threes = [round(-diversity(beta[list(three)]).item(), 5) for three in combinations(range(5), 3)]
    found = {round(core.likelihood(t)[1]["similarity"].item(), 5) for _ in range(200)}
    assert found == set(threes)
    torch.testing.assert_close(core.eval().likelihood(t)[1]["similarity"], -diversity(beta).unsqueeze(0))

"""Metrics of the latent against closed forms, full-covariance Gaussians of torch, and numeric integration."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal, kl_divergence

from tests.test_models import build
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.distributions import HouseholderNormal
from tgvae.errors import UserError
from tgvae.evaluation import latent
from tgvae.evaluation.latent import (
    Components,
    Posteriors,
    active_units,
    kl_per_topic,
    mutual_information,
    posteriors,
    total_correlation,
)
from tgvae.models.sentence import LatentSentenceModel
from tgvae.models.tgvae import TGVAE


def gaussians(sentences: int, size: int, flow: int = 2, topics: int = 0) -> Posteriors:
    """Posteriors at random, with components if ``topics`` are asked for."""
    rng = torch.Generator().manual_seed(sentences)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=rng)

    q = normal(sentences, size), (0.5 * normal(sentences, size)).exp(), normal(sentences, flow, size)
    if not topics:
        return Posteriors(*q)
    weights, theta = normal(2, sentences, topics).softmax(-1)
    return Posteriors(*q, Components(weights, theta, 2 * normal(topics, size), (0.5 * normal(topics, size)).exp()))


def covariances(found: Posteriors) -> Tensor:
    """Sigma of every sentence with shape (N, Z, Z)."""
    return HouseholderNormal(found.loc, found.scale, found.vectors).covariance_matrix


def mixture(found: Posteriors, n: int) -> MixtureSameFamily:
    """q(z | y_n, d) of torch's own parts."""
    centres = found.centres + found.deviations[n]
    parts = MultivariateNormal(centres, covariances(found)[n].expand(len(centres), -1, -1))
    return MixtureSameFamily(Categorical(found.weights[n]), parts)


def brute_force_information(found: Posteriors, draws: int) -> tuple[float, float]:
    """I(y; z) and its standard error, with ``draws`` of every sentence."""
    torch.manual_seed(1)
    all_q = [mixture(found, n) for n in range(len(found.loc))]
    values = []
    for q in all_q:
        z = q.sample((draws,))
        aggregate = torch.stack([other.log_prob(z) for other in all_q]).logsumexp(0) - math.log(len(all_q))
        values.append(q.log_prob(z) - aggregate)
    joined = torch.cat(values)
    return joined.mean().item(), joined.std().item() / math.sqrt(len(joined))


@pytest.mark.parametrize("topics", [0, 3])
def test_information_by_brute_force(topics: int) -> None:
    found = gaussians(6, 3, topics=topics)
    measured = mutual_information(found, draws=6000)
    expected, error = brute_force_information(found, 1000)
    assert measured.nats == pytest.approx(expected, abs=4 * math.hypot(error, measured.standard_error))
    assert measured.standard_error == pytest.approx(error, rel=0.1)
    assert 0.2 < measured.nats < measured.cap == math.log(6)


def test_information_of_two_sentences_by_integration() -> None:
    """Two Gaussians a distance of 2 apart: I = h(q(z)) - h(q(z | y))."""
    z = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    density = (Normal(-1, 1).log_prob(z).exp() + Normal(1, 1).log_prob(z).exp()) / 2
    exact = -torch.trapezoid(density * density.log(), z).item() - 0.5 * math.log(2 * math.pi * math.e)
    loc = torch.tensor([[-1.0], [1.0]]).double()
    measured = mutual_information(Posteriors(loc, torch.ones(2, 1).double(), loc.new_zeros(2, 0, 1)), 20000)
    assert measured.nats == pytest.approx(exact, abs=4 * measured.standard_error)
    assert measured.standard_error < 0.005


def test_a_collapsed_latent_holds_nothing() -> None:
    """All posteriors are the prior: exactly no information, components or not."""
    for topics in (0, 3):
        found = gaussians(1, 4, topics=topics)
        same = Posteriors(*(x.expand(9, *x.shape[1:]) for x in (found.loc, found.scale, found.vectors)))
        if found.components:
            same = replace(same, components=replace(found.components, weights=found.components.weights.expand(9, -1)))
        assert mutual_information(same, 20).nats == pytest.approx(0, abs=1e-9)
        alone = mutual_information(found, 20)
        assert (alone.nats, alone.cap) == (pytest.approx(0, abs=1e-9), 0)


def test_posteriors_far_apart_reach_the_cap() -> None:
    found = gaussians(7, 2)
    apart = replace(found, loc=1000 * torch.eye(7, 2).double() + 10000 * torch.arange(7).double().unsqueeze(1))
    measured = mutual_information(apart, 21)
    assert measured.nats == measured.cap == pytest.approx(math.log(7), rel=1e-12)
    assert measured.standard_error == pytest.approx(0, abs=1e-12)
    pairs = replace(apart, **{f: getattr(apart, f)[torch.arange(6) // 2] for f in ("loc", "scale", "vectors")})
    assert mutual_information(pairs, 12).nats == pytest.approx(math.log(3), rel=1e-12), "three kinds of sentences"


def test_components_alone_can_hold_the_information() -> None:
    """Two far components, chosen for sure by each sentence: ln 2, whatever the number of sentences."""
    found = gaussians(1, 2)
    q = (x.expand(8, *x.shape[1:]) for x in (found.loc, found.scale, found.vectors))
    weights = torch.eye(2).double().repeat(4, 1)
    centres = torch.tensor([[500.0, 0.0], [-500.0, 0.0]]).double()
    told = Posteriors(*q, Components(weights, weights, centres, torch.ones(2, 2)))
    assert mutual_information(told, 16).nats == pytest.approx(math.log(2), rel=1e-9)
    unsure = replace(told, components=replace(told.components, weights=torch.full_like(weights, 0.5)))
    assert mutual_information(unsure, 16).nats == pytest.approx(0, abs=1e-9)


def test_information_does_not_depend_on_what_is_held_together(monkeypatch: pytest.MonkeyPatch) -> None:
    found = gaussians(11, 3, topics=2)
    whole, shape, kl = mutual_information(found, 50, seed=2), total_correlation(found), kl_per_topic(found)
    monkeypatch.setattr(latent, "CHUNK_SIZE", 4)
    parts = mutual_information(found, 50, seed=2)
    assert parts.nats == pytest.approx(whole.nats, rel=1e-9)
    assert total_correlation(found).nats == pytest.approx(shape.nats, rel=1e-9)
    torch.testing.assert_close(kl_per_topic(found).nats, kl.nats)


def test_information_repeats_with_its_seed_alone() -> None:
    found = gaussians(5, 2)
    assert mutual_information(found, 10, seed=1) == mutual_information(found, 10, seed=1)
    assert mutual_information(found, 10, seed=1) != mutual_information(found, 10, seed=2)
    with pytest.raises(UserError, match="at least 2 samples"):
        mutual_information(found, 1)


def test_total_correlation_by_torch() -> None:
    """KL to the Gaussian with the same diagonal; the shares from whole matrices."""
    found = gaussians(9, 5, flow=3)
    sigma = covariances(found)
    diagonal = torch.diag_embed(sigma.diagonal(dim1=-2, dim2=-1))
    zero = torch.zeros(9, 5, dtype=torch.float64)
    expected = kl_divergence(MultivariateNormal(zero, sigma), MultivariateNormal(zero, diagonal))
    measured = total_correlation(found)
    assert measured.nats == pytest.approx(expected.mean().item(), rel=1e-9)
    share = torch.linalg.matrix_norm(sigma - diagonal) / torch.linalg.matrix_norm(sigma)
    assert measured.off_diagonal == pytest.approx(share.mean().item(), rel=1e-9)
    assert 0 < measured.off_diagonal < 1


@pytest.mark.parametrize(
    ("vectors", "nats", "share"),
    [
        ([], 0, 0),
        ([[1.0, -1.0]], 0, 0),  # exchanges the axes
        ([[math.sin(math.pi / 8), -math.cos(math.pi / 8)]], math.log(5 / 4), 3 / math.sqrt(34)),  # turns by 45 degrees
    ],
)
def test_total_correlation_by_hand(vectors: list[list[float]], nats: float, share: float) -> None:
    """Variances 4 and 1: turned by 45 degrees Sigma is 2.5 on the diagonal and 1.5 beside it."""
    reflections = torch.tensor(vectors, dtype=torch.float64).reshape(1, -1, 2)
    found = Posteriors(torch.ones(1, 2).double(), torch.tensor([[2.0, 1.0]]).double(), reflections)
    measured = total_correlation(found)
    assert measured.nats == pytest.approx(nats, abs=1e-12)
    assert measured.off_diagonal == pytest.approx(share, abs=1e-7)


def test_kl_of_topics_by_brute_force() -> None:
    found = gaussians(12, 3, topics=4)
    components = found.components
    assert components is not None
    never = components.weights * torch.tensor([1.0, 1.0, 0.01, 1.0])  # no sentence is of topic 2
    components = replace(components, weights=never / never.sum(-1, keepdim=True))
    sums, counts = [0.0] * 4, [0] * 4
    for n, sigma in enumerate(covariances(found)):
        prior = [MultivariateNormal(m, torch.diag(s**2)) for m, s in zip(components.loc, components.scale, strict=True)]
        q = [MultivariateNormal(m + found.deviations[n], sigma) for m in components.loc]
        kls = torch.stack([kl_divergence(a, b) for a, b in zip(q, prior, strict=True)])
        topic = int(components.weights[n].argmax())
        sums[topic] += (components.weights[n] @ kls).item()
        counts[topic] += 1
    measured = kl_per_topic(replace(found, components=components))
    assert measured.sentences.tolist() == counts
    assert counts[2] == 0
    assert measured.nats[2] == 0, "not NaN"
    assert measured.nats.tolist() == pytest.approx([s / max(n, 1) for s, n in zip(sums, counts, strict=True)])
    with pytest.raises(ValueError, match="component prior"):
        kl_per_topic(gaussians(3, 2))


def test_active_units_by_hand() -> None:
    means = torch.zeros(5, 4)
    means[:, 0] = torch.arange(5)
    means[0, 1] = 0.23  # variance 0.23^2 / 5 = 0.0106
    means[0, 2] = 0.22  # 0.0097
    assert active_units(means) == 2
    assert active_units(means[:1]) == 0, "one sentence does not vary"


@pytest.mark.parametrize("name", ["vae", "vae-householder", "tgvae", "tgvae-no-evidence", "tgvae-jensen"])
def test_posteriors_are_those_of_each_sentence_alone(name: str, prepared: PreparedFolder) -> None:
    """In the order of the corpus, without padding; the topics from the document's mean, not from a draw."""
    held_out, model = Corpus(prepared, "test"), build(name, prepared).eval()
    assert isinstance(model, LatentSentenceModel)
    found = posteriors(model, held_out)
    assert len(found.loc) == len(held_out.lengths)
    for n in (0, 5, len(found.loc) - 1):
        batch = held_out.gather([n])
        q = model.sentence.posterior(batch.targets, batch.lengths)
        for kept, alone in ((found.loc, q.loc), (found.scale, q.scale), (found.vectors, q.vectors)):
            torch.testing.assert_close(kept[n], alone[0].detach().double(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.deviations[n], q.mean[0].detach().double(), rtol=1e-4, atol=1e-5)
        if isinstance(model, TGVAE) and model.config.prior == "component":
            assert found.components is not None
            t = model.topic.theta(batch.context)
            weights = model.component.component_posterior(t, model.topic.log_beta, batch.sentence_bow).probs
            torch.testing.assert_close(found.components.theta[n], t[0].detach().double(), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found.components.weights[n], weights[0].detach().double(), rtol=1e-4, atol=1e-5)
    assert (found.components is not None) == (name in ("tgvae", "tgvae-no-evidence"))


def test_posteriors_give_the_kl_of_the_elbo(prepared: PreparedFolder) -> None:
    """For a component known for sure, q(c) one-hot, it is the trace's own kl/z."""
    held_out, model = Corpus(prepared, "test"), build("tgvae", prepared).eval()
    assert isinstance(model, TGVAE)
    found = posteriors(model, held_out)
    assert found.components is not None
    topics = found.components.weights.argmax(-1)
    sure = torch.nn.functional.one_hot(topics, 4).double()
    measured = kl_per_topic(replace(found, components=replace(found.components, weights=sure)))
    sums = torch.zeros(4).double()
    for n, topic in enumerate(topics.tolist()):
        batch, c = held_out.gather([n]), sure[[n]].float()
        prior = model.prior(c)
        q = model.sentence.posterior(batch.targets, batch.lengths, centre=c @ prior.loc)
        sums[topic] += kl_divergence(q, prior.given(c)).item()
    torch.testing.assert_close(measured.nats, sums / measured.sentences.clamp_min(1), rtol=1e-4, atol=1e-4)


def test_posterior_means_stand_in_the_order_of_the_corpus(prepared: PreparedFolder) -> None:
    vae = build("vae-householder", prepared).eval()
    assert isinstance(vae, LatentSentenceModel)
    held_out = Corpus(prepared, "test")
    found = posteriors(vae, held_out)
    means, deviations = found.means, found.deviations
    for i in (0, 5, len(means) - 1):
        alone = vae.encode([held_out.text(i)])[0].double()
        torch.testing.assert_close(means[i], alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(means, deviations)
    assert active_units(means) == int((means.numpy().var(0, ddof=1) > 0.01).sum())


def test_the_topics_share_of_the_latent_is_told_apart(prepared: PreparedFolder) -> None:
    model = build("tgvae", prepared).eval()
    assert isinstance(model, TGVAE)
    found = posteriors(model, Corpus(prepared, "test"))
    assert found.components is not None
    means, deviations = found.means, found.deviations
    torch.testing.assert_close(means - deviations, found.components.weights @ found.components.loc)
    centres = model.component(model.topic.log_beta.exp())[0].detach().double()
    assert ((means - deviations).amax(0) <= centres.amax(0) + 1e-5).all(), "a mean of components lies among them"


def test_units_are_active_beside_the_scale_of_the_prior(prepared: PreparedFolder) -> None:
    """Scaling z and its prior alike changes nothing; without components the prior has variance 1."""
    model = build("tgvae", prepared).eval()
    assert isinstance(model, TGVAE)
    found = posteriors(model, Corpus(prepared, "test"))
    assert found.components is not None
    expected = torch.stack([w @ found.components.scale for w in found.components.weights]).mean(0)
    torch.testing.assert_close(found.prior_scale, expected)
    wide = replace(found.components, loc=7 * found.components.loc, scale=7 * found.components.scale)
    larger = replace(found, loc=7 * found.loc, components=wide)
    for a, b in ((found.means, larger.means), (found.deviations, larger.deviations)):
        assert active_units(a / found.prior_scale) == active_units(b / larger.prior_scale)
    assert (replace(found, components=None).prior_scale == 1).all()

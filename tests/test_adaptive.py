"""The softmax by clusters of words, against its own table, torch's module and the full softmax."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tgvae.data.batch import Batch
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.data.tokenizers import WordTokenizer
from tgvae.errors import UserError
from tgvae.evaluation.likelihood import sentence_bound
from tgvae.generation.decode import DecodeSettings
from tgvae.kernels.adaptive_softmax import Clusters, adaptive_cross_entropy, adaptive_log_probs, new_clusters
from tgvae.models.base import Model, load
from tgvae.models.consistency import relaxed_bags
from tgvae.models.sentence import LanguageModel, SentenceConfig, SentenceVAE
from tgvae.models.summarizer import SummarizerConfig
from tgvae.models.tgvae import TGVAE, TGVAEConfig
from tgvae.models.topic import TopicConfig
from tgvae.nn.gru import GRUDecoder
from tgvae.trace import objective

E, H, Z, PAD = 6, 8, 3, 0
SIZES = [2, 3, 4, 31, 32, 33, 100]
CONFIG = SentenceConfig(embedding_size=12, hidden_size=10, latent_size=6, flow_length=2, softmax="adaptive")
MODELS: dict[str, tuple[Any, Any]] = {
    "language-model": (LanguageModel, CONFIG),
    "vae": (SentenceVAE, CONFIG),
    "tgvae": (TGVAE, TGVAEConfig(TopicConfig(topics=4, word_embedding_size=8, hidden_size=16), CONFIG)),
    "tgvae-consistent": (
        TGVAE,
        TGVAEConfig(TopicConfig(topics=4, word_embedding_size=8, hidden_size=16), CONFIG, consistency_sentences=4),
    ),
}


def case(size: int, tokens: int) -> tuple[Tensor, Tensor, Tensor, Clusters]:
    """States, weights, biases and clusters, all of which want a gradient."""
    torch.manual_seed(0)
    h, weight, bias = (torch.randn(n).requires_grad_() for n in ((tokens, E), (size, E), (size,)))
    layer = new_clusters(E, size)
    return h, weight, bias, (layer.weight, layer.bias)


def flat(parts: tuple[Tensor, Tensor, Tensor, Clusters]) -> list[Tensor]:
    return [*parts[:3], *parts[3]]


def build(name: str, prepared: PreparedFolder) -> Model:
    torch.manual_seed(0)
    kind, config = MODELS[name]
    model: Model = kind(config, prepared.tokenizer, prepared.topic_vocabulary)
    return model


@pytest.fixture
def batch(corpus: Corpus) -> Batch:
    return corpus.gather(np.arange(0, 24, 2))


@pytest.fixture
def decoder() -> GRUDecoder:
    torch.manual_seed(0)
    return GRUDecoder(nn.Embedding(40, E, padding_idx=PAD), H, Z, 0.0, adaptive=True)


@pytest.mark.parametrize("size", SIZES)
def test_words_share_a_probability_of_one(size: int) -> None:
    log_probs = adaptive_log_probs(*case(size, 7))
    assert log_probs.shape == (7, size)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(7))


@pytest.mark.parametrize("size", SIZES)
def test_at_first_words_are_equally_likely(size: int) -> None:
    _, weight, _, clusters = case(size, 1)
    log_probs = adaptive_log_probs(torch.zeros(1, E), weight, torch.zeros(size), clusters)
    torch.testing.assert_close(log_probs, torch.full((1, size), 1 / size).log())


@pytest.mark.parametrize("size", SIZES)
def test_cross_entropy_and_its_gradients_are_those_of_the_table(size: int) -> None:
    target = torch.cat((torch.arange(size), torch.randint(size, (50,)))).flip(0)
    parts, weights = case(size, len(target)), torch.rand(len(target))
    plain = -adaptive_log_probs(*parts).gather(1, target.unsqueeze(1)).squeeze(1)
    ours = adaptive_cross_entropy(*parts, target)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
    wanted = torch.autograd.grad((weights * plain).sum(), flat(parts))
    found = torch.autograd.grad((weights * ours).sum(), flat(parts))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(adaptive_cross_entropy(*parts, target), plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ids", [[], [0], [99], [0, 1, 2], [60, 50, 99], [3, 6, 12, 25, 50]])
def test_clusters_without_a_token_cost_nothing(ids: list[int]) -> None:
    """No tokens at all, those of the head alone, of one cluster alone, and the first of every cluster."""
    parts, target = case(100, len(ids)), torch.tensor(ids, dtype=torch.long)
    for context in (torch.enable_grad(), torch.no_grad()):
        with context:
            found = adaptive_cross_entropy(*parts, target)
        torch.testing.assert_close(found, -adaptive_log_probs(*parts)[range(len(ids)), target], rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(adaptive_cross_entropy(*parts, target).sum(), flat(parts))
    assert all(g.isfinite().all() for g in gradients)


def test_it_is_that_of_torch() -> None:
    """Torch's module with rows as wide as h, projections that change nothing, and no biases within clusters."""
    h, weight, bias, clusters = case(100, 60)
    sizes = [3, 3, 6, 13, 25, 50]
    starts = list(accumulate(sizes))[:-1]
    oracle: Any = nn.AdaptiveLogSoftmaxWithLoss(E, 100, starts, div_value=1.0, head_bias=True)
    first = torch.where(torch.arange(100) < starts[0], bias, 0.0)
    with torch.no_grad():
        oracle.head.weight.copy_(torch.cat((weight[: starts[0]], clusters[0])))
        oracle.head.bias.copy_(torch.cat((first[: starts[0]], clusters[1])))
        for (project, rows), (start, end) in zip(oracle.tail, pairwise([*starts, 100]), strict=True):
            project.weight.copy_(torch.eye(E))
            rows.weight.copy_(weight[start:end])
    target = torch.randint(100, (60,))
    torch.testing.assert_close(adaptive_log_probs(h, weight, first, clusters), oracle.log_prob(h))
    ours, theirs = adaptive_cross_entropy(h, weight, first, clusters, target), -oracle(h, target).output
    torch.testing.assert_close(ours, theirs)
    found, wanted = (torch.autograd.grad(nll.sum(), h, retain_graph=True)[0] for nll in (ours, theirs))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    (of_weight,) = torch.autograd.grad(ours.sum(), weight)
    head, *tail = torch.autograd.grad(theirs.sum(), [oracle.head.weight, *(r.weight for _, r in oracle.tail)])
    torch.testing.assert_close(of_weight, torch.cat((head[: starts[0]], *tail)), rtol=1e-5, atol=1e-5)


def test_order_of_the_tokens_changes_nothing() -> None:
    h, weight, bias, clusters = case(100, 60)
    target, order = torch.randint(100, (60,)), torch.randperm(60)
    shuffled = adaptive_cross_entropy(h[order], weight, bias, clusters, target[order])
    torch.testing.assert_close(shuffled, adaptive_cross_entropy(h, weight, bias, clusters, target)[order])


def test_bfloat16_is_within_the_rounding_of_its_products() -> None:
    parts, target = case(500, 300), torch.randint(500, (300,))
    exact = adaptive_cross_entropy(*parts, target)
    with torch.autocast("cpu", torch.bfloat16):
        low, table = adaptive_cross_entropy(*parts, target), adaptive_log_probs(*parts)
    assert low.dtype == table.dtype == torch.float32
    torch.testing.assert_close(table.exp().sum(-1), torch.ones(300))  # only logits are rounded
    for found in (low, -table.gather(1, target.unsqueeze(1)).squeeze(1)):
        assert (found - exact).abs().max() < 0.2
        assert (found - exact).mean().abs() < 0.01
    wanted = torch.autograd.grad(exact.mean(), flat(parts))
    for f, w in zip(torch.autograd.grad(low.mean(), flat(parts)), wanted, strict=True):
        assert f.dtype == torch.float32
        assert (f - w).norm() < 0.01 * w.norm()


def test_steps_say_what_the_sentence_says(decoder: GRUDecoder) -> None:
    z, targets = torch.randn(2, 3, Z), torch.randint(1, 40, (3, 5))
    targets[1, 2:] = PAD
    inputs = torch.cat((torch.full((3, 1), 2), targets[:, :-1]), dim=1)
    likelihood = decoder(inputs, z)
    told = likelihood.token_log_prob(targets)
    assert told.shape == (2, 3, 5)
    assert (told[:, 1, 2:] == 0).all()
    torch.testing.assert_close(likelihood.log_prob(targets), told.sum(-1))
    for s in range(2):
        state = decoder.start(z[s])
        for position in range(5):
            log_probs, state = decoder.step(inputs[:, position], state)
            stepped = log_probs.gather(1, targets[:, position : position + 1]).squeeze(1)
            real = targets[:, position] != PAD
            torch.testing.assert_close(told[s, real, position], stepped[real])


def test_relaxed_sentences_pass_gradients(decoder: GRUDecoder) -> None:
    z, words = torch.randn(4, Z, requires_grad=True), torch.arange(40) - 4
    rest: dict[str, Any] = {"bos_id": 2, "eos_id": 3, "length": 6, "temperature": 0.7}
    bags = relaxed_bags(decoder, z, words, 36, hard=False, **rest)
    assert (bags >= 0).all()
    assert bags.sum(-1).max() <= 6 + 1e-5
    gradients = torch.autograd.grad((bags * torch.randn(36)).sum(), [z, *decoder.parameters()])
    assert all(g.abs().sum() > 0 for g in gradients)
    drawn = relaxed_bags(decoder, z, words, 36, hard=True, **rest)
    torch.testing.assert_close(drawn, drawn.round())


@pytest.mark.parametrize("name", MODELS)
def test_models_learn_are_saved_and_loaded(name: str, prepared: PreparedFolder, batch: Batch, tmp_path: Path) -> None:
    model = build(name, prepared)
    objective(model(batch), {}).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert again.config == model.config
    torch.manual_seed(1)
    wanted = model.eval()(batch)
    torch.manual_seed(1)
    torch.testing.assert_close(again(batch), wanted)


@pytest.mark.parametrize("name", ["language-model", "vae", "tgvae"])
def test_models_write_and_are_evaluated(name: str, prepared: PreparedFolder) -> None:
    model: Any = build(name, prepared).eval()
    for settings in (DecodeSettings(max_length=6), DecodeSettings("beam", max_length=6, beams=3)):
        sentences = model.generate(3, settings=settings, seed=1)
        assert [s.text for s in sentences] == [s.text for s in model.generate(3, settings=settings, seed=1)]
    bound = sentence_bound(model, Corpus(prepared, "valid"))
    assert np.isfinite(list(bound.terms.values())).all()


def test_known_words_are_judged_as_by_the_steps(prepared: PreparedFolder) -> None:
    torch.manual_seed(0)
    tokenizer = WordTokenizer([f"w{i}" for i in range(60)])
    model = LanguageModel(replace(CONFIG, dropout=0.0), tokenizer, prepared.topic_vocabulary).eval()
    targets = torch.tensor([[5, tokenizer.unk_id, 63, tokenizer.eos_id, PAD]])
    told = model.known_log_prob(targets)[0]
    state = model.decoder.start(torch.zeros(1, 0))
    for m, (before, here) in enumerate(pairwise([tokenizer.bos_id, *targets[0].tolist()])):
        log_probs, state = model.decoder.step(torch.tensor([before]), state)
        log_probs[0, tokenizer.unk_id] = -torch.inf
        wanted = 0.0 if here in (PAD, tokenizer.unk_id) else log_probs.log_softmax(-1)[0, here].item()
        assert told[m].item() == pytest.approx(wanted, rel=1e-4)


def test_the_full_softmax_is_as_it_was(prepared: PreparedFolder, tmp_path: Path) -> None:
    """Only the adaptive one has weights of its own, and a run saved before there was a choice loads."""
    full, adaptive = (
        LanguageModel(replace(CONFIG, softmax=softmax), prepared.tokenizer, prepared.topic_vocabulary)
        for softmax in ("full", "adaptive")
    )
    of_gru = {f"decoder.gru.{kind}_{side}_l0" for kind in ("weight", "bias") for side in ("ih", "hh")}
    plain = {f"decoder.{name}" for name in ("embedding.weight", "bias", "project.weight", "project.bias")}
    assert set(full.state_dict()) == of_gru | plain
    assert set(adaptive.state_dict()) == of_gru | plain | {"decoder.clusters.weight", "decoder.clusters.bias"}
    full.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    del saved["config"]["softmax"]
    (tmp_path / "config.json").write_text(json.dumps(saved))
    save_file(load_file(tmp_path / "model.safetensors"), tmp_path / "model.safetensors")  # without hashes, as then
    again = load(tmp_path)
    assert again.config == full.config
    torch.testing.assert_close(dict(again.state_dict()), dict(full.state_dict()))


def test_a_summarizer_has_the_full_softmax_alone() -> None:
    with pytest.raises(UserError, match="full softmax"):
        SummarizerConfig(sentence=CONFIG)

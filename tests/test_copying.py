"""The copy distribution, attention and decoder against brute force, step by step and exhaustive search."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from tgvae.distributions import PointerGeneratorSequence, TokenSequence, pointer_generator_log_probs
from tgvae.generation.decode import DecodeSettings, decode
from tgvae.nn.attention import AdditiveAttention, coverage_loss
from tgvae.nn.pointer_generator import PointerGeneratorDecoder, Source, SourceDecoder

S, B, L, N, E, H, F, Z, V, X = 2, 3, 4, 6, 5, 7, 8, 3, 9, 2
PAD, UNK, BOS, EOS = 0, 1, 2, 3
LENGTHS = torch.tensor([6, 1, 4])
EVERY = torch.arange(V + X)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def source_ids() -> Tensor:
    """Sources that repeat words and hold some beyond the vocabulary."""
    ids = torch.tensor([[4, 9, 4, 10, 5, 9], [10, 0, 0, 0, 0, 0], [6, 7, 8, 9, 0, 0]])
    return ids.masked_fill(torch.arange(N) >= LENGTHS.unsqueeze(1), PAD)


def attention_weights(*shape: int) -> Tensor:
    real = torch.arange(N) < LENGTHS.unsqueeze(1).unsqueeze(1)
    return torch.randn(*shape, N).masked_fill(~real, -torch.inf).softmax(-1)


def by_hand(logits: Tensor, p_gen: float, weights: Tensor, source: Tensor) -> list[float]:
    """p(w) of every id by the definition, with loops."""
    softmax = logits.double().softmax(-1)
    return [
        p_gen * (float(softmax[w]) if w < V else 0.0)
        + (1 - p_gen) * sum(float(a) for a, word in zip(weights, source, strict=True) if int(word) == w)
        for w in range(V + X)
    ]


def test_one_step_is_the_definition_and_sums_to_one() -> None:
    logits, gate, weights = torch.randn(B, V), torch.randn(B), attention_weights(B, 1)[:, 0]
    found = pointer_generator_log_probs(logits, gate, weights, source_ids(), X).exp()
    torch.testing.assert_close(found.sum(-1), torch.ones(B))
    for row in range(B):
        expected = by_hand(logits[row], float(gate[row].sigmoid()), weights[row], source_ids()[row])
        torch.testing.assert_close(found[row], torch.tensor(expected))


def copy_sequence(gate: Tensor | None = None) -> tuple[PointerGeneratorSequence, Tensor, Tensor, Tensor]:
    states, weight, bias = torch.randn(S, B, L, E), torch.randn(V, E), torch.randn(V)
    gate, weights = torch.randn(S, B, L) if gate is None else gate, attention_weights(S, B, L)
    made = PointerGeneratorSequence(TokenSequence(states, weight, bias, PAD), gate, weights, source_ids())
    return made, states @ weight.T + bias, gate, weights


@pytest.mark.parametrize("word", [1, 3, 4, 8, 9, 10])
def test_likelihood_of_a_target_is_the_definition(word: int) -> None:
    """Words to write alone, to copy alone, to do both, and (10 in row 2) neither."""
    sequence, logits, gate, weights = copy_sequence()
    assert (sequence.batch_shape, sequence.event_shape) == ((S, B), (L,))
    found = sequence.token_log_prob(torch.full((B, L), word))
    for s, b, m in itertools.product(range(S), range(B), range(L)):
        p = by_hand(logits[s, b, m], float(gate[s, b, m].sigmoid()), weights[s, b, m], source_ids()[b])[word]
        if p:
            assert found[s, b, m].exp() == pytest.approx(p, rel=1e-4)
        else:
            assert found[s, b, m] < -80


def test_padding_of_targets_counts_nothing_and_gradients_are_finite() -> None:
    gate = torch.tensor([-200.0, 0.0, 200.0]).view(1, B, 1).expand(S, B, L).clone().requires_grad_()
    sequence, *_ = copy_sequence(gate)
    targets = torch.tensor([[4, 9, 3, 0], [10, 3, 0, 0], [9, 6, 7, 3]])
    sequence.log_prob(targets).sum().backward()
    assert torch.isfinite(gate.grad).all()
    assert (sequence.token_log_prob(targets)[:, targets == PAD] == 0).all()
    longer = sequence.token_log_prob(torch.where(torch.arange(L) < 2, targets, PAD)).sum(-1)
    torch.testing.assert_close(longer, sequence.token_log_prob(targets)[..., :2].sum(-1))


def attention() -> AdditiveAttention:
    return AdditiveAttention(F, H, E)


@torch.no_grad()
def test_attention_is_bahdanaus_formula() -> None:
    model, states, queries = attention(), torch.randn(B, N, F), torch.randn(S, B, L, H)
    weights, context = model(queries, model.memory(states, LENGTHS))
    for s, b, m in itertools.product(range(S), range(B), range(L)):
        scores = [
            float(model.score((model.query(queries[s, b, m]) + model.key(states[b, n])).tanh()))
            for n in range(int(LENGTHS[b]))
        ]
        expected = torch.tensor(scores).softmax(-1)
        torch.testing.assert_close(weights[s, b, m, : LENGTHS[b]], expected)
        torch.testing.assert_close(context[s, b, m], expected @ states[b, : LENGTHS[b]])


def test_padding_has_no_weight_whatever_stands_there() -> None:
    model, states, queries = attention(), torch.randn(B, N, F), torch.randn(B, L, H)
    padding = torch.arange(N) >= LENGTHS.unsqueeze(1)
    noisy = torch.where(padding.unsqueeze(-1), 1e6 * torch.randn(B, N, F), states)
    weights, context = model(queries, model.memory(states, LENGTHS))
    same_weights, same_context = model(queries, model.memory(noisy, LENGTHS))
    assert torch.equal(weights, same_weights)
    assert (weights.masked_select(padding.unsqueeze(1)) == 0).all()
    torch.testing.assert_close(context, same_context)
    longer = torch.cat((states, torch.randn(B, 5, F)), dim=1)
    more_weights, more_context = model(queries, model.memory(longer, LENGTHS))
    torch.testing.assert_close(more_weights[..., :N], weights)
    torch.testing.assert_close(more_context, context)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, states, queries = attention(), torch.randn(B, N, F), torch.randn(S, B, L, H)
    whole = model(queries, model.memory(states, LENGTHS))
    monkeypatch.setattr(AdditiveAttention, "chunk", 1)
    for part, expected in zip(model(queries, model.memory(states, LENGTHS)), whole, strict=True):
        torch.testing.assert_close(part, expected)


def test_coverage_counts_what_is_attended_to_again() -> None:
    steps = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.3, 0.7]])
    real = torch.tensor([True, True, True, False])
    assert coverage_loss(steps, real) == pytest.approx(0.0 + 0.5 + 0.5)
    assert coverage_loss(torch.eye(4), torch.ones(4, dtype=torch.bool)) == 0


def decoder(latent: int = Z, copy: bool = True) -> PointerGeneratorDecoder:
    made = PointerGeneratorDecoder(nn.Embedding(V, E, padding_idx=PAD), F, H, latent, 0.0, unk_id=UNK, copy=copy)
    nn.init.normal_(made.bias)
    return made.eval()


def source(model: PointerGeneratorDecoder) -> Source:
    return Source(model.attention.memory(torch.randn(B, N, F), LENGTHS), torch.randn(B, F), source_ids())


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("latent", [Z, 0])
def test_all_at_once_is_step_by_step(latent: int, copy: bool) -> None:
    model, z = decoder(latent, copy), torch.randn(S, B, latent)
    document, targets = source(model), torch.tensor([[4, 5, 9, 3], [7, 3, 0, 0], [8, 9, 3, 0]])
    inputs = torch.cat((torch.full((B, 1), BOS), targets[:, :-1]), dim=1)
    scored = targets if copy else model.within(targets)
    found = model(inputs, z, document).token_log_prob(scored)
    for s in range(S):
        writer = SourceDecoder(model, document, X)
        state = writer.start(z[s], torch.arange(B))
        for m in range(L):
            log_probs, state = writer.step(inputs[:, m], state)
            torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(B))
            expected = log_probs.gather(1, scored[:, m : m + 1]).squeeze(1)
            torch.testing.assert_close(found[s, :, m], expected.masked_fill(targets[:, m] == PAD, 0.0))


@torch.no_grad()
def test_rows_share_documents_in_any_arrangement() -> None:
    """Several rows a document, as beams are; as many of each, or not; documents left out; in any order."""
    model = decoder()
    document, tokens = source(model), torch.randint(V + X, (7,))
    z = torch.randn(7, Z)
    for arrangement in (
        [0, 0, 1, 1, 2, 2],
        [0, 0, 1, 2, 2],
        [1, 1, 2, 2],
        [0, 2],
        [2, 0, 0],
        [1, 1, 1, 1],
        [2, 1, 0, 2],
    ):
        writer, rows = SourceDecoder(model, document, X), torch.tensor(arrangement)
        state = writer.start(z[: len(rows)], rows)
        for _ in range(2):
            log_probs, state = writer.step(tokens[: len(rows)], state)
        for i, row in enumerate(arrangement):
            alone = SourceDecoder(model, document.rows(torch.tensor([row])), X)
            single = alone.start(z[i : i + 1], torch.tensor([0]))
            for _ in range(2):
                expected, single = alone.step(tokens[i : i + 1], single)
            torch.testing.assert_close(log_probs[i : i + 1], expected)


def run(
    model: PointerGeneratorDecoder, document: Source, z: Tensor, **settings: object
) -> list[tuple[tuple[int, ...], float]]:
    writer = SourceDecoder(model, document, X)
    decoded = decode(
        writer,
        writer.start(z, torch.arange(len(z))),
        bos_id=BOS,
        eos_id=EOS,
        pad_id=PAD,
        settings=DecodeSettings(**settings),  # type: ignore[arg-type]
        forbidden=[PAD, UNK, BOS],
    )
    rows = [tuple(i for i in row if i != PAD) for row in decoded.ids.tolist()]
    return list(zip(rows, decoded.log_prob.tolist(), strict=True))


def every_sentence(
    model: PointerGeneratorDecoder, document: Source, z: Tensor, words: int
) -> dict[tuple[int, ...], float]:
    """log p of all sentences of at most ``words`` words and their eos, by teacher forcing one row."""
    alphabet = range(EOS + 1, V + X)
    sentences = [y for n in range(words + 1) for y in itertools.product(alphabet, repeat=n)]
    targets = torch.full((len(sentences), words + 1), PAD)
    for row, y in zip(targets, sentences, strict=True):
        row[: len(y) + 1] = torch.tensor([*y, EOS])
    inputs = torch.cat((torch.full((len(sentences), 1), BOS), targets[:, :-1]), dim=1)
    rows = torch.zeros(len(sentences), dtype=torch.long)
    found = model(inputs, z[rows].unsqueeze(0), document.rows(rows)).log_prob(targets)[0]
    return dict(zip(sentences, found.tolist(), strict=True))


@torch.no_grad()
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_of_all_sentences(penalty: float) -> None:
    model = decoder()
    document, z = source(model), 2 * torch.randn(B, Z)
    for row in range(B):
        one = torch.tensor([row])
        scores = every_sentence(model, document.rows(one), z[one], words=2)
        best = max(scores, key=lambda y: scores[y] / (len(y) + 1) ** penalty)
        wide = {"strategy": "beam", "beams": 100, "length_penalty": penalty, "max_length": 3}
        found = run(model, document.rows(one), z[one], **wide)
        assert found[0][0] == best
        assert found[0][1] == pytest.approx(scores[best], abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("strategy", ["greedy", "beam"])
def test_a_batch_gives_what_single_documents_give(strategy: str) -> None:
    model = decoder()
    document, z = source(model), 2 * torch.randn(B, Z)
    together = run(model, document, z, strategy=strategy, max_length=6)
    for row in range(B):
        one = torch.tensor([row])
        alone = run(model, document.rows(one), z[one], strategy=strategy, max_length=6)
        assert alone[0][0] == together[row][0]
        assert alone[0][1] == pytest.approx(together[row][1], abs=1e-4)

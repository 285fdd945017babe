"""Own forward and backward passes against torch's plain ones."""

from __future__ import annotations

import multiprocessing
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgvae.kernels.cross_entropy import CHUNK, MIN_TOKENS, linear_cross_entropy
from tgvae.kernels.parallel import concurrently, threads, threads_for_calls
from tgvae.nn.gru import MIN_ROWS, GRUEncoder, run_gru

E, H, V = 6, 8, 40


@pytest.fixture
def four_threads() -> Iterator[None]:
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(1)


def gradients(loss: Tensor, *wanted: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, wanted))


def softmax_case(tokens: int) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """States, weights and bias; targets."""
    torch.manual_seed(0)
    h, weight = (torch.randn(n, E).requires_grad_() for n in (tokens, V))
    return (h, weight, torch.randn(V).requires_grad_()), torch.randint(V, (tokens,))


@pytest.mark.parametrize("tokens", [1, 5, CHUNK, 2 * CHUNK + 3])
def test_cross_entropy_and_its_gradients_are_those_of_torch(tokens: int) -> None:
    parts, target = softmax_case(tokens)
    weights = torch.rand(tokens)  # a token's loss may count for more than another's
    plain = F.cross_entropy(F.linear(*parts), target, reduction="none")
    ours = linear_cross_entropy(*parts, target)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)
    wanted, found = gradients((weights * plain).sum(), *parts), gradients((weights * ours).sum(), *parts)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(linear_cross_entropy(*parts, target), plain, rtol=1e-5, atol=1e-6)


def test_cross_entropy_in_bfloat16_is_within_the_rounding_of_its_products() -> None:
    parts, target = softmax_case(300)
    exact = linear_cross_entropy(*parts, target)
    with torch.autocast("cpu", torch.bfloat16):
        low = linear_cross_entropy(*parts, target)
    assert low.dtype == torch.float32
    assert (low - exact).abs().max() < 0.2  # logits of size 16 are rounded to 1/16, and p by 1/256 of itself
    assert (low - exact).mean().abs() < 0.01
    wanted, found = gradients(exact.mean(), *parts), gradients(low.mean(), *parts)
    assert all(f.dtype == torch.float32 for f in found)
    for f, w in zip(found, wanted, strict=True):
        assert (f - w).norm() < 0.01 * w.norm()


def test_a_gradient_taken_under_autocast_is_as_precise() -> None:
    parts, target = softmax_case(50)
    loss = linear_cross_entropy(*parts, target).mean()
    wanted = torch.autograd.grad(loss, parts[0], retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(torch.autograd.grad(loss, parts[0]), wanted)


def test_no_tokens_cost_nothing() -> None:
    parts, target = softmax_case(0)
    assert linear_cross_entropy(*parts, target).shape == (0,)
    assert all(g.eq(0).all() for g in gradients(linear_cross_entropy(*parts, target).sum(), *parts))


def test_an_impossible_token_costs_a_finite_loss_and_has_the_right_gradient() -> None:
    h = torch.tensor([[200.0, 0.0]]).requires_grad_()
    weight, target = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([1])
    nll = linear_cross_entropy(h, weight, torch.zeros(2), target)
    assert nll.item() == pytest.approx(87.3, abs=0.1)
    torch.testing.assert_close(gradients(nll.sum(), h)[0], torch.tensor([[2.0, 0.0]]))


def test_concurrent_calls_are_the_calls(four_threads: None) -> None:
    x, y, weight = (torch.randn(5, 3, requires_grad=True) for _ in range(3))

    def function(rows: Tensor, w: Tensor) -> Tensor:
        assert torch.get_num_threads() == 1
        return (rows * w).tanh()

    found = concurrently(function, [(x, weight), (y, weight), (x, y)])
    wanted = [(a * b).tanh() for a, b in ((x, weight), (y, weight), (x, y))]
    torch.testing.assert_close(found, wanted)
    ours, plain = torch.stack(found).square().sum(), torch.stack(wanted).square().sum()
    torch.testing.assert_close(gradients(ours, x, y, weight), gradients(plain, x, y, weight))
    assert torch.get_num_threads() == 4


def test_concurrent_calls_give_gradients_to_those_that_want_one(four_threads: None) -> None:
    x, fixed = torch.randn(4, requires_grad=True), torch.randn(4)
    one, two = concurrently(torch.mul, [(x, fixed), (fixed, fixed)])
    torch.testing.assert_close(gradients((one + two).sum(), x)[0], fixed)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_concurrent_calls_keep_no_graph_where_none_is_wanted(mode: Any, four_threads: None) -> None:
    x = torch.randn(4, requires_grad=True)

    def function(rows: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return 2 * rows

    with mode():
        torch.testing.assert_close(concurrently(function, [(x,), (x,)]), [2 * x, 2 * x])


def test_concurrent_calls_let_go_of_their_memory(four_threads: None) -> None:
    x = torch.randn(4, requires_grad=True)
    kept: list[weakref.ref[Tensor]] = []

    def function(rows: Tensor) -> Tensor:
        kept.append(weakref.ref(rows))
        return rows.exp()

    terms = concurrently(function, [(x,), (x,)])
    assert all(rows() is not None for rows in kept)
    sum(terms, torch.zeros(4)).sum().backward()
    assert all(rows() is None for rows in kept)
    with pytest.raises(AttributeError):
        terms[0].sum().backward()


def test_concurrent_calls_raise_what_a_call_raises(four_threads: None) -> None:
    with pytest.raises(RuntimeError, match="size"):
        concurrently(torch.mul, [(torch.ones(2), torch.ones(3))] * 2)


def test_concurrent_calls_know_the_autocast_of_the_caller(four_threads: None) -> None:
    weight = torch.randn(3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert {part.dtype for part in concurrently(torch.mm, [(weight, weight)] * 2)} == {torch.bfloat16}
    assert {part.dtype for part in concurrently(torch.mm, [(weight, weight)] * 2)} == {torch.float32}


def test_within_calls_have_the_threads_and_all_else_has_one(four_threads: None) -> None:
    x = torch.randn(64, 3)
    with threads_for_calls():
        assert (threads(), torch.get_num_threads()) == (4, 1)
        with threads_for_calls():
            found = concurrently(torch.clone, [(x,)] * 4)
        assert (threads(), torch.get_num_threads()) == (4, 1)
    assert (threads(), torch.get_num_threads()) == (4, 4)
    torch.testing.assert_close(found, [x] * 4)
    with pytest.raises(ZeroDivisionError), threads_for_calls():
        concurrently(lambda rows: rows / (1 // 0), [(x,), (x,)])
    assert (threads(), torch.get_num_threads()) == (4, 4)


@pytest.mark.parametrize("gradient", [True, False])
def test_cross_entropy_in_threads_is_that_of_one(gradient: bool, four_threads: None) -> None:
    (h, weight, bias), target = softmax_case(4 * MIN_TOKENS + 3)
    with torch.set_grad_enabled(gradient), threads_for_calls():
        found = linear_cross_entropy(h, weight, bias, target)
    wanted = F.cross_entropy(F.linear(h, weight, bias), target, reduction="none")
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    if gradient:
        scale = torch.rand(len(h))
        ours = gradients((scale * found).sum(), h, weight, bias)
        torch.testing.assert_close(ours, gradients((scale * wanted).sum(), h, weight, bias), rtol=1e-4, atol=1e-4)


def _child() -> None:
    torch.set_num_threads(2)
    concurrently(torch.add, [(torch.ones(1), torch.ones(1))] * 2)


def test_a_forked_process_has_threads_of_its_own(four_threads: None) -> None:
    concurrently(torch.add, [(torch.ones(1), torch.ones(1))] * 2)
    child = multiprocessing.get_context("fork").Process(target=_child)
    child.start()
    child.join(30)
    assert child.exitcode == 0


def test_rows_in_threads_in_bfloat16_are_those_of_one_thread(four_threads: None) -> None:
    gru, rows, first = nn.GRU(E, H, batch_first=True), torch.randn(64, 9, E), torch.zeros(64, H)
    (exact,) = run_gru((gru, rows, first))
    with torch.autocast("cpu", torch.bfloat16):
        (shared,) = run_gru((gru, rows, first))
        torch.set_num_threads(1)
        (alone,) = run_gru((gru, rows, first))
    assert shared.dtype == alone.dtype == torch.float32, "products are in bfloat16, states are not"
    torch.testing.assert_close(shared, alone, rtol=1e-5, atol=1e-5)
    assert 1e-4 < (shared - exact).abs().max() < 0.02


@pytest.mark.parametrize("rows", [1, MIN_ROWS, 4 * MIN_ROWS + 5])
@pytest.mark.parametrize("threads", [1, 4])
def test_runs_are_those_of_torch(rows: int, threads: int) -> None:
    grus = [nn.GRU(E, H, batch_first=True) for _ in range(2)]
    inputs = [torch.randn(rows, 7, E, requires_grad=True) for _ in grus]
    first = torch.randn(rows, H, requires_grad=True)
    every = [*inputs, first, *(p for gru in grus for p in gru.parameters())]
    wanted = [gru(x, first.unsqueeze(0))[0] for gru, x in zip(grus, inputs, strict=True)]
    torch.set_num_threads(threads)
    try:
        found = run_gru(*((gru, x, first) for gru, x in zip(grus, inputs, strict=True)))
        torch.testing.assert_close(found, wanted)
        ours = gradients(torch.cat(found).square().sum(), *every)
    finally:
        torch.set_num_threads(1)
    torch.testing.assert_close(ours, gradients(torch.cat(wanted).square().sum(), *every), rtol=1e-5, atol=1e-5)


def test_runs_in_bfloat16_stay_close() -> None:
    encoder, embedded = GRUEncoder(E, 32), torch.randn(40, 30, E)
    lengths = torch.randint(1, 31, (40,))
    exact = encoder(embedded, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        low = encoder(embedded, lengths)
    assert (low - exact).norm() < 0.01 * exact.norm()

"""Independent pieces of a step at the same time, a thread each, forward and backward.

A GRU goes token by token, and every token's product is too small to be worth sharing: on two threads torch's own GRU
takes as long as on one. Rows of a batch have nothing to do with each other, so here each thread takes some rows
through all tokens by itself. Torch's backward pass runs the nodes of the CPU one after another; these run side by side.

In training they are all that runs in several threads, see ``threads_for_calls``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Function = Callable[..., Tensor]
_threads: int | None = None  # that calls have while torch has one; None where torch has them
_here = threading.local()


def threads() -> int:
    """Threads that calls are shared among: in one of them no others, or each would wait for the rest."""
    return 1 if hasattr(_here, "shares") else _threads or torch.get_num_threads()


@contextmanager
def threads_for_calls() -> Iterator[None]:
    """Within, torch's threads are those of ``concurrently``, and an operation by itself has one.

    A training step has hundreds of operations of some fifty microseconds between its few large ones; to wake a second
    thread for each costs as much as it saves.
    """
    global _threads
    if _threads is not None:
        yield
        return
    _threads = torch.get_num_threads()
    try:
        _pool(_threads)
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(_threads)
        _threads = None


def concurrently(function: Function, calls: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
    """``[function(*call) for call in calls]``, at the same time where torch may use several threads.

    Calls that share out threads have one each, and the autocast of the caller. The function must be pure and draw
    nothing at random: torch has one source of draws for all threads. One can go backward through them once.

    Args:
        function: of tensors, to a tensor.
        calls: its arguments, as many for each call. Gradients go to all that need one.
    """
    if len(calls) < 2 or threads() < 2 or calls[0][0].device.type != "cpu":
        return [function(*call) for call in calls]
    if not torch.is_grad_enabled():
        return _in_threads(_as_here(function, gradient=False), calls)
    return list(_Concurrently.apply(function, len(calls), *(tensor for call in calls for tensor in call)))


class _Concurrently(torch.autograd.Function):
    """Keeps a graph for every call, and has each thread go back through its own."""

    @staticmethod
    def forward(ctx: Any, function: Function, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        needs, size = ctx.needs_input_grad[2:], len(tensors) // count
        inputs = [tensor.detach().requires_grad_(need) for tensor, need in zip(tensors, needs, strict=True)]
        calls = [inputs[i : i + size] for i in range(0, len(inputs), size)]
        results = _in_threads(_as_here(function, gradient=any(needs)), calls)
        ctx.calls_and_results = calls, results
        return tuple(result.detach() for result in results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        calls, results = ctx.calls_and_results
        del ctx.calls_and_results  # else the memory of a step lasts into the next one

        def run(call: list[Tensor], result: Tensor, gradient: Tensor) -> list[Tensor | None]:
            wanted = [tensor for tensor in call if tensor.requires_grad]
            found = iter(torch.autograd.grad(result, wanted, gradient) if wanted else ())
            return [next(found) if tensor.requires_grad else None for tensor in call]

        found = _in_threads(run, calls, results, gradients)
        return None, None, *(gradient for call in found for gradient in call)


def _as_here(function: Function, gradient: bool) -> Callable[[Sequence[Tensor]], Tensor]:
    """The function in other threads: autocast and inference mode as they are here, and gradients or none."""
    enabled, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
    inference = torch.is_inference_mode_enabled()

    def run(call: Sequence[Tensor]) -> Tensor:
        with (
            torch.inference_mode(inference),
            torch.set_grad_enabled(gradient),
            torch.autocast("cpu", dtype, enabled=enabled),
        ):
            return function(*call)

    return run


def _in_threads(function: Callable[..., Any], *arguments: Sequence[Any]) -> list[Any]:
    return list(_pool(threads()).map(function, *arguments))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads in each of which torch uses one thread."""
    pool, started = ThreadPoolExecutor(threads, "tgvae"), threading.Barrier(threads + 1)

    def start() -> None:
        torch.get_num_threads()  # the first question sets the number to that of the process, so ask before setting it
        torch.set_num_threads(1)
        _here.shares = True
        started.wait()

    try:
        for _ in range(threads):
            pool.submit(start)
        started.wait()
    except BaseException:  # the system has no more threads: those that wait would do so for ever
        started.abort()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    torch.set_num_threads(threads)  # else every thread yet to come, and the process when next asked, would have one
    return pool


os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads

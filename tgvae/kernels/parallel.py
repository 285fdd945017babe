"""Run independent parts of a training step in parallel threads, forward and backward.

A GRU advances token by token, and the product of one token is too small to be split: torch's GRU takes as long on two
threads as on one. Rows of a batch are independent, so here each thread runs some rows through all tokens. Autograd runs
the backward nodes of the CPU one after another; those of these calls run in parallel.

In training nothing else uses several threads, see ``threads_for_calls``.
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
_threads: int | None = None  # number for ``concurrently`` while torch is limited to one; None outside of training
_local = threading.local()


def threads() -> int:
    """Return the number of worker threads; 1 inside a worker, to prevent nested parallelism (it would deadlock)."""
    return 1 if hasattr(_local, "is_worker") else _threads or torch.get_num_threads()


@contextmanager
def threads_for_calls() -> Iterator[None]:
    """Reserve all threads for ``concurrently``; a single operation uses one thread inside the block.

    A training step has hundreds of operations of about fifty microseconds between a few large ones. Waking a second
    thread for each of them costs as much as it saves.
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
    """Return ``[function(*call) for call in calls]``, computed in parallel threads if there are several.

    Each call uses one thread and the caller's autocast. One backward pass is possible.

    Args:
        function: maps tensors to a tensor. It must be pure and must not use random numbers, because all threads share
            torch's global generator and their order varies.
        calls: its arguments, the same number for each call. Gradients reach all that require one.
    """
    if len(calls) < 2 or threads() < 2 or calls[0][0].device.type != "cpu":
        return [function(*call) for call in calls]
    if not torch.is_grad_enabled():
        return _in_threads(_with_context(function, gradient=False), calls)
    return list(_Concurrently.apply(function, len(calls), *(tensor for call in calls for tensor in call)))


class _Concurrently(torch.autograd.Function):
    """Keeps one autograd graph per call; the backward pass runs each in a thread."""

    @staticmethod
    def forward(ctx: Any, function: Function, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        needs, size = ctx.needs_input_grad[2:], len(tensors) // count
        inputs = [tensor.detach().requires_grad_(need) for tensor, need in zip(tensors, needs, strict=True)]
        calls = [inputs[i : i + size] for i in range(0, len(inputs), size)]
        results = _in_threads(_with_context(function, gradient=any(needs)), calls)
        ctx.calls_and_results = calls, results
        return tuple(result.detach() for result in results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        calls, results = ctx.calls_and_results
        del ctx.calls_and_results  # otherwise the memory of a step is held during the next one

        def run(call: list[Tensor], result: Tensor, gradient: Tensor) -> list[Tensor | None]:
            wanted = [tensor for tensor in call if tensor.requires_grad]
            found = iter(torch.autograd.grad(result, wanted, gradient) if wanted else ())
            return [next(found) if tensor.requires_grad else None for tensor in call]

        found = _in_threads(run, calls, results, gradients)
        return None, None, *(gradient for call in found for gradient in call)


def _with_context(function: Function, gradient: bool) -> Callable[[Sequence[Tensor]], Tensor]:
    """Return the function for other threads, with autocast and inference mode of this one (both are thread-local)."""
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
    """Return a pool of threads in each of which torch uses one thread."""
    pool, started = ThreadPoolExecutor(threads, "tgvae"), threading.Barrier(threads + 1)

    def start() -> None:
        torch.get_num_threads()  # the first call resets the number to that of the process, so call before setting it
        torch.set_num_threads(1)
        _local.is_worker = True
        started.wait()

    try:
        for _ in range(threads):
            pool.submit(start)
        started.wait()
    except BaseException:  # the system has no more threads: release those that wait at the barrier
        started.abort()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    torch.set_num_threads(threads)  # setting it in a worker changes the process default, too
    return pool


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork

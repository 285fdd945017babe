"""Several processes: batches of training divided among them, and batches of an evaluation.

An evaluation gives exactly the values of a single process: the random stream of a batch depends on the seed and the
batch's number, not on the process, and results are collected in the order of the batches.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from numpy.typing import NDArray

from tgvae.progress import track

TIMEOUT = timedelta(days=1)
"""Of processes that wait for the first, which also makes the plots. The launcher notices a dead process at once."""
_unsharded = False
T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def evaluation_group() -> Iterator[None]:
    """Share the evaluations inside among the processes that torchrun or accelerate launched.

    The launcher's variables are removed, so that what is trained inside, such as a reference language model, is
    trained by each process on its own, to the same weights.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    dist.init_process_group("gloo", timeout=TIMEOUT)  # gathers on the CPU, wherever models are
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        del os.environ[name]
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def unsharded() -> Iterator[None]:
    """Make each process evaluate all batches, for models whose weights differ between processes in the last bits."""
    global _unsharded
    before, _unsharded = _unsharded, True
    try:
        yield
    finally:
        _unsharded = before


def rank_and_size() -> tuple[int, int]:
    """Return the number of this process and how many processes there are."""
    together = not _unsharded and dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if together else (0, 1)


def is_main_process() -> bool:
    """Whether this process prints and writes."""
    return rank_and_size()[0] == 0


def sharded_map(function: Callable[[int, T], R], batches: Sequence[T]) -> list[R]:
    """Return ``[function(number, batch) for number, batch in enumerate(batches)]``, computed by all processes.

    Every process must call this with the same batches, and gets all values.
    """
    process, processes = rank_and_size()
    share = list(islice(enumerate(batches), process, None, processes))
    own = {number: function(number, batch) for number, batch in track(share, "batches")}
    if processes == 1:
        return list(own.values())
    parts: list[dict[int, R]] = [own] * processes
    dist.all_gather_object(parts, own)
    values = {number: value for part in parts for number, value in part.items()}
    return [values[number] for number in range(len(batches))]


def share_of_batch(index: NDArray[np.int64], process: int, processes: int) -> tuple[NDArray[np.int64], float]:
    """Return the rows of a training batch that one of W processes takes, and their share of the batch, n_r / n.

    Terms are means over rows, and the gradients of processes are averaged. With weight W n_r / n on the loss of
    process r, the average is the gradient of the whole batch:

        1/W sum_r W n_r/n (1/n_r sum_{i in r} grad l_i)  =  1/n sum_i grad l_i

    This is approximate where a term is not a mean over these rows: for documents in a batch of sentences (each process
    averages over its own), below a floor of free nats, and with batch norm. A process without rows takes the first row
    with weight 0, because all of them must take part in a step.
    """
    own = index[process::processes]
    return (own, len(own) / len(index)) if len(own) else (index[:1], 0.0)


def any_process(accelerator: Accelerator, *flags: bool) -> list[bool]:
    """Return which flags are set in any process. All processes must call this, and wait for each other."""
    if accelerator.num_processes == 1:
        return list(flags)
    return accelerator.reduce(torch.tensor(flags, device=accelerator.device).int(), "sum").bool().tolist()

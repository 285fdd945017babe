"""Batches of an evaluation, shared out among processes, with exactly the figures of one process.

What is drawn for a batch depends on the seed and its number, not on who has it, and what is found is put together in
the order of the batches. All else of an evaluation every process does by itself; the first one's is told and kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import TypeVar

import torch
import torch.distributed as dist

from tgvae.progress import track

PATIENCE = timedelta(days=1)
"""For each other: the first process draws the pages too. One that ends is noticed by the launcher at once."""
_by_itself = False
T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def joined() -> Iterator[None]:
    """Within, the processes that torchrun or accelerate has launched share evaluations; alone it does nothing.

    They are then no longer told of each other otherwise: what is trained within, as judges are, each process trains
    by itself, to the same weights.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    dist.init_process_group("gloo", timeout=PATIENCE)  # what is gathered is on the CPU, wherever models are
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        del os.environ[name]
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def by_itself() -> Iterator[None]:
    """Within, each process does all batches: models that differ in their last bits must not share any."""
    global _by_itself
    before, _by_itself = _by_itself, True
    try:
        yield
    finally:
        _by_itself = before


def place() -> tuple[int, int]:
    """The number of this process, and how many there are; in training, those that share its batches."""
    together = not _by_itself and dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if together else (0, 1)


def is_first() -> bool:
    """Whether this process is the one that tells and writes."""
    return place()[0] == 0


def sharded(function: Callable[[int, T], R], batches: Sequence[T]) -> list[R]:
    """``[function(number, batch) for number, batch in enumerate(batches)]``, every batch by one of the processes.

    All of them must come here with the same batches: they wait for each other, and each gets all values.
    """
    process, processes = place()
    own = list(islice(enumerate(batches), process, None, processes))
    mine = {number: function(number, batch) for number, batch in track(own, "batches")}
    if processes == 1:
        return list(mine.values())
    of_all: list[dict[int, R]] = [mine] * processes
    dist.all_gather_object(of_all, mine)
    found = {number: value for part in of_all for number, value in part.items()}
    return [found[number] for number in range(len(batches))]

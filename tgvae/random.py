"""Seeds and random generators: every source of randomness of a command is made here.

Text is sampled from generators of its own, so several threads can use one model at a time, and a seed gives the same
sentences whatever else runs in the process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_LOCK = threading.RLock()


def derive_seed(seed: int, *numbers: int) -> int:
    """Return an independent seed of 63 bits for every ``(seed, *numbers)``, e.g. for a step and a process.

    Examples:
        >>> derive_seed(0, 1) == derive_seed(0, 1), derive_seed(0, 1) == derive_seed(0, 2)
        (True, False)
    """
    state = np.random.SeedSequence([seed % 2**64, *numbers]).generate_state(1, np.uint64)
    return int(state[0] >> 1)  # torch.manual_seed takes signed 64-bit numbers


def make_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator that depends on ``seed`` alone and leaves torch's global one untouched."""
    return torch.Generator(device).manual_seed(seed)


@contextmanager
def fork_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators inside the block, and restore them afterwards.

    For code that samples from ``torch.distributions``, which accept no generator. Threads that use this function wait
    for each other; one that samples from the global generator without it, as training does, still interferes.

    Examples:
        >>> import torch
        >>> with fork_rng(seed=0, device=torch.device("cpu")):
        ...     first = torch.rand(2)
        >>> with fork_rng(seed=0, device=torch.device("cpu")):
        ...     print(torch.equal(first, torch.rand(2)))
        True
    """
    devices = [device] if device.type == "cuda" else []
    with _LOCK, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield

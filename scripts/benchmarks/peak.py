"""What the machine can do: square matrix products, by precision and threads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.reporting import Row
from benchmarks.running import Metrics, fresh, interleaved, rows, threads_of

PRECISIONS = {"no": "float32", "bf16": "bfloat16"}


@dataclass(frozen=True)
class Options:
    """GF/s (1e9 additions and multiplications a second) of n x n matrix products, the best of several."""

    threads: tuple[int, ...] = (1, 2)
    """Of torch."""
    n: tuple[int, ...] = (1024, 2048)
    """Sizes; the larger figure counts."""
    device: str = "cpu"
    """cpu, or cuda."""
    rounds: int = 3
    """Measurements of each setting, in turn."""
    out: Path | None = None
    """File for the result as JSON."""


def run(options: Options) -> list[Row]:
    settings = {"n": options.n, "device": options.device}
    measures = {threads_of(t): partial(fresh, "peak:measure", settings, t) for t in options.threads}
    return rows(interleaved(measures, options.rounds))


def measure(settings: Mapping[str, Any]) -> Metrics:
    """GF/s of each precision: the best over sizes ``n`` on ``device``."""
    return {
        name: max(product_speed(n, name, settings["device"]) for n in settings["n"]) for name in PRECISIONS.values()
    }


def product_speed(n: int, dtype: str, device: str) -> float:
    """GF/s of an n x n matrix product: 2 n^3 over the best time of five runs, each of several products."""
    import torch

    a, b = (torch.randn(n, n, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    out, repeats, times = a @ b, max(2, min(100, 2**31 // n**3)), []
    for _ in range(5):
        synchronize(device)
        begin = time.perf_counter()
        for _ in range(repeats):
            torch.mm(a, b, out=out)
        synchronize(device)
        times.append((time.perf_counter() - begin) / repeats)
    return 2 * n**3 / min(times) / 1e9


def synchronize(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize()

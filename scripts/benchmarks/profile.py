"""Where a training step spends its time.

How: methods of the model's parts are put into ranges of torch.profiler, from outside, for some steps of the real
loop. An operation belongs to the innermost range around it; one of the backward pass to the range of the forward
operation that has its sequence number. Times are those of operations themselves (on a GPU, of their kernels), so
parts add up; what is left of the step's wall time is Python and whatever no range holds. The profiler slows small
operations down: read shares from this table and speeds from `training`.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import nn
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks import loop
from benchmarks.reporting import Row
from benchmarks.running import Metrics, fresh, interleaved, rows, threads_of
from benchmarks.sizes import SIZES, Kind
from benchmarks.training import corpora
from tgvae.data.corpus import Corpus
from tgvae.data.dataset import Ints, Rows, Unit
from tgvae.data.schema import PreparedFolder
from tgvae.distributions import HouseholderNormal, TokenSequence
from tgvae.models.topic import TopicMixture, TopicNetwork
from tgvae.models.topic_prior import TopicPrior
from tgvae.nn.gru import GRUDecoder, GRUEncoder
from tgvae.nn.heads import HouseholderHead
from tgvae.trace import Trace

PARTS: tuple[tuple[type, str, str], ...] = (
    (nn.Embedding, "forward", "embedding"),
    (GRUEncoder, "forward", "encoder"),
    (HouseholderHead, "forward", "flow and KL"),
    (HouseholderNormal, "rsample", "flow and KL"),
    (Trace, "terms", "flow and KL"),
    (GRUDecoder, "forward", "decoder"),
    (TokenSequence, "log_prob", "vocabulary softmax"),
    (TopicNetwork, "trace", "topic model"),
    (TopicNetwork, "posterior", "topic model"),
    (TopicPrior, "forward", "topic model"),
    (TopicMixture, "log_prob", "topic model"),
    (Accelerator, "clip_grad_norm_", "clipping"),
    (torch.optim.AdamW, "step", "optimiser"),
    (Corpus, "gather", "data"),
)
MARK = "part: "
REST = "rest"


@dataclass(frozen=True)
class Options:
    """Milliseconds of a training step by part, forward and backward, and the step's wall time beside them."""

    size: Literal["small", "peer", "large"] = "small"
    """As in training."""
    models: tuple[Kind, ...] = ("sentence-vae", "tgvae")
    """Kinds of models."""
    threads: tuple[int, ...] = (1,)
    """Of torch."""
    precision: Literal["no", "bf16"] = "no"
    """no is float32."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train."""
    prepared: Path | None = None
    """A prepared folder in place of the made-up corpus."""
    steps: int = 10
    """Steps profiled."""
    rounds: int = 3
    """Measurements of each, in turn."""
    out: Path | None = None
    """File for the result as JSON."""


def run(options: Options) -> list[Row]:
    """A row for every part, a column for every model and number of threads."""
    with corpora(options.prepared, [options.size], options.steps) as folders:
        common = {"folder": str(folders[options.size]), "sizes": asdict(SIZES[options.size]), "steps": options.steps}
        common |= {"precision": options.precision, "device": options.device}
        measures = {
            f"{kind}, {threads_of(threads)}": partial(fresh, "profile:measure", common | {"kind": kind}, threads)
            for kind in options.models
            for threads in options.threads
        }
        found = rows(interleaved(measures, options.rounds))
    parts = list(dict.fromkeys(part for row in found for part in row.rounds))
    return [Row(part, {r.name: r.rounds[part] for r in found if part in r.rounds}) for part in parts]


class Profiled(loop.Timed):
    """A training split that starts the profiler with the first step that counts."""

    def __init__(self, corpus: Corpus, device: str, steps: int) -> None:
        super().__init__(corpus, device, steps)
        on_gpu = [ProfilerActivity.CUDA] if device != "cpu" else []
        self.profiler = profile(activities=[ProfilerActivity.CPU, *on_gpu])

    def rows(self, unit: Unit) -> Rows:
        rows = super().rows(unit)

        def gather(index: Ints) -> Any:
            if len(self.moments) == loop.WARM:
                self.profiler.start()
            return rows.gather(index)

        return replace(rows, gather=gather)


def measure(settings: Mapping[str, Any]) -> Metrics:
    """Milliseconds a step by part: see the docstring of the file. Settings as those of ``loop.measure``."""
    steps, device = settings["steps"], settings["device"]
    loop.require_device(device)
    folder = PreparedFolder.open(settings["folder"])
    split = Profiled(Corpus(folder, "train"), device, steps)
    with ranges():
        loop.train_model(settings, folder, split)
    split.profiler.stop()
    spent = by_part(split.profiler.events(), device)
    wall = split.load("sentence")["seconds"]
    spent[REST] += 1e6 * wall - sum(spent.values())
    order = sorted(spent, key=lambda part: (part == REST, -spent[part]))
    return {part: spent[part] / 1000 / steps for part in order} | {"step": 1000 * wall / steps}


@contextmanager
def ranges() -> Iterator[None]:
    """Within, every method of ``PARTS`` is a range of the profiler."""
    plain = [(owner, name, getattr(owner, name)) for owner, name, _ in PARTS]
    for (owner, name, method), (*_, part) in zip(plain, PARTS, strict=True):
        setattr(owner, name, ranged(method, part))
    try:
        yield
    finally:
        for owner, name, method in plain:
            setattr(owner, name, method)


def ranged(method: Callable[..., Any], part: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with record_function(MARK + part):
            return method(*args, **kwargs)

    return wrapped


def by_part(events: Sequence[FunctionEvent], device: str) -> defaultdict[str, float]:
    """Microseconds of operations themselves, by the part that they belong to."""
    on_host = [e for e in events if e.device_type == DeviceType.CPU]
    part_of = {e.sequence_nr: part for e in on_host if e.sequence_nr >= 0 and (part := enclosing(e, {}))}
    spent: defaultdict[str, float] = defaultdict(float)
    for event in on_host:
        own = event.self_cpu_time_total if device == "cpu" else event.self_device_time_total
        spent[enclosing(event, part_of) or REST] += own
    return spent


def enclosing(event: FunctionEvent | None, part_of: Mapping[int, str]) -> str | None:
    """The innermost part around an event; for the backward pass that of the forward operation, if it is known."""
    while event is not None:
        if event.name.startswith(MARK):
            return event.name.removeprefix(MARK)
        if event.name.startswith("autograd::engine::evaluate_function"):
            part = part_of.get(event.sequence_nr)
            return f"{part}, backward" if part else "gradient sums" if "AccumulateGrad" in event.name else None
        event = event.cpu_parent
    return None

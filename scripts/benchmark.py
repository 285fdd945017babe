"""Throughput of a run: training tokens a second, generated sentences a second, peak memory. JSON out.

python scripts/benchmark.py runs/articles --threads 2
"""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

from tgvae.data.corpus import Corpus
from tgvae.generation.decode import DecodeSettings
from tgvae.runs import build, load_tgvae, open_data, read_recipe
from tgvae.trace import objective

STRATEGIES = {
    "sample": DecodeSettings(),
    "greedy": DecodeSettings("greedy"),
    "beam 5": DecodeSettings("beam"),
}


@dataclass(frozen=True)
class Options:
    """Measure a run of a topic-guided model."""

    run: tyro.conf.Positional[Path]
    """A run folder, whose corpus is still there."""
    threads: Annotated[int, tyro.conf.arg(help="Torch threads.")] = 2
    steps: int = 30
    """Training steps timed, after three that are not."""
    batches: tuple[int, ...] = (1, 32, 512)
    """Sentences generated at a time."""


def training_speed(run: Path, steps: int) -> float:
    """Tokens a second, eos included and padding not, of the run's own recipe from its start."""
    recipe, folder = read_recipe(run), open_data(run)
    corpus, model = Corpus(folder, "train"), build(recipe, folder)
    phase = list(recipe.train.phases.values())[-1]
    optimizer = torch.optim.AdamW(model.parameters(), lr=phase.learning_rate)
    tokens, started = 0, 0.0
    for number, index in enumerate(corpus.sentence_batches(phase.batch, seed=0)[: steps + 3]):
        if number == 3:
            tokens, started = 0, time.perf_counter()
        batch = corpus.gather(index)
        objective(model(batch), {}, phase.free_nats).backward()
        optimizer.step()
        optimizer.zero_grad()
        tokens += int(batch.lengths.sum())
    return tokens / (time.perf_counter() - started)


def generation_speed(run: Path, strategy: str, batch: int) -> float:
    """Sentences a second on topic 0, until two seconds have passed."""
    model = load_tgvae(run)
    model.generate(0, num=1, settings=STRATEGIES[strategy])
    sentences, started = 0, time.perf_counter()
    while time.perf_counter() - started < 2:
        model.generate(0, num=batch, settings=STRATEGIES[strategy], seed=sentences)
        sentences += batch
    return sentences / (time.perf_counter() - started)


def main() -> None:
    options = tyro.cli(Options)
    torch.set_num_threads(options.threads)
    measured = {
        "torch": torch.__version__,
        "threads": options.threads,
        "training tokens/s": round(training_speed(options.run, options.steps)),
        "sentences/s": {
            f"{strategy}, batch {batch}": round(generation_speed(options.run, strategy, batch), 1)
            for strategy in STRATEGIES
            for batch in options.batches
        },
        "peak memory MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()

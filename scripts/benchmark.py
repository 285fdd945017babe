"""Throughput of a run: training tokens a second, sentences or summaries a second, peak memory. JSON out.

python scripts/benchmark.py runs/articles --threads 2
"""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro

from tgvae.data.corpus import Corpus
from tgvae.generation.decode import DecodeSettings, Strategy
from tgvae.models.summaries import SUMMARY
from tgvae.models.summarizer import Summarizer
from tgvae.runs import build, load_run, load_summarizer, load_tgvae, open_folder, read_recipe
from tgvae.trace import objective

STRATEGIES: tuple[Strategy, ...] = ("sample", "greedy", "beam")


@dataclass(frozen=True)
class Options:
    """Measure a run of a topic-guided model or of a summarizer."""

    run: tyro.conf.Positional[Path]
    """A run folder, whose corpus is still there."""
    threads: Annotated[int, tyro.conf.arg(help="Torch threads.")] = 2
    steps: int = 30
    """Training steps timed, after three that are not."""
    batches: tuple[int, ...] = (1, 32, 512)
    """Sentences generated, or documents summarized, at a time."""


def training_speed(run: Path, steps: int) -> float:
    """Tokens a second, those of sources and eos included and padding not, of the run's own recipe from its start."""
    recipe, folder = read_recipe(run), open_folder(run)
    corpus, model = Corpus(folder, "train"), build(recipe, folder)
    examples = model.pairs(corpus) if isinstance(model, Summarizer) else corpus
    phase = list(recipe.train.phases.values())[-1]
    optimizer = torch.optim.AdamW(model.parameters(), lr=phase.learning_rate)
    tokens, started = 0, 0.0
    for number, index in enumerate(examples.sentence_batches(phase.batch, seed=0)[: steps + 3]):
        if number == 3:
            tokens, started = 0, time.perf_counter()
        batch = examples.gather(index)
        objective(model(batch), {}, phase.free_nats).backward()
        optimizer.step()
        optimizer.zero_grad()
        tokens += int(examples.lengths[index].sum())
    return tokens / (time.perf_counter() - started)


def generation_speed(run: Path, strategy: Strategy, batch: int) -> float:
    """Sentences a second on topic 0, until two seconds have passed."""
    model, settings = load_tgvae(run), DecodeSettings(strategy)
    model.generate(0, num=1, settings=settings)
    sentences, started = 0, time.perf_counter()
    while time.perf_counter() - started < 2:
        model.generate(0, num=batch, settings=settings, seed=sentences)
        sentences += batch
    return sentences / (time.perf_counter() - started)


def summary_speed(run: Path, strategy: Strategy, batch: int) -> float:
    """Test documents summarized a second, until five seconds have passed."""
    model, folder = load_summarizer(run), open_folder(run)
    texts = [" ".join(sentences) for sentences in folder.split("test")["sentences"].to_pylist()]
    settings = replace(SUMMARY, strategy=strategy)
    model.summarize(texts[:1], settings=settings)
    documents, started = 0, time.perf_counter()
    while time.perf_counter() - started < 5:
        model.summarize([texts[i % len(texts)] for i in range(documents, documents + batch)], settings=settings)
        documents += batch
    return documents / (time.perf_counter() - started)


def main() -> None:
    options = tyro.cli(Options)
    torch.set_num_threads(options.threads)
    summarizes = isinstance(load_run(options.run), Summarizer)
    unit, speed = ("documents/s", summary_speed) if summarizes else ("sentences/s", generation_speed)
    strategies = STRATEGIES[1:] if summarizes else STRATEGIES
    measured = {
        "torch": torch.__version__,
        "threads": options.threads,
        "training tokens/s": round(training_speed(options.run, options.steps)),
        unit: {
            f"{strategy}, batch {batch}": round(speed(options.run, strategy, batch), 1)
            for strategy in strategies
            for batch in options.batches
        },
        "peak memory MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()

"""The grid of Wang et al. 2019 on a prepared corpus, and its tables next to the published ones.

tgvae prepare train.jsonl valid.jsonl test.jsonl --out prepared/arxiv --recipe paper --fields.label topic
python scripts/reproduce.py prepared/arxiv --out runs/grid --jobs 2

Every cell is a run folder below OUT, trained and evaluated with the same settings. What is done already is not done
again: an interrupted grid goes on, in the middle of a training too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from paper_tables import LANGUAGE_MODEL, all_tables, header
from tgvae.cli.evaluate import evaluate_run, load_reference_lm
from tgvae.cli.main import keep_memory
from tgvae.evaluation.report import EvalConfig
from tgvae.evaluation.report_io import FOLDER, REPORT, load_evaluation
from tgvae.models.sentence import SentenceConfig
from tgvae.models.tgvae import TGVAEConfig
from tgvae.models.topic import TopicConfig
from tgvae.recipes import RECIPES, Recipe
from tgvae.runs import ensure_run, load_run


@dataclass(frozen=True)
class Options:
    """Train, evaluate and print the grid: language model, sentence VAE, and TGVAE over topics and flow lengths."""

    data: tyro.conf.Positional[Path]
    """A prepared folder; for the paper's preprocessing: tgvae prepare --recipe paper."""
    out: Path
    """Folder of the runs and of tables.md."""
    topics: tuple[int, ...] = (10, 30, 50)
    """Numbers of topics T."""
    flows: tuple[int, ...] = (0, 1, 10)
    """Flow lengths K."""
    sentence: SentenceConfig = field(default_factory=SentenceConfig)
    """Sizes of every model; the paper has --sentence.hidden-size 600 --sentence.dropout 0.4."""
    epochs: int = 8
    """Of sentences, at most."""
    precision: Literal["no", "bf16"] = "no"
    """Of training."""
    seed: int = 0
    """Of training."""
    jobs: int = 1
    """Cells at a time; the cores are shared among them."""
    config: EvalConfig = field(default_factory=EvalConfig)


def main() -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as tgvae.cli.main does: read by the processes of the cells
    options = tyro.cli(Options, description=__doc__)
    options.out.mkdir(parents=True, exist_ok=True)
    grid = cells(options)
    run_all(options, {LANGUAGE_MODEL: grid[LANGUAGE_MODEL]})  # first: it is the baseline of all others
    run_all(options, grid)
    text = "\n\n".join(
        [header(f"Seed {options.seed}"), *all_tables({name: load_evaluation(options.out / name)[1] for name in grid})]
    )
    (options.out / "tables.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def cells(options: Options) -> dict[str, Recipe]:
    """Name and recipe of every run."""
    found = {LANGUAGE_MODEL: sized("language-model", 0, options)}
    found |= {f"vae-k{k}": sized("sentence-vae", k, options) for k in sorted({0, max(options.flows)})}
    found |= {f"tgvae-t{t}-k{k}": sized("tgvae", k, options, t) for t in options.topics for k in options.flows}
    return found | {f"prodlda-t{t}": sized("prodlda", 0, options, t) for t in options.topics}


def sized(kind: str, flow: int, options: Options, topics: int = 0) -> Recipe:
    """A recipe with the sizes, epochs and seed of the grid."""
    recipe = RECIPES[kind]()
    sentence, model = replace(options.sentence, flow_length=flow), recipe.model
    if isinstance(model, TGVAEConfig):
        model = replace(model, sentence=sentence, topic=replace(model.topic, topics=topics))
    elif isinstance(model, TopicConfig):
        model = replace(model, topics=topics)
    else:
        model = sentence
    phases = dict(recipe.train.phases)
    if "sentences" in phases:
        phases["sentences"] = replace(phases["sentences"], epochs=options.epochs)
    training = replace(recipe.train, phases=phases, precision=options.precision, seed=options.seed)
    return replace(recipe, model=model, train=training)


def run_all(options: Options, grid: Mapping[str, Recipe]) -> None:
    """Train, then evaluate every cell, each in a process of its own."""
    for work in (train_cell, evaluate_cell):
        with ProcessPoolExecutor(options.jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
            list(pool.map(partial(work, options), grid, grid.values()))


def train_cell(options: Options, name: str, recipe: Recipe) -> None:
    """Train a cell, or what is left of it.

    Raises:
        UserError: OUT holds this cell with other settings or another corpus.
    """
    start_process(options)
    ensure_run(recipe, options.data, options.out / name)


def evaluate_cell(options: Options, name: str, recipe: Recipe) -> None:
    """Evaluate a trained cell with the settings of the grid, unless that is done."""
    run, config = options.out / name, replace(options.config, lda=True)
    if (run / FOLDER / REPORT).is_file() and load_evaluation(run)[0]["config"] == as_json(config):
        return
    start_process(options)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    reference_run = options.out / LANGUAGE_MODEL
    reference = load_reference_lm(reference_run, load_run(reference_run, device), data=options.data)
    evaluate_run(run, load_run(run, device), reference, config=config, data=options.data)


def as_json(config: EvalConfig) -> dict[str, Any]:
    """Return the settings as they are in a report."""
    return dict(json.loads(json.dumps(asdict(config))))


def start_process(options: Options) -> None:
    """Memory and threads of a process of the grid."""
    keep_memory()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.jobs))


if __name__ == "__main__":
    main()

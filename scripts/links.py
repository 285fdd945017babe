"""Link prediction with graph autoencoders: AUC and average precision over splits (Kipf & Welling 2016, table 1).

python scripts/links.py planetoid/cora planetoid/citeseer --out runs/links

Every cell is a run folder OUT/GRAPH/RECIPE/SEED; the seed decides the split and the start. What is done already is not
done again.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from tgvae.cli.main import keep_memory
from tgvae.data.graphs import GraphSplit
from tgvae.datasets import load_split, open_source
from tgvae.evaluation.links import link_figures
from tgvae.evaluation.metric import Metrics
from tgvae.evaluation.registry import baseline_name
from tgvae.evaluation.studies import header, with_error
from tgvae.models.vgae import GraphVAE
from tgvae.recipes import RECIPES
from tgvae.runs import ensure_run

KINDS = ("graph-vae", "graph-autoencoder")


@dataclass(frozen=True)
class Options:
    """Train both kinds of graph autoencoder on several splits of graphs, and print a table."""

    graphs: tyro.conf.Positional[tuple[str, ...]]
    """Lists of edges, or FOLDER/NAME of Planetoid's files."""
    out: Path
    """Folder of the runs and of tables.md."""
    seeds: tuple[int, ...] = tuple(range(10))
    """Of splits and training."""


def main() -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as tgvae.cli.main does
    keep_memory()
    options = tyro.cli(Options, description=__doc__)
    rows = ["| graph | model | AUC | average precision |", "|---|---|---|---|"]
    for graph in options.graphs:
        found = {kind: [cell(options, graph, kind, seed) for seed in options.seeds] for kind in KINDS}
        for kind, cells in found.items():
            scores = (with_error([100 * figures[name].value for figures in cells]) for name in cells[0])
            rows.append(f"| {Path(graph).stem} | {kind} | {' | '.join(scores)} |")
        first = found[KINDS[0]]
        for mark in first[0]["auc"].baselines:
            scores = (with_error([100 * metrics[id].baselines[mark] for metrics in first]) for id in first[0])
            rows.append(f"| {Path(graph).stem} | {baseline_name(mark)} | {' | '.join(scores)} |")
    what = f"Percent, held-out edges against as many non-edges, mean and error over {len(options.seeds)} splits"
    text = f"{header(what)}\n\n" + "\n".join(rows) + "\n"
    (options.out / "tables.md").write_text(text, encoding="utf-8")
    print(text)


def cell(options: Options, graph: str, kind: str, seed: int) -> Metrics:
    """Metrics of the test links of one split."""
    recipe = RECIPES[kind]()
    recipe = replace(recipe, train=replace(recipe.train, seed=seed))
    run = options.out / Path(graph).stem / kind / str(seed)
    model = ensure_run(recipe, graph, run, quiet=True)
    assert isinstance(model, GraphVAE)
    split = load_split(model, open_source(GraphVAE, graph), "test", seed)
    assert isinstance(split, GraphSplit)
    found = link_figures(model, split, seed)
    print(graph, kind, seed, *(f"{100 * figure.value:.1f}" for figure in found.values()), file=sys.stderr)
    return found


if __name__ == "__main__":
    main()

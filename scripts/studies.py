"""Studies over seeds: VAEs with corrupted inputs (Im et al. 2015), and link prediction (Kipf & Welling 2016, table 1).

python scripts/studies.py denoising --out runs/denoising --data mnist
python scripts/studies.py links planetoid/cora planetoid/citeseer --out runs/links

Every cell is a run folder below OUT; finished cells are not trained again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from paper_tables import header, with_error
from tgvae.cli.main import keep_memory
from tgvae.data.corruption import Corruption
from tgvae.datasets import load_split, open_source
from tgvae.evaluation.likelihood import importance_weighted_nll
from tgvae.evaluation.link_prediction import link_metrics
from tgvae.evaluation.metric import Metrics
from tgvae.evaluation.registry import baseline_name
from tgvae.files import write_text
from tgvae.formatting import Table
from tgvae.models.vae import VectorConfig
from tgvae.recipes import RECIPES, denoising, digits_vae, in_phases
from tgvae.runs import ensure_run

NONE = Corruption()
NOISES = {
    "none": NONE,
    "mask 0.1": Corruption("mask", 0.1),
    "mask 0.3": Corruption("mask", 0.3),
    "salt-and-pepper 0.05": Corruption("salt-and-pepper", 0.05),
    "salt-and-pepper 0.15": Corruption("salt-and-pepper", 0.15),
    "gaussian 0.25": Corruption("gaussian", 0.25),
    "gaussian 0.5": Corruption("gaussian", 0.5),
    "latent 0.3": Corruption(latent=0.3),
    "salt-and-pepper 0.05, latent 0.3": Corruption("salt-and-pepper", 0.05, latent=0.3),
}
GRAPH_RECIPES = ("graph-vae", "graph-autoencoder")
Nats = tuple[float, ...]


@dataclass(frozen=True)
class Denoising:
    """Train a VAE with every noise and seed, and print -log p(x) of validation and test images.

    The bound is computed with an encoder that reads clean images, and with one that reads corrupted ones, which
    is tighter after much noise. All cells of a seed start from the same weights and see the same batches.
    """

    out: Path
    """Folder of the runs and of one table per data set."""
    data: tuple[str, ...] = ("digits", "mnist")
    """Sets of vectors."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Of training."""
    epochs: int = 100
    """At most; training stops after ten epochs without a better validation bound."""
    samples: int = 1000
    """Of the importance-weighted bound."""
    model: VectorConfig = field(default_factory=VectorConfig)
    """Sizes, the same for every cell."""

    def run(self) -> None:
        for data in self.data:
            found: dict[str, list[Nats]] = {noise: [] for noise in NOISES}
            for seed in self.seeds:  # outermost, so that an interrupted study has all noises of the first seeds
                for noise in NOISES:
                    found[noise].append(self.cell(data, noise, seed))
                    print(data, noise, seed, *(f"{nats:.2f}" for nats in found[noise][-1]), file=sys.stderr)
            what = f"-log p(x) in nats per image, {self.samples} samples; mean and error over {len(self.seeds)} seeds"
            publish(noise_table(found), what, self.out / f"{Path(data).stem}.md")

    def cell(self, data: str, noise: str, seed: int) -> Nats:
        """Return nats per image: validation and test read clean, then both read corrupted."""
        recipe = in_phases(digits_vae(), lambda phase: replace(phase, epochs=self.epochs))
        recipe = denoising(replace(recipe, model=self.model), NOISES[noise])
        recipe = replace(recipe, train=replace(recipe.train, seed=seed, device="cpu"))
        run = self.out / Path(data).stem / noise.replace(" ", "-").replace(",", "") / str(seed)
        model: Any = ensure_run(recipe, data, run, quiet=True)
        source = open_source(type(model), data)
        readings = [NONE] + [NOISES[noise]] * (NOISES[noise].kind != "none")
        nats = []
        for corruption in readings:
            for split in ("valid", "test"):
                rows = load_split(model, source, split, seed)
                found = importance_weighted_nll(model, rows, self.samples, unit="vector", corruption=corruption)
                nats.append(found.nll)
        return tuple(nats if len(readings) == 2 else nats * 2)  # no corrupted images to read


def noise_table(found: Mapping[str, Sequence[Nats]]) -> Table:
    """Return means over seeds with standard errors, and the difference to no noise seed by seed.

    The difference is that of the reading, clean or corrupted, with the better validation mean.
    """
    rows, plain = [], np.array(found["none"])[:, 1]
    for noise, values in found.items():
        valid, test, valid_noisy, test_noisy = np.array(values).T
        cells = [with_error(each) for each in (valid, valid_noisy, test, test_noisy)]
        if NOISES[noise].kind == "none":
            cells[1] = cells[3] = ""
        best = test if valid.mean() <= valid_noisy.mean() else test_noisy
        rows.append([noise, *cells, "" if noise == "none" else with_error(best - plain)])
    columns = ["noise", "validation: reading clean", "corrupted", "test: reading clean", "corrupted", "test, to none"]
    return Table(columns, rows)


@dataclass(frozen=True)
class Links:
    """Train both kinds of graph autoencoder on several splits of graphs, and print AUC and average precision."""

    graphs: tyro.conf.Positional[tuple[str, ...]]
    """Lists of edges, or FOLDER/NAME of Planetoid's files."""
    out: Path
    """Folder of the runs and of tables.md."""
    seeds: tuple[int, ...] = tuple(range(10))
    """Of splits and training."""
    epochs: int | None = None
    """Of training, at most; the recipe's by default."""

    def run(self) -> None:
        rows = []
        for graph in self.graphs:
            name = Path(graph).stem
            for kind in GRAPH_RECIPES:
                cells = [self.cell(graph, kind, seed) for seed in self.seeds]
                rows.append([name, kind, *(with_error([100 * m[id].value for m in cells]) for id in cells[0])])
            for mark in cells[0]["auc"].baselines:
                scores = [with_error([100 * m[id].baselines[mark] for m in cells]) for id in cells[0]]
                rows.append([name, baseline_name(mark), *scores])
        what = f"Percent, held-out edges and as many non-edges; mean and error over {len(self.seeds)} splits"
        publish(Table(["graph", "model", "AUC", "average precision"], rows), what, self.out / "tables.md")

    def cell(self, graph: str, kind: str, seed: int) -> Metrics:
        """Return the metrics of the test links of one split."""
        recipe = RECIPES[kind]()
        recipe = replace(recipe, train=replace(recipe.train, seed=seed))
        recipe = in_phases(recipe, lambda phase: replace(phase, epochs=self.epochs or phase.epochs))
        model: Any = ensure_run(recipe, graph, self.out / Path(graph).stem / kind / str(seed), quiet=True)
        split: Any = load_split(model, open_source(type(model), graph), "test", seed)
        return link_metrics(model, split, seed)


def publish(table: Table, what: str, path: Path) -> None:
    """Write a table with the command and versions behind it, and print it."""
    text = f"{header(what)}\n\n{table.to_markdown()}\n"
    write_text(path, text)
    print(text)


def main(arguments: Sequence[str] | None = None) -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as tgvae.cli.main does
    keep_memory()
    study: Denoising | Links = tyro.cli(
        Annotated[Denoising, tyro.conf.subcommand("denoising")] | Annotated[Links, tyro.conf.subcommand("links")],
        args=arguments,
        description=__doc__,
    )
    study.run()


if __name__ == "__main__":
    main()

"""Does corruption help a VAE? Test log-likelihood with and without, at equal size, over seeds (Im et al. 2015).

python scripts/denoising.py --data mnist --out runs/denoising

-log p(x) is taken twice, with an encoder that reads clean images and with one that reads corrupted ones, as in
training: both are bounds, and after much noise the second is tighter.
Every cell is a run folder OUT/DATA/NOISE/SEED; what is done already is not done again. All cells of a seed start from
the same weights and see the same batches, so differences to the VAE without noise are taken seed by seed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tyro

from tgvae.cli.main import keep_memory
from tgvae.data.corruption import Corruption
from tgvae.datasets import load_split, open_source
from tgvae.evaluation.likelihood import importance_weighted_nll
from tgvae.evaluation.studies import header, with_error
from tgvae.models.vae import VectorConfig
from tgvae.recipes import Recipe, denoising, digits_vae, in_phases
from tgvae.runs import ensure_run

NOISES = {
    "none": Corruption(),
    "mask 0.1": Corruption("mask", 0.1),
    "mask 0.3": Corruption("mask", 0.3),
    "salt-and-pepper 0.05": Corruption("salt-and-pepper", 0.05),
    "salt-and-pepper 0.15": Corruption("salt-and-pepper", 0.15),
    "gaussian 0.25": Corruption("gaussian", 0.25),
    "gaussian 0.5": Corruption("gaussian", 0.5),
    "latent 0.3": Corruption(latent=0.3),
    "salt-and-pepper 0.05, latent 0.3": Corruption("salt-and-pepper", 0.05, latent=0.3),
}

Nats = tuple[float, ...]


@dataclass(frozen=True)
class Options:
    """Train every noise with every seed, and print -log p(x) of validation and test images."""

    out: Path
    """Folder of the runs and of tables, one a set of data."""
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


def main() -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as tgvae.cli.main does
    keep_memory()
    options = tyro.cli(Options, description=__doc__)
    for data in options.data:
        found: dict[str, list[Nats]] = {noise: [] for noise in NOISES}
        for seed in options.seeds:  # by seed, so that an interrupted study has all noises of the first seeds
            for noise in NOISES:
                found[noise].append(cell(options, data, noise, seed))
                print(data, noise, seed, *(f"{nats:.2f}" for nats in found[noise][-1]), file=sys.stderr)
        over = f"mean and error over {len(options.seeds)} seeds"
        what = f"-log p(x) in nats an image, {options.samples} draws, lower is better; {over}"
        text = f"{header(what)}\n\n{table(found)}"
        (options.out / f"{Path(data).stem}.md").write_text(text, encoding="utf-8")
        print(f"{data}\n\n{text}")


def cell(options: Options, data: str, noise: str, seed: int) -> Nats:
    """-log p(x) in nats an image, importance-weighted: validation and test read clean, then both read corrupted."""
    recipe = trained_with(options, noise, seed)
    model = ensure_run(
        recipe, data, options.out / Path(data).stem / noise.replace(" ", "-").replace(",", "") / str(seed), quiet=True
    )
    source = open_source(type(model), data)
    readings = [NOISES["none"]] + [NOISES[noise]] * (NOISES[noise].kind != "none")
    nats = tuple(
        importance_weighted_nll(
            model, load_split(model, source, split, seed), options.samples, unit="vector", corruption=seen
        ).nll
        for seen in readings
        for split in ("valid", "test")
    )
    return nats if len(readings) == 2 else nats * 2  # there is nothing corrupted to read


def trained_with(options: Options, noise: str, seed: int) -> Recipe:
    """The VAE with some noise, and nothing else changed."""
    recipe = replace(in_phases(digits_vae(), lambda phase: replace(phase, epochs=options.epochs)), model=options.model)
    recipe = denoising(recipe, NOISES[noise])
    return replace(recipe, train=replace(recipe.train, seed=seed, device="cpu"))


def table(found: Mapping[str, Sequence[Nats]]) -> str:
    """A row a noise: means over seeds with standard errors, and the difference to no noise seed by seed.

    The difference is of the reading, clean or corrupted, that is the better one on validation over all seeds.
    """
    rows = [
        "| noise | validation: reading clean | corrupted | test: reading clean | corrupted | test, to none |",
        "|---|---|---|---|---|---|",
    ]
    plain = np.array(found["none"])[:, 1]
    for noise, values in found.items():
        valid, test, valid_noisy, test_noisy = np.array(values).T
        if NOISES[noise].kind == "none":  # nothing is corrupted that the encoder reads
            cells = [with_error(valid), "", with_error(test), ""]
        else:
            cells = list(map(with_error, (valid, valid_noisy, test, test_noisy)))
        best = test if valid.mean() <= valid_noisy.mean() else test_noisy
        cells.append("" if noise == "none" else with_error(best - plain))
        rows.append(f"| {noise} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()

"""`tgvae evaluate`: the figures of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from tgvae.data.corpus import Corpus
from tgvae.errors import UserError
from tgvae.evaluation.guidance import Fidelity, ask_every_topic, classifier_fidelity, fidelity
from tgvae.evaluation.latent import active_units
from tgvae.evaluation.likelihood import document_bound, importance_weighted_nll, sentence_bound
from tgvae.evaluation.topics import topic_quality
from tgvae.models.base import Model, load
from tgvae.models.sentence import LatentWriter
from tgvae.models.tgvae import TGVAE
from tgvae.models.topic import TopicModel
from tgvae.runs import open_data

Figure = dict[str, Any]


@dataclass(frozen=True)
class Evaluate:
    """Print the figures of one or several runs side by side, each with its unit."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, trained on one corpus."""
    split: Literal["valid", "test"] = "test"
    """Held-out documents to measure on."""
    samples: int = 100
    """Draws of the importance-weighted bound; 0 leaves it out."""
    per_topic: int = 20
    """Sentences generated from every topic for the fidelity."""
    seed: int = 0
    """Of all draws."""
    data: Path | None = None
    """Where the prepared folder is now, if it has moved."""
    json: bool = False
    """Print JSON."""


def main(arguments: Sequence[str]) -> None:
    options = tyro.cli(Evaluate, args=arguments, prog="tgvae evaluate")
    if not options.runs:
        raise UserError("give at least one run folder")
    found: dict[str, dict[str, Figure]] = {}
    for run in options.runs:
        folder = open_data(run, options.data)
        corpora = {name: Corpus(folder, name) for name in ("train", options.split)}
        found[str(run)] = figures(
            load(run),
            corpora["train"],
            corpora[options.split],
            options.samples,
            options.per_topic,
            options.seed,
        )
    if options.json:
        print(json.dumps({"split": options.split, "seed": options.seed, "runs": found}, indent=2))
    else:
        show(found, Console(highlight=False))


def figures(
    model: Model, train: Corpus, held_out: Corpus, samples: int, per_topic: int, seed: int
) -> dict[str, Figure]:
    """Every figure that the kind of model has: name -> value and unit, and the standard error if there is one."""
    found: dict[str, Figure] = {}
    if not isinstance(model, TopicModel):
        found |= _language(model, held_out, samples, seed)
    if isinstance(model, LatentWriter):
        units = active_units(model, held_out)
        found["active units"] = _figure(units, f"of {model.sentence.head.loc.out_features} (variance of means > 0.01)")
    if isinstance(model, TGVAE | TopicModel):
        quality = topic_quality(model, train)
        found["topic NPMI"] = _figure(float(quality.npmi.mean()), "top 10, training documents")
        found["topic diversity"] = _figure(quality.diversity, "share of distinct top-10 words")
        found["topics in use"] = _figure(quality.in_use, "share")
        found["document perplexity"] = _figure(
            document_bound(model, held_out, seed).perplexity, "per topic word, with KL"
        )
    if isinstance(model, TGVAE):
        asked = ask_every_topic(model, per_topic, seed)
        found |= _fidelity("fidelity", fidelity(model, held_out, asked))
        if len(set(train.table["label"].to_pylist()) - {None}) > 1:
            found |= _fidelity("fidelity (classifier)", classifier_fidelity(model, train, held_out, asked))
    return found


def _fidelity(name: str, measured: Fidelity) -> dict[str, Figure]:
    return {
        name: _figure(measured.generated, f"of {measured.sentences} generated sentences"),
        f"{name}: natural": _figure(measured.natural, "of held-out sentences"),
        f"{name}: chance": _figure(measured.chance, "share"),
    }


def _language(model: Model, held_out: Corpus, samples: int, seed: int) -> dict[str, Figure]:
    bound = sentence_bound(model, held_out, seed)
    found = {name: _figure(bound.mean(name), "nats per sentence") for name in bound.terms}
    found["-ELBO"] = _figure(bound.negative_elbo, "nats per sentence")
    found["perplexity (ELBO)"] = _figure(bound.perplexity, "per word, with KL")
    if samples:
        weighted = importance_weighted_nll(model, held_out, samples, seed)
        name = f"perplexity (IW {samples})"
        found[f"nll (IW {samples})"] = _figure(weighted.nll, "nats per sentence") | {"error": weighted.standard_error}
        found[name] = _figure(weighted.perplexity, "per word, importance-weighted")
    return found


def _figure(value: float, unit: str) -> Figure:
    return {"value": value, "unit": unit}


def show(found: dict[str, dict[str, Figure]], console: Console) -> None:
    """Print figures as a table, a column a run."""
    table = Table("figure", *found, "unit")
    names = list(dict.fromkeys(name for run in found.values() for name in run))
    for name in names:
        cells = [_cell(run.get(name)) for run in found.values()]
        unit = next(run[name]["unit"] for run in found.values() if name in run)
        table.add_row(name, *cells, unit)
    console.print(table)


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    error = f" ± {figure['error']:.2f}" if "error" in figure else ""
    value = figure["value"]
    return f"{value}{error}" if isinstance(value, int) else f"{value:.{1 if value >= 100 else 3}f}{error}"

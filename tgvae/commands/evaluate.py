"""`tgvae evaluate`: the figures of runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table

from tgvae.commands.parsing import parse
from tgvae.data.corpus import Corpus
from tgvae.errors import UserError
from tgvae.evaluation.report import Figure, Figures, Protocol, by_name, figures
from tgvae.models.sentence import LanguageModel
from tgvae.runs import load_run, open_data


@dataclass(frozen=True)
class Evaluate:
    """Print the figures of one or several runs side by side, each with its unit.

    A language model among the runs also judges the fluency of what the others generate.

    Example: tgvae evaluate runs/sotu runs/sotu-vae runs/sotu-lm --lda
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, trained on one corpus."""
    split: Literal["valid", "test"] = "test"
    """Held-out documents to measure on."""
    protocol: Annotated[Protocol, tyro.conf.arg(name="")] = field(default_factory=Protocol)
    data: Path | None = None
    """Where the prepared folder is now, if it has moved."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, cuda:1, ..."""
    json: bool = False
    """Print JSON."""


def main(arguments: Sequence[str]) -> None:
    options = parse(Evaluate, "evaluate", arguments)
    if not options.runs:
        raise UserError("give at least one run folder")
    models = {str(run): load_run(run, options.device) for run in options.runs}
    judge = next((model for model in models.values() if isinstance(model, LanguageModel)), None)
    found = {}
    for run, model in models.items():
        folder = open_data(Path(run), options.data)
        train, held_out = Corpus(folder, "train"), Corpus(folder, options.split)
        found[run] = figures(model, train, held_out, options.protocol, judge)
    if options.json:
        runs = {run: {name: asdict(figure) for name, figure in rows.items()} for run, rows in found.items()}
        print(json.dumps({"split": options.split, "protocol": asdict(options.protocol), "runs": runs}, indent=2))
    else:
        show(found, Console(highlight=False))


def show(found: Mapping[str, Figures], console: Console) -> None:
    """Print figures as a table, a column a run."""
    table = Table("figure", *found, "unit")
    for name in by_name(list(found.values())):
        cells = [_cell(rows.get(name)) for rows in found.values()]
        table.add_row(name, *cells, next(rows[name].unit for rows in found.values() if name in rows))
    console.print(table)


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    error = f" ± {figure.error:.2f}" if figure.error is not None else ""
    value = figure.value
    return f"{value}{error}" if isinstance(value, int) else f"{value:.{1 if value >= 100 else 3}f}{error}"

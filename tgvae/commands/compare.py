"""`tgvae compare`: evaluated runs side by side, and whether they differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from tgvae.commands.evaluate import number, wide_console
from tgvae.commands.parsing import parse
from tgvae.errors import UserError
from tgvae.evaluation.archive import load_evaluation
from tgvae.evaluation.figure import Difference, Figure, Report, by_name, difference
from tgvae.models.graph import GraphVAE
from tgvae.settings import SEEDS, require_range
from tgvae.sources import fingerprint


@dataclass(frozen=True)
class Compare:
    """Differences of evaluated runs to the first of them, with 95 % bootstrap intervals.

    A star marks an interval without zero. Runs are compared document by document, or vector by vector, where a
    figure is of the held-out ones, else as two samples. The interval is about this split: other training seeds
    differ more.

    Example: tgvae compare runs/sotu-lm runs/sotu-vae runs/sotu
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders that `tgvae evaluate` has measured, the baseline first."""
    seed: int = 0
    """Of the bootstrap."""
    json: bool = False
    """Print JSON."""


def main(arguments: Sequence[str]) -> None:
    options = parse(Compare, "compare", arguments)
    require_range(options, 0, SEEDS, "seed")
    if len(options.runs) < 2:
        raise UserError("give two run folders or more, the baseline first")
    if len(set(options.runs)) < len(options.runs):
        raise UserError("a run is given twice; give different run folders")
    loaded = {str(run): load_evaluation(run) for run in options.runs}
    require_comparable({run: about for run, (about, _) in loaded.items()})
    reports = {run: report for run, (_, report) in loaded.items()}
    found = differences(reports, options.seed)
    if options.json:
        print(json.dumps({run: {n: asdict(d) for n, d in rows.items()} for run, rows in found.items()}, indent=2))
    else:
        show(reports, found, wide_console())


def require_comparable(abouts: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises UserError when runs were measured on other documents or by another protocol than the first."""
    first, *others = abouts
    for run in others:
        for name, of in (
            ("corpus", lambda a: fingerprint(a["corpus"])),
            ("split", lambda a: a["split"]),
            ("split of the edges", lambda a: a["training seed"] if a["model"] == GraphVAE.kind else None),
        ):
            if of(abouts[run]) != of(abouts[first]):
                raise UserError(f"{run}: measured on another {name} than {first}; evaluate both on the same one")
        judges = {abouts[r]["judge"] for r in (run, first)} - {None}
        if len(judges) > 1:
            raise UserError(f"{run}: judged by another language model than {first}; evaluate them together")
        if abouts[run]["protocol"] != abouts[first]["protocol"]:
            raise UserError(f"{run}: measured by another protocol than {first}; evaluate both with the same options")


def differences(reports: Mapping[str, Report], seed: int) -> dict[str, dict[str, Difference]]:
    """For every run but the first, its figures minus those of the first, by section/name."""
    first, *others = reports.values()
    return {
        run: {
            f"{section}/{name}": difference(first[section][name], report[section][name], seed)
            for section, name in by_name({run: report})
            if name in first.get(section, {})
        }
        for run, report in zip(list(reports)[1:], others, strict=True)
    }


def show(reports: Mapping[str, Report], found: Mapping[str, Mapping[str, Difference]], console: Console) -> None:
    """Print figures and differences as a table."""
    first, *others = reports
    columns = [column for run in others for column in (run, "difference [95 %]")]
    wide = (Column(column, no_wrap=True) for column in (first, *columns))
    table = Table(Column("figure", min_width=24), *wide, box=SIMPLE_HEAD)
    for section, name in by_name({run: reports[run] for run in reports}):
        rows = [reports[run].get(section, {}).get(name) for run in reports]
        known = next(row for row in rows if row is not None)
        cells = [plain(rows[0])]
        for run, row in zip(others, rows[1:], strict=True):
            cells += [plain(row), interval(found[run].get(f"{section}/{name}"))]
        table.add_row(f"{name} [dim]{escape(known.unit)}[/dim]", *cells)
    console.print(table)


def plain(figure: Figure | None) -> str:
    """A value without its error, which the interval of the difference takes the place of."""
    return "" if figure is None else number(figure.value)


def interval(d: Difference | None) -> str:
    """A difference with its interval, starred where that leaves out zero."""
    if d is None:
        return ""
    if d.low is None or d.high is None:
        return f"{d.value:+.3f}"
    star = " *" if d.low > 0 or d.high < 0 else ""
    return f"{d.value:+.3f} [{number(d.low)}, {number(d.high)}]{star}"

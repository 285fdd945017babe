"""`tgvae compare`: evaluated runs side by side, and whether they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from tgvae.cli.options import parse
from tgvae.cli.output import print_json, print_next_steps, table_console
from tgvae.config_io import SEEDS, require_range
from tgvae.datasets import fingerprint
from tgvae.errors import UserError
from tgvae.evaluation.metric import Difference, Metric, Report, difference, metric_ids
from tgvae.evaluation.registry import display_name
from tgvae.evaluation.report_io import FOLDER, PAGE, load_evaluation
from tgvae.formatting import ColumnGroup, format_interval, format_number, print_metrics
from tgvae.models.vgae import GraphVAE
from tgvae.progress import track


@dataclass(frozen=True)
class Compare:
    """Differences of evaluated runs to the first of them, with 95 % bootstrap intervals.

    A star marks an interval without zero. Runs are compared document by document, or vector by vector, where a
    figure is of the held-out ones, else as two samples. The interval is about this split: other training seeds
    differ more.

    Examples:
      tgvae compare runs/sotu-lm runs/sotu-vae runs/sotu
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
        print_json({run: {name: asdict(d) for name, d in rows.items()} for run, rows in found.items()})
        return
    show(reports, found, table_console())
    print_next_steps(steps=[f"open {options.runs[-1] / FOLDER / PAGE} in a browser"])


def require_comparable(abouts: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises UserError when runs were measured on other documents or by another protocol than the first."""
    first, *others = abouts
    for run in others:
        for name, of in (
            ("data set", lambda a: fingerprint(a["data"])),
            ("split", lambda a: a["split"]),
            ("split of the edges", lambda a: a["training_seed"] if a["model"] == GraphVAE.kind else None),
        ):
            if of(abouts[run]) != of(abouts[first]):
                raise UserError(f"{run}: evaluated on another {name} than {first}; evaluate both on the same one")
        judges = {abouts[r]["reference_lm"] for r in (run, first)} - {None}
        if len(judges) > 1:
            raise UserError(f"{run}: evaluated with another reference model than {first}; evaluate them together")
        if abouts[run]["config"] != abouts[first]["config"]:
            raise UserError(f"{run}: evaluated with other options than {first}; evaluate both with the same ones")


def differences(reports: Mapping[str, Report], seed: int) -> dict[str, dict[str, Difference]]:
    """For every run but the first, its figures minus those of the first, by section/name."""
    first, *others = reports.values()
    return {
        run: {
            f"{section}/{id}": difference(first[section][id], report[section][id], seed)
            for section, id in metric_ids({run: report})
            if id in first.get(section, {})
        }
        for run, report in zip(list(reports)[1:], track(others, "bootstrap"), strict=True)
    }


def show(reports: Mapping[str, Report], found: Mapping[str, Mapping[str, Difference]], console: Console) -> None:
    """Print figures and differences as tables: the first run in each, and the others beside it."""
    named = metric_ids(reports)
    of = {run: [report.get(section, {}).get(id) for section, id in named] for run, report in reports.items()}
    known = [next(filter(None, figures)) for figures in zip(*of.values(), strict=True)]
    labels = [
        (section, display_name(id, metric), metric.unit) for (section, id), metric in zip(named, known, strict=True)
    ]
    (first, figures), *others = of.items()
    groups = [
        ColumnGroup(
            (run, "difference [95 %]"),
            [
                (_value(row), _interval(found[run].get(f"{section}/{id}")))
                for row, (section, id) in zip(rows, named, strict=True)
            ],
            max_width=max(18, console.width // 2 - 12),
        )
        for run, rows in others
    ]
    print_metrics(labels, groups, console, ColumnGroup((first,), [(_value(row),) for row in figures]))


def _value(metric: Metric | None) -> str:
    """Return a value without its error: the interval of the difference replaces it."""
    return "" if metric is None else format_number(metric.value)


def _interval(difference: Difference | None) -> str:
    return "" if difference is None else format_interval(difference.value, difference.low, difference.high)

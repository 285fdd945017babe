"""`tgvae compare`: differences between evaluated runs with confidence intervals."""

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
from tgvae.datasets import fingerprint, split_seed
from tgvae.errors import UserError
from tgvae.evaluation.metric import Difference, Metric, Report, difference, metric_ids
from tgvae.evaluation.registry import display_name
from tgvae.evaluation.report_io import FOLDER, PAGE, load_evaluation
from tgvae.formatting import ColumnGroup, format_interval, format_number, print_metrics
from tgvae.progress import track


@dataclass(frozen=True)
class Compare:
    """Differences of evaluated runs to the first one, with 95 % bootstrap intervals.

    A star marks an interval that excludes zero. Metrics of held-out documents or vectors are compared document by
    document or vector by vector, others as two independent samples. The interval is about this split: other training
    seeds differ more.

    Examples:
      tgvae compare runs/sotu-lm runs/sotu-vae runs/sotu
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders that `tgvae evaluate` has evaluated, the baseline first."""
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
        print_json({run: {id: asdict(d) for id, d in rows.items()} for run, rows in found.items()})
        return
    show(reports, found, table_console())
    print_next_steps(steps=[f"open {options.runs[-1] / FOLDER / PAGE} in a browser"])


def require_comparable(abouts: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise UserError for runs that were evaluated on other data or with other options than the first."""
    first, *others = abouts
    for run in others:
        for name, of in (
            ("data set", lambda about: fingerprint(about["data"])),
            ("split", lambda about: about["split"]),
            ("split of the edges", lambda about: split_seed(about["model"], about["training_seed"])),
        ):
            if of(abouts[run]) != of(abouts[first]):
                raise UserError(f"{run}: evaluated on another {name} than {first}; evaluate both on the same one")
        if len({abouts[r]["reference_lm"] for r in (run, first)} - {None}) > 1:
            raise UserError(f"{run}: evaluated with another reference model than {first}; evaluate them together")
        if abouts[run]["config"] != abouts[first]["config"]:
            raise UserError(f"{run}: evaluated with other options than {first}; evaluate both with the same ones")


def differences(reports: Mapping[str, Report], seed: int) -> dict[str, dict[str, Difference]]:
    """Return for every run but the first its metrics minus those of the first, by section/id."""
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
    """Print metrics and differences as tables, each with the first run and as many others as fit."""
    ids = metric_ids(reports)
    rows = {run: [report.get(section, {}).get(id) for section, id in ids] for run, report in reports.items()}
    metrics = [next(filter(None, row)) for row in zip(*rows.values(), strict=True)]
    labels = [
        (section, display_name(id, metric), metric.unit) for (section, id), metric in zip(ids, metrics, strict=True)
    ]
    baseline, *others = rows
    groups = [
        ColumnGroup(
            (run, "difference [95 %]"),
            [
                (_value(metric), _interval(found[run].get(f"{section}/{id}")))
                for metric, (section, id) in zip(rows[run], ids, strict=True)
            ],
            max_width=max(18, console.width // 2 - 12),
        )
        for run in others
    ]
    print_metrics(labels, groups, console, ColumnGroup((baseline,), [(_value(metric),) for metric in rows[baseline]]))


def _value(metric: Metric | None) -> str:
    """Return a value without its error: the interval of the difference replaces it."""
    return "" if metric is None else format_number(metric.value)


def _interval(difference: Difference | None) -> str:
    return "" if difference is None else format_interval(difference.value, difference.low, difference.high)

"""Two results side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.reporting import Row, read
from tgvae.errors import UserError


@dataclass(frozen=True)
class Options:
    """Medians of B over those of A, for every row and figure that both have."""

    a: tyro.conf.Positional[Path]
    """A file that --out wrote."""
    b: tyro.conf.Positional[Path]
    """Another."""
    out: Path | None = None
    """File for the ratios as JSON."""


def run(options: Options) -> list[Row]:
    return ratios(read(options.a), read(options.b))


def ratios(a: list[Row], b: list[Row]) -> list[Row]:
    """B / A; a figure that is 0 in A has no ratio. Raises UserError where they have nothing in common."""
    of_b = {row.name: row.median for row in b}
    found = []
    for row in a:
        other = of_b.get(row.name, {})
        both = {name: [other[name] / value] for name, value in row.median.items() if value and name in other}
        if both:
            found.append(Row(row.name, both))
    if not found:
        raise UserError("the two results have no row with a figure in common; measure the same settings")
    return found

"""Tables of figures that fit the terminal: what does not find room beside stands below, and nothing is cut off."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

PADDING = 3  # characters between two columns
HEADING = 16  # characters of a heading that widen its column; longer ones are folded
LABEL, NAMES = 14, 30  # characters that names of figures have at least, and where there is room for all
LARGE = 1e6  # from where numbers have an exponent


@dataclass(frozen=True)
class Block:
    """Columns that stand together.

    Attributes:
        headings: of the columns.
        rows: cells of every row; empty ones where there is nothing to say.
        most: characters of a column; what is longer is wrapped.
    """

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    most: int = 1000

    def widths(self, room: int) -> list[int]:
        """Of the columns, as wide as their longest cell, up to ``room`` characters."""
        most, columns = min(self.most, room), zip(self.headings, zip(*self.rows, strict=True), strict=True)
        return [min(most, max(min(len(name), HEADING), *map(len, cells))) for name, cells in columns]


def show_blocks(
    labels: Sequence[tuple[str, str, str]], blocks: Sequence[Block], console: Console, first: Block | None = None
) -> None:
    """Print blocks side by side, in as many tables as it takes.

    Args:
        labels: section, name and unit of every row.
        blocks: what the tables show.
        console: as wide as the tables may be.
        first: what every table shows, besides the names.
    """
    longest = max(len(name) + 1 + len(unit) for _, name, unit in labels)
    inner = console.width - PADDING - 1  # without what stands around the names
    most = inner - LABEL - PADDING
    always = [] if first is None else [first]
    taken = sum(_width(block, most) for block in always)
    widths = [_width(block, most) for block in blocks]
    label = max(LABEL, min(longest, max(NAMES, inner - taken - sum(widths)), inner - taken - max(widths)))
    for group in _groups(blocks, inner - label - taken, most):
        _show(labels, [*always, *group], label, most, console)


def _width(block: Block, most: int) -> int:
    return sum(width + PADDING for width in block.widths(most))


def _groups(blocks: Sequence[Block], room: int, most: int) -> Iterator[list[Block]]:
    """Blocks that find room beside each other, at least one."""
    group: list[Block] = []
    for block in blocks:
        if group and sum(_width(other, most) for other in [*group, block]) > room:
            yield group
            group = []
        group.append(block)
    yield group


def _show(
    labels: Sequence[tuple[str, str, str]], blocks: Sequence[Block], label: int, most: int, console: Console
) -> None:
    """Print one table; rows of which it has no cell are left out."""
    columns = (
        Column(escape(name), width=width, overflow="fold")
        for block in blocks
        for name, width in zip(block.headings, block.widths(most), strict=True)
    )
    table = Table(Column("figure", width=label, overflow="fold"), *columns, box=SIMPLE_HEAD)
    last = ""
    for (section, name, unit), *parts in zip(labels, *(block.rows for block in blocks), strict=True):
        cells = [cell for part in parts for cell in part]
        if not any(cells):
            continue
        if section != last:
            table.add_row(Text(section.capitalize(), "bold"))
        table.add_row(f"{escape(name)} [dim]{escape(unit)}[/dim]", *map(escape, cells))
        last = section
    console.print(table)


def number(value: float) -> str:
    """A number in three or four digits; a dash for a share of nothing."""
    if math.isnan(value):
        return "–"
    if isinstance(value, int):
        return f"{value}"
    return f"{value:.3g}" if abs(value) >= LARGE else f"{value:.{1 if abs(value) >= 100 else 3}f}"

"""Numbers as text, and tables for the terminal, Markdown and HTML."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

MISSING = "–"
LARGE = 1e9  # larger values are printed with an exponent
LABEL_WIDTH = 30  # characters reserved for metric names when tables are packed into the terminal
BORDERS = 3  # characters that rich adds for every column: padding and separator


class Markup(str):
    """Text that is already HTML or Markdown, so it is not escaped."""

    __slots__ = ()


@dataclass(frozen=True)
class Table:
    """A table of text, rendered by ``to_html``, ``to_markdown`` or ``to_rich``.

    Attributes:
        columns: one heading per column.
        rows: one cell per column; ``Markup`` is inserted as it is, any other text is escaped.
        numeric: indices of the columns that are aligned to the right.
        title: bold line above a Markdown table; caption of a terminal table; not part of HTML.

    Examples:
        >>> print(Table(("topic", "share"), [("war_", "12 %")], numeric={1}).to_markdown())
        | topic | share |
        | --- | ---: |
        | war\\_ | 12 % |
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Collection[int] = ()
    title: str = ""

    def to_markdown(self) -> str:
        rules = ["---:" if i in self.numeric else "---" for i in range(len(self.columns))]
        cells = [[_escaped(cell, escape_markdown) for cell in row] for row in (self.columns, *self.rows)]
        lines = [f"| {' | '.join(row)} |" for row in (cells[0], rules, *cells[1:])]
        return "\n".join([*([f"**{self.title}**", ""] if self.title else []), *lines])

    def to_html(self, inline_style: bool = False) -> str:
        """Return a ``<table>``.

        Args:
            inline_style: align cells by style attributes, for notebooks; otherwise numeric cells have class "number".
        """
        looks = [self._html_attribute(i, inline_style) for i in range(len(self.columns))]

        def row(tag: str, attributes: str, cells: Sequence[str]) -> str:
            pairs = zip(looks, cells, strict=True)
            return "".join(f"<{tag}{attributes}{look}>{_escaped(cell, html.escape)}</{tag}>" for look, cell in pairs)

        head = row("th", ' scope="col"', self.columns)
        body = "".join(f"<tr>{row('td', '', cells)}</tr>" for cells in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def to_rich(self, show_lines: bool = False) -> RichTable:
        """Return a rich table; cells may not hold rich markup."""
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(title=self.title or None, show_lines=show_lines)
        for i, name in enumerate(self.columns):
            table.add_column(Text(name), justify="right" if i in self.numeric else "left")
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table

    def _html_attribute(self, column: int, inline_style: bool) -> str:
        numeric = column in self.numeric
        if inline_style:
            return f' style="text-align: {"right" if numeric else "left"}; white-space: pre-wrap"'
        return ' class="number"' if numeric else ""


def format_number(value: float | None, signed: bool = False) -> str:
    """Return a value with three or four digits: whole numbers whole, "–" for NaN, "" for None.

    Examples:
        >>> [format_number(x) for x in (3, 0.12345, 4.5678, 123.456, 12345.6, 1.51e13)]
        ['3', '0.123', '4.568', '123.5', '12,346', '1.51e+13']
        >>> format_number(0.5, signed=True)
        '+0.5'
    """
    if value is None:
        return ""
    if math.isnan(value):
        return MISSING
    size = abs(value)
    if size >= LARGE or (size < 1 and not isinstance(value, Integral)):
        digits = ".3g"
    elif size >= 1000 or isinstance(value, Integral):
        digits = ",.0f"
    else:
        digits = ".1f" if size >= 100 else ".2f" if size >= 10 else ".3f"
    return format(value, ("+" if signed else "") + digits)


def format_estimate(value: float, error: float | None) -> str:
    """Return a value with its standard error, both rounded to two digits of the error.

    Examples:
        >>> format_estimate(109.83, 3.04), format_estimate(109.83, None)
        ('109.8 ± 3.0', '109.8')
    """
    if not error or math.isnan(error):
        return format_number(value)
    if max(abs(value), error) >= LARGE:
        return f"{value:.3g} ± {error:.2g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{decimals}f} ± {error:,.{decimals}f}"


def format_interval(value: float, low: float | None, high: float | None) -> str:
    """Return a difference with its confidence interval; "*" marks an interval that excludes zero.

    Examples:
        >>> format_interval(-1.5, -2.5, -0.5)
        '-1.500 [-2.500, -0.5] *'
    """
    if low is None or high is None:
        return format_number(value, signed=True)
    star = " *" if low > 0 or high < 0 else ""
    return f"{format_number(value, signed=True)} [{format_number(low)}, {format_number(high)}]{star}"


def escape_markdown(text: str) -> str:
    """Return text on one line that Markdown shows literally."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*\[\]|~$#]|(?<!\w)_|_(?!\w))", r"\\\1", escaped)


@dataclass(frozen=True)
class ColumnGroup:
    """Columns of a table of metrics that are kept next to each other, such as a value and its difference.

    Attributes:
        columns: one heading per column.
        rows: cells of every metric; empty where there is no value.
        max_width: longer cells are wrapped to this width.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    max_width: int = 1000

    @property
    def width(self) -> int:
        """Characters that the group needs; long headings are wrapped and may need less than their length."""
        columns = zip(self.columns, zip(*self.rows, strict=True), strict=True)
        return sum(min(self.max_width, max(min(16, len(c)), *map(len, cells))) + BORDERS for c, cells in columns)


def print_metrics(
    labels: Sequence[tuple[str, str, str]],
    groups: Sequence[ColumnGroup],
    console: Console,
    pinned: ColumnGroup | None = None,
) -> None:
    """Print metrics as one table, or as several below each other if the console is too narrow; no text is cut off.

    Args:
        labels: section, name and unit of every metric.
        groups: columns of the tables.
        console: determines the width.
        pinned: columns that every table repeats.
    """
    always = [] if pinned is None else [pinned]
    label = min(LABEL_WIDTH, max(len(name) + 1 + len(unit) for _, name, unit in labels))
    room = console.width - label - BORDERS - sum(group.width for group in always)
    for packed in _pack(groups, room):
        console.print(_metric_table(labels, [*always, *packed]))


def _pack(groups: Sequence[ColumnGroup], room: int) -> Iterator[list[ColumnGroup]]:
    """Yield lists of consecutive groups that fit into ``room`` characters, at least one group each."""
    packed: list[ColumnGroup] = []
    for group in groups:
        if packed and sum(other.width for other in (*packed, group)) > room:
            yield packed
            packed = []
        packed.append(group)
    yield packed


def _metric_table(labels: Sequence[tuple[str, str, str]], groups: Sequence[ColumnGroup]) -> RichTable:
    """Return one row per metric that has a value, below the name of its section."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(box=SIMPLE_HEAD)
    table.add_column("metric", overflow="fold")
    for group in groups:
        for name in group.columns:
            table.add_column(Text(name), max_width=group.max_width, overflow="fold")
    previous = ""
    for (section, name, unit), *parts in zip(labels, *(group.rows for group in groups), strict=True):
        cells = [cell for part in parts for cell in part]
        if not any(cells):
            continue
        if section != previous:
            table.add_row(Text(section.capitalize(), "bold"))
        table.add_row(Text.assemble(name, " ", (unit, "dim")), *map(Text, cells))
        previous = section
    return table


def _escaped(cell: str, escape: Callable[[str], str]) -> str:
    return cell if isinstance(cell, Markup) else escape(cell)

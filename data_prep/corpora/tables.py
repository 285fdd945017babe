"""Read the rows of tables: .csv, .tsv, .jsonl, .json, .parquet and .xlsx, with a document per row."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from data_prep.corpora.encoding import read_text_lines
from tgvae.errors import UserError

Row = Mapping[str, Any]
Placed = tuple[str, Row]
"""A row, and where it is: "file:line"."""
SAMPLE_LINES = 1000
"""Lines by which the form of a CSV file is found."""
_FORMS: tuple[dict[str, Any], ...] = (
    {"strict": True},
    {"strict": True, "skipinitialspace": True},
    {"strict": True, "doublequote": False, "escapechar": "\\"},
    {"quoting": csv.QUOTE_NONE},
)
"""How quotes can be meant: doubled; after a blank; escaped by a backslash; as plain characters, in TSV."""
_PARTITION = re.compile(r"([A-Za-z_]\w*)=(.+)")


def read_rows(path: Path, kind: str, encoding: str, columns: Sequence[str]) -> Iterator[Placed]:
    """Yield the rows of a table, with the columns that folders such as year=2015 on its way give.

    Args:
        path: the file.
        kind: its extension.
        encoding: of text files.
        columns: names of columns that may be there, by which the delimiter of a CSV file is found.

    Raises:
        UserError: it cannot be read; the message names the line and the cause.
    """
    if kind == ".parquet":
        rows = read_parquet(path)
    elif kind == ".xlsx":
        rows = read_xlsx(path)
    elif kind in (".csv", ".tsv"):
        rows = read_csv(path, encoding, columns, "\t" if kind == ".tsv" else ",")
    else:
        rows = read_json(path, encoding)
    found = filter(None, map(_PARTITION.fullmatch, path.parts[:-1]))
    partition = {match[1]: match[2] for match in found}
    return ((where, {**partition, **row}) for where, row in rows) if partition else rows


def numbered_lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file and their numbers from 1. Raises UserError where it is empty or still gzipped."""
    number = 0
    for number, line in enumerate(read_text_lines(path, encoding), 1):
        yield number, line
    if not number:
        raise UserError(f"{path}: the file is empty.")


def read_json(path: Path, encoding: str) -> Iterator[Placed]:
    """Yield the objects of JSON Lines, of one array, or of the only array that one object holds.

    An array is read into memory as a whole.
    """
    lines = numbered_lines(path, encoding)
    head = list(islice((pair for pair in lines if pair[1].strip()), 1))
    first = head[0][1].strip() if head else ""
    if first.startswith("[") or first == "{" or (first.startswith("{") and not _is_json(first)):
        yield from _json_array(path, [line for _, line in chain(head, lines)], head[0][0])
        return
    for number, line in chain(head, lines):
        if line.strip():
            row = _parse(line, f"{path}:{number}")
            if not isinstance(row, dict):
                raise UserError(f"{path}:{number}: {line.strip()[:40]} is not a JSON object with named fields.")
            yield f"{path}:{number}", row


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _json_array(path: Path, lines: list[str], first: int) -> Iterator[Placed]:
    """Yield the objects of a whole JSON document; JSON Lines of which the first is damaged are named as such."""
    text = "".join(lines)
    if len(lines) > 1 and not _is_json(text) and _is_json(lines[-1]):
        found = _parse(lines[0], f"{path}:{first}")
    else:
        found = _parse(text, str(path))
    if isinstance(found, dict):
        arrays = [value for value in found.values() if isinstance(value, list) and value]
        if len(arrays) != 1:
            raise UserError(f"{path}: one JSON object; give an array of objects, or one object per line.")
        found = arrays[0]
    for number, row in enumerate(found, 1):
        if not isinstance(row, dict):
            raise UserError(f"{path}: item {number}, {str(row)[:40]}, is not a JSON object with named fields.")
        yield f"{path}: item {number}", row


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # the second: lists nested too deep
        hint = "names and texts need double quotes" if re.match(r"\s*[\[{]+\s*'", text) else "one JSON object per line"
        raise UserError(f"{where}: not JSON ({error}); expected {hint}.") from error


def read_csv(path: Path, encoding: str, columns: Sequence[str], delimiter: str = ",") -> Iterator[Placed]:
    """Yield the rows of a file with a header, whose delimiter and quotes are found from its first lines.

    The delimiter is a comma, semicolon, TAB or bar: the one that gives the header the most of ``columns``, else the
    most cells, else ``delimiter``.
    """
    lines = (line for _, line in numbered_lines(path, encoding))
    head = list(islice(lines, SAMPLE_LINES))
    skipped = int(head[0].strip().lower().startswith("sep="))  # a line for Excel
    form = find_form(head[skipped:], columns, delimiter)
    return _csv_rows(path, chain(head[skipped:], lines), form, skipped)


def find_form(head: list[str], columns: Sequence[str], delimiter: str) -> dict[str, Any]:
    """Return the arguments of `csv.reader` for a file that begins with these lines."""

    def merit(candidate: str) -> tuple[int, int, bool]:
        header = [name.strip() for name in next(csv.reader(head, delimiter=candidate), [])]
        return len(set(header) & set(columns)), len(header), candidate == delimiter

    csv.field_size_limit(2**31 - 1)
    found = max((",", ";", "\t", "|"), key=merit)
    escaped = any('\\"' in line for line in head)  # without them that form takes any stray quote for the end of a cell
    forms = [form for form in _FORMS if "escapechar" not in form or escaped]
    if found != "\t":
        forms = [form for form in forms if "quoting" not in form]
    faults = [_faults(head, form | {"delimiter": found}) for form in forms]
    return forms[faults.index(min(faults))] | {"delimiter": found}


def _faults(head: list[str], form: dict[str, Any]) -> int:
    """Return how many of the first lines do not fit a form; a quote that is open at their end may be closed later."""
    reader = csv.reader(head, **form)
    try:
        header = next(reader, [])
        return sum(bool(cells) and len(cells) != len(header) for cells in reader)
    except csv.Error as error:
        at_end = reader.line_num == len(head) == SAMPLE_LINES and "unexpected end" in str(error)
        return 0 if at_end else len(head)


def _csv_rows(path: Path, lines: Iterable[str], form: dict[str, Any], skipped: int) -> Iterator[Placed]:
    reader = csv.reader(lines, **form)
    start, delimiter = 1, {"\t": "TAB"}.get(form["delimiter"], f"'{form['delimiter']}'")
    try:
        header = [name.strip() or f"column {i}" for i, name in enumerate(next(reader), 1)]
        _require_distinct(header, f"{path}:{skipped + 1}")
        start = reader.line_num + 1
        for cells in reader:
            where = f"{path}:{skipped + reader.line_num}"
            if len(cells) > len(header) and not any(cells[len(header) :]):  # Excel pads rows
                cells = cells[: len(header)]
            if cells and len(cells) != len(header):
                more = len(cells) > len(header)
                cause = f"a cell that contains {delimiter} needs quotes around it" if more else "cells are missing"
                raise UserError(f"{where}: {len(cells)} cells, but the header names {len(header)} columns; {cause}.")
            if cells:
                yield where, dict(zip(header, cells, strict=True))
            start = reader.line_num + 1
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise UserError(
                f"{path}:{skipped + start}: the file ends inside a quoted cell of the row that starts in this line; "
                'close its quote, or double a quote that belongs to the text ("").'
            ) from error
        raise UserError(
            f"{path}:{skipped + reader.line_num}: a quoted cell goes on after its closing quote; double a quote that "
            f'belongs to the text (""), or put {delimiter} after the cell ({error}).'
        ) from error


def read_parquet(path: Path) -> Iterator[Placed]:
    """Yield the rows of a Parquet file; a thousand are in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    unreadable = (pa.ArrowException, OSError, ValueError, KeyError, OverflowError)  # the last of dates and their zones
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            _require_distinct(file.schema_arrow.names, str(path))
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}:row {number}", row
    except UserError:
        raise
    except unreadable as error:
        raise UserError(f"{path}: not a readable parquet file (after row {number}: {error}).") from error


def read_xlsx(path: Path) -> Iterator[Placed]:
    """Yield the rows of the first sheet of an Excel file, whose first row names the columns."""
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise UserError(f"{path}: reading .xlsx needs openpyxl: pip install 'tgvae[excel]'") from error
    try:
        book = load_workbook(path, read_only=True, data_only=True)
        rows = book.worksheets[0].iter_rows(values_only=True)
        header = [str(name).strip() if name is not None else f"column {i}" for i, name in enumerate(next(rows, ()), 1)]
    except Exception as error:  # openpyxl raises errors of zipfile, of its XML parser and many of its own
        raise UserError(f"{path}: not a readable .xlsx file ({error}).") from error
    _require_distinct(header, f"{path}:1")
    for number, cells in enumerate(rows, 2):
        if any(cell is not None for cell in cells):
            yield f"{path}:row {number}", dict(zip(header, cells, strict=False))
    book.close()


def _require_distinct(columns: Sequence[str], where: str) -> None:
    if len(set(columns)) < len(columns):
        twice = next(name for i, name in enumerate(columns) if name in columns[:i])
        raise UserError(f"{where}: two columns are called '{twice}'; rename one.")

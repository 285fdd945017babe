"""Tables: .jsonl, .csv and .parquet files with a document a row."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from data_prep.corpora.base import RawDocument, Scalar, Skipped, printable, split_name
from data_prep.corpora.files import InputFile, input_hash, read_lines
from data_prep.settings import Fields
from tgvae.errors import UserError, meant

Row = Mapping[str, Any]
NUMBERED = "none"
"""Name of the id column where rows are to be numbered."""


@dataclass(frozen=True)
class TableCorpus:
    """Files of rows; `fields` names the columns, every other scalar column goes into the metadata."""

    files: tuple[InputFile, ...]
    fields: Fields
    group_by: ClassVar[None] = None

    def documents(self) -> Iterator[RawDocument | Skipped]:
        """Rows in order; a row without id gets "file/row"."""
        for file in self.files:
            for number, (where, row) in enumerate(READERS[file.kind](file.path), 1):
                yield to_document(row, self.fields, where, number, file.stem, file.split)

    def describe(self) -> dict[str, str]:
        """Names and hash of the files."""
        paths = [f.path for f in self.files]
        return {
            "name": ", ".join(path.name for path in paths),
            "licence": "not stated",
            "input_sha256": input_hash(paths),
        }


def to_document(
    row: Row, fields: Fields, where: str, number: int, part: str, split: str | None
) -> RawDocument | Skipped:
    """The document that a row holds; skipped where its text is missing: null, NaN or "".

    Other cells that are missing are as if there were no such column. Raises UserError for a missing
    column (the text, or one that the user named) and for a text that is neither a string nor a list of strings.
    """
    for name, column in vars(fields).items():
        if column not in row and (name == "text" or column != name) and (name, column) != ("id", NUMBERED):
            found = ", ".join(str(key)[:40] for key in row)
            raise UserError(
                f"{where}: no field '{column}' for the {name} (fields here: {found})"
                + (meant(column, map(str, row)) or f"; name the right one with --fields.{name}.")
            )
    given = None if fields.id == NUMBERED else _optional(row.get(fields.id))
    identity = printable(given or f"{part}/{number}")
    text = row[fields.text]
    if _is_missing(text):
        return Skipped(identity, where, "empty")
    if isinstance(text, (list, tuple)) and all(isinstance(s, str) for s in text):
        text = tuple(text)
    elif not isinstance(text, str):
        raise UserError(
            f"{where}: field '{fields.text}' holds {text!r:.40}, not text or a list of sentences; "
            "name another one with --fields.text."
        )
    return RawDocument(
        id=identity,
        text=text,
        where=where,
        title=_optional(row.get(fields.title)),
        label=_optional(row.get(fields.label)),
        summary=_optional(row.get(fields.summary)),
        split=split or _row_split(row.get(fields.split), fields.split, where),
        part=part,
        metadata={k: v for k, v in row.items() if k not in vars(fields).values() and _is_scalar(v)},
    )


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _optional(value: Any) -> str | None:
    return None if _is_missing(value) else str(value)


def _row_split(value: Any, column: str, where: str) -> str | None:
    if _is_missing(value):
        return None
    if (name := split_name(str(value))) is None:
        raise UserError(f"{where}: field '{column}' says '{value!s:.40}'; a split is train, valid or test.")
    return name


def _is_scalar(value: Any) -> bool:
    return isinstance(value, Scalar) and not (isinstance(value, float) and not math.isfinite(value))


def read_jsonl(path: Path) -> Iterator[tuple[str, Row]]:
    """Place and object of every line; blank lines are passed over."""
    for number, line in read_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # the second: lists in lists, too deep to be read
            raise UserError(f"{where}: not JSON ({error}); a .jsonl file holds one JSON object a line.") from error
        if not isinstance(row, dict):
            raise UserError(f"{where}: {line.strip()[:40]} is not a JSON object with named fields.")
        yield where, row


def read_csv(path: Path) -> Iterator[tuple[str, Row]]:
    """Place and row of a comma-separated file with a header."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader((line for _, line in read_lines(path)), strict=True)
    try:
        header = next(reader)
        _require_distinct(header, f"{path}:1")
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if not cells:
                continue
            if len(cells) != len(header):
                raise UserError(f"{where}: {len(cells)} cells, but the header (line 1) names {len(header)} columns.")
            yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise UserError(
            f"{path}:{reader.line_num}: not CSV ({error}); put quotes around cells of several lines."
        ) from error


def read_parquet(path: Path) -> Iterator[tuple[str, Row]]:
    """Place and row of a parquet file, a thousand rows in memory at a time."""
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


def _require_distinct(columns: Sequence[str], where: str) -> None:
    if len(set(columns)) < len(columns):
        raise UserError(f"{where}: a column is named twice ({', '.join(columns)}).")


READERS = {".jsonl": read_jsonl, ".csv": read_csv, ".parquet": read_parquet}

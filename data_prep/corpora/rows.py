"""Turn the rows of tables into documents."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from itertools import chain
from typing import Any

from data_prep.corpora.base import RawDocument, Scalar, Skipped, printable, split_name
from data_prep.corpora.dates import find_date, read_date
from data_prep.corpora.tables import Placed, Row
from data_prep.settings import Fields
from tgvae.errors import UserError, suggestion

NUMBERED = "none"
"""Name of the id column where rows are to be numbered."""
HEAD = 1000
"""Rows among which a column that was asked for must occur."""


def require_columns(rows: Iterable[Placed], fields: Fields, every: bool) -> Iterator[Placed]:
    """Yield the rows, after a check that the columns asked for occur among the first ones.

    A key that some rows of JSON do not have is a missing value; one that none of the first thousand has is a mistake.

    Args:
        rows: of one file or split.
        fields: names of columns.
        every: check all that the user named, not only the text: for the first file.

    Raises:
        UserError: a column does not occur.
    """
    wanted = {"text": fields.text}
    if every:
        wanted |= {name: column for name, column in vars(fields).items() if column not in (name, NUMBERED)}
    rows, head, found = iter(rows), [], dict[str, None]()
    for place in rows:
        head.append(place)
        found |= dict.fromkeys(map(str, place[1]))
        if found.keys() >= set(wanted.values()) or len(head) == HEAD:
            break
    for name, column in wanted.items():
        if head and column not in found:
            names = ", ".join(column[:40] for column in found)
            hint = (
                suggestion(column, found)
                or f"; name the right one with --fields.{name}, or add a header if it has none."
            )
            raise UserError(f"{head[0][0]}: no field '{column}' for the {name} (fields here: {names}){hint}")
    return chain(head, rows)


def to_document(
    row: Row, fields: Fields, where: str, number: int, part: str, split: str | None
) -> RawDocument | Skipped:
    """Return the document of a row; skipped where its text is missing: null, NaN or "".

    Args:
        row: values by column; those of other columns that are plain become the metadata.
        fields: names of columns.
        where: names the row in messages.
        number: of the row in its part, for its id where it has none.
        part: the file or split that ids are distinct in.
        split: of the file, if it has one.

    Raises:
        UserError: the text is neither a string nor a list of strings, the label is a list, or the split is unknown.
    """
    given = None if fields.id == NUMBERED else as_text(row.get(fields.id))
    identity = printable(given or f"{part}/{number}")
    text = row.get(fields.text)
    if is_missing(text):
        return Skipped(identity, where, "empty")
    if isinstance(text, (list, tuple)) and all(isinstance(s, str) for s in text):
        text = tuple(text)
    elif not isinstance(text, str):
        raise UserError(
            f"{where}: field '{fields.text}' holds {text!r:.40}, not text or a list of sentences; "
            "name another one with --fields.text."
        )
    named = set(vars(fields).values())
    metadata = {str(k): plain for k, v in row.items() if k not in named and (plain := as_scalar(v)) is not None}
    unread = ""
    if dated := find_date(metadata):
        if (found := read_date(dated[1])) is None:
            unread = f"{dated[0]} {dated[1]!r:.40}"
        elif dated[0] not in ("date", "year") or found != str(dated[1]):
            metadata["date"] = found
    return RawDocument(
        id=identity,
        text=text,
        where=where,
        title=as_text(row.get(fields.title)),
        label=_label(row.get(fields.label), fields.label, where),
        summary=as_text(row.get(fields.summary)),
        split=split or _row_split(row.get(fields.split), fields.split, where),
        part=part,
        metadata=metadata,
        unread_date=unread,
    )


def is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def as_text(value: Any) -> str | None:
    """Return a value as text: a whole number that became a float for want of an integer NaN loses its ".0"."""
    if is_missing(value):
        return None
    if isinstance(value, (list, tuple)):
        return " ".join(str(part) for part in value if not is_missing(part)) or None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def as_scalar(value: Any) -> Scalar | None:
    """Return a value that JSON can hold, dates as ISO 8601; None for lists, objects, bytes and missing values.

    A whole number is an integer: a column of years with a gap comes as 2015.0.
    """
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Decimal):
        value = float(value)
    if not isinstance(value, Scalar) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _label(value: Any, column: str, where: str) -> str | None:
    if isinstance(value, (list, tuple, dict)):
        values = [part for part in value if not is_missing(part)] if not isinstance(value, dict) else [value, value]
        if len(values) > 1:
            raise UserError(
                f"{where}: field '{column}' holds {value!r:.60}, but a document has one label; give the main one in a "
                "column of its own, or choose another with --fields.label."
            )
        value = values[0] if values else None
    return as_text(value)


def _row_split(value: Any, column: str, where: str) -> str | None:
    if is_missing(value):
        return None
    if (name := split_name(str(value))) is None:
        raise UserError(f"{where}: field '{column}' says '{value!s:.40}'; a split is train, valid or test.")
    return name

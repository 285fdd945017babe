"""Read dates as people write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

NAMES = (
    "date",
    "year",
    "datetime",
    "timestamp",
    "published",
    "published_at",
    "publication_date",
    "pub_date",
    "created_at",
)
"""Columns that may hold the date of a document, in any case; the first that a document has counts."""
_FORMATS = ("%Y/%m/%d", "%d.%m.%Y", "%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d %b %Y", "%a, %d %b %Y %H:%M:%S %z")
_GOOD = re.compile(r"\d{4}(-\d.*)?")
_YEAR = re.compile(r"(?<!\d)(1\d{3}|20\d{2})(?!\d)")


def find_date(row: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Return the column that holds the date, and its value; None where no column does."""
    by_name = {str(name).casefold().replace(" ", "_"): name for name, value in row.items() if value not in (None, "")}
    return next(((by_name[name], row[by_name[name]]) for name in NAMES if name in by_name), None)


def read_date(value: Any) -> str | None:
    """Return a date as ISO 8601, or its year alone where day and month are unclear; None where there is no year.

    Examples:
        >>> read_date(2015.0), read_date("17.05.2015"), read_date("05/06/2015"), read_date("spring")
        ('2015', '2015-05-17', '2015', None)
    """
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = value / 1000 if value >= 1e11 else value
        if 1e8 <= seconds < 4e9:
            return datetime.fromtimestamp(seconds, UTC).date().isoformat()
        return f"{value:.0f}" if 1000 <= value < 3000 and value == int(value) else None
    text = str(value).strip()
    if text.replace(".0", "").isdecimal():
        return read_date(float(text))
    for form in _FORMATS:
        try:
            return datetime.strptime(text, form).date().isoformat()
        except ValueError:
            continue
    if _GOOD.fullmatch(text):
        return text
    years = set(_YEAR.findall(text))
    return years.pop() if len(years) == 1 else None

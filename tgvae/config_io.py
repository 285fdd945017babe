"""Settings in JSON files: dataclasses of numbers, strings, tuples, dicts and dataclasses.

Files may come from untrusted sources, so everything is checked before it is used.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from reprlib import repr as shortened
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from tgvae.errors import UserError
from tgvae.files import read_bytes

T = TypeVar("T")
RENAMED_SETTINGS = {1: {"evidence": "evidence_weight", "guide_topics": "backprop_to_topics"}}
"""Settings of models that were renamed after a format of config.json and run.json, keyed by that format."""
SEEDS = 2**32
"""Seeds are integers from 0 to less than this, which all random generators accept."""


def nan_to_none(value: Any) -> Any:
    """Return a value for JSON, in which NaN (the mean of nothing, for example) becomes null, at any depth.

    Examples:
        >>> nan_to_none({"share": float("nan"), "parts": (1, 0.5)})
        {'share': None, 'parts': [1, 0.5]}
    """
    if isinstance(value, dict):
        return {name: nan_to_none(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [nan_to_none(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def read_json(path: Path, remedy: str) -> Any:
    """Parse a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it cannot be read, is not JSON in Unicode, or is nested too deeply; ends with ``remedy``.
    """
    try:
        return json.loads(read_bytes(path))
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error}); {remedy}") from error


def read_versioned(
    path: Path, known: int, schema: Mapping[str, Any], remedy: str, oldest: int | None = None
) -> dict[str, Any]:
    """Return the object in a JSON file after checking its ``format`` and its schema.

    Args:
        path: the file.
        known: the newest format that this version reads.
        schema: types of required values by name; nested for objects.
        remedy: what to do about a damaged file or an older format.
        oldest: the oldest format that this version reads; ``known`` by default.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is damaged, or has another schema or format.
    """
    found = read_json(path, remedy)
    if wrong := describe_mismatch(found, {"format": int}):
        raise UserError(f"{path}: damaged ({wrong}); {remedy}")
    require_format(path, found["format"], known, remedy, oldest)
    if wrong := describe_mismatch(found, schema):
        raise UserError(f"{path}: damaged ({wrong}); {remedy}")
    return dict(found)


def read_config(cls: type[T], path: Path, remedy: str) -> T:
    """Read a settings dataclass from a JSON file. Raises UserError for a missing, damaged or invalid file."""
    try:
        return from_json(cls, read_json(path, remedy), str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {remedy}") from None


def require_format(path: Path, found: int, known: int, remedy: str, oldest: int | None = None) -> None:
    """Raise UserError unless the format of a file lies between ``oldest`` and ``known``, its default."""
    oldest = known if oldest is None else oldest
    if not oldest <= found <= known:
        readable = str(known) if oldest == known else f"{oldest} to {known}"
        raise UserError(
            f"{path}: format {found}, but this tgvae reads {readable}; {'update tgvae' if found > known else remedy}"
        )


def migrate_settings(settings: Mapping[str, Any], format: int) -> dict[str, Any]:
    """Return the settings of a model, stored in an older format, under the names of this version.

    Examples:
        >>> migrate_settings({"evidence": 0.5, "prior": "component"}, format=1)
        {'evidence_weight': 0.5, 'prior': 'component'}
    """
    renamed: dict[str, str] = {}
    for older in range(format, max(RENAMED_SETTINGS, default=0) + 1):
        renamed |= RENAMED_SETTINGS.get(older, {})
    return {renamed.get(name, name): value for name, value in settings.items()}


def describe_mismatch(value: Any, schema: Any, name: str = "") -> str:
    """Return a message describing the first mismatch of a JSON value with ``schema``, or ''."""
    if not isinstance(schema, Mapping):
        return "" if isinstance(value, schema) else f"{name} is {shortened(value)}"
    if not isinstance(value, dict):
        return f"{name or 'the content'} is {shortened(value)}, not an object"
    if missing := sorted(set(schema) - set(value)):
        return f"{name}{'.' if name else ''}{missing[0]} is missing"
    inner = (describe_mismatch(value[key], part, f"{name}.{key}" if name else key) for key, part in schema.items())
    return next(filter(None, inner), "")


def require_range(settings: object, low: float, below: float, *names: str) -> None:
    """Check that settings lie in [low, below) and that integers fit into 64 bits.

    Raises:
        UserError: one does not, or is NaN.
    """
    for name in names:
        value = getattr(settings, name)
        limit = min(below, sys.maxsize) if isinstance(value, int) else below  # torch raises TypeError for larger sizes
        if not low <= value < limit:
            most = f" and less than {limit}" if below < math.inf or value >= limit else ""
            raise UserError(f"{name} is {value}; it must be at least {low}{most}")


def from_json(cls: type[T], values: Any, where: str) -> T:
    """Return a settings dataclass from parsed JSON; missing fields get their defaults.

    Args:
        cls: the dataclass.
        values: a JSON object.
        where: its location, for error messages.

    Raises:
        UserError: an unknown field, a missing field without a default, or a value of the wrong type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected an object with settings, found {shortened(values)}")
    hints, known = get_type_hints(cls), fields(cls)  # type: ignore[arg-type]
    if unknown := sorted(set(values) - {f.name for f in known}):
        raise UserError(f"{where}: unknown setting {shortened(unknown[0])}; made by another version of tgvae?")
    required = {f.name for f in known if f.default is MISSING and f.default_factory is MISSING}
    if absent := sorted(required - set(values)):
        raise UserError(f"{where}: the setting {absent[0]!r} is missing; made by another version of tgvae?")
    settings = {name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()}
    try:
        return cls(**settings)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if is_dataclass(hint):
        return from_json(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _value(arguments[1], v, f"{where}[{shortened(key)}]") for key, v in value.items()}
    if origin is Literal and value in arguments:
        return value
    if origin is UnionType and type(value) in arguments:  # str | None, or an object that has been built already
        return value
    if hint is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:  # neither NaN nor infinity
        return float(value)
    if hint is int and type(value) is int and abs(value) <= sys.maxsize:
        return value
    if isinstance(hint, type) and hint not in (int, float) and type(value) is hint:
        return value
    raise UserError(f"{where}: {shortened(value)} is not a value of {_name(hint)}")


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)

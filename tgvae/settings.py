"""Settings as JSON and back: dataclasses of numbers, strings, tuples, dicts and dataclasses."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from tgvae.errors import UserError

T = TypeVar("T")


def from_json(cls: type[T], values: Any, where: str) -> T:
    """A settings dataclass from parsed JSON; fields that are absent keep their defaults.

    Args:
        cls: the dataclass.
        values: a JSON object.
        where: names the place in error messages.

    Raises:
        UserError: an unknown field, one without a default that is absent, or a value of the wrong type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected an object with settings, found {values!r}")
    hints, known = get_type_hints(cls), fields(cls)  # type: ignore[arg-type]
    if unknown := sorted(set(values) - {f.name for f in known}):
        raise UserError(f"{where}: unknown setting {unknown[0]!r}; made by another version of tgvae?")
    required = {f.name for f in known if f.default is MISSING and f.default_factory is MISSING}
    if absent := sorted(required - set(values)):
        raise UserError(f"{where}: the setting {absent[0]!r} is missing; made by another version of tgvae?")
    return cls(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return from_json(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _value(arguments[1], v, f"{where}[{key!r}]") for key, v in value.items()}
    if origin is Literal and value in arguments:
        return value
    if origin is UnionType and type(value) in arguments:  # str | None, or an object that is built already
        return value
    if hint is float and type(value) in (int, float):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise UserError(f"{where}: {value!r} is not a value of {hint.__name__ if isinstance(hint, type) else hint}")

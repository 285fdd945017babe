"""Settings through JSON: every recipe comes back equal, and wrong values are named by place."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest

from tgvae.config_io import from_json
from tgvae.errors import UserError
from tgvae.recipes import RECIPES, Recipe
from tgvae.schedules import Schedule
from tgvae.training.loop import Phase, TrainConfig


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outer:
    size: int
    mode: Literal["fast", "slow"] = "fast"
    on: bool = False
    note: str | None = None
    inner: Inner = field(default_factory=Inner)
    by_name: dict[str, Inner] = field(default_factory=dict)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json(name: str) -> None:
    recipe = RECIPES[name]()
    saved = json.loads(json.dumps(asdict(recipe)))
    model = from_json(type(recipe.model), saved["model"], "run.json.model")
    assert model == recipe.model
    assert from_json(TrainConfig, saved["train"], "run.json.train") == recipe.train
    assert from_json(Recipe, saved | {"model": model}, "run.json") == recipe


def test_every_kind_of_value_survives_json() -> None:
    settings = Outer(3, "slow", True, "a note", Inner(1.5, ("a", "b")), {"x": Inner(2.0), "y": Inner()})
    again = from_json(Outer, json.loads(json.dumps(asdict(settings))), "config")
    assert again == settings
    assert isinstance(again.inner.names, tuple)


def test_absent_fields_keep_their_defaults() -> None:
    assert from_json(Outer, {"size": 3, "note": None, "inner": {}}, "config") == Outer(3)
    weights = {"weights": {"kl/z": {"shape": "linear"}}, "unit": "sentence"}
    assert from_json(Phase, weights, "config") == Phase("sentence", weights={"kl/z": Schedule("linear")})


def test_whole_numbers_are_floats_where_floats_are_meant() -> None:
    rate = from_json(Inner, {"rate": 2}, "config").rate
    assert (rate, type(rate)) == (2.0, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 1, "siez": 2}, r"config: unknown setting 'siez'"),
        ({}, r"config: the setting 'size' is missing"),
        ({"size": True}, r"config\.size: True is not a value of int"),
        ({"size": 1.0}, r"config\.size: 1\.0 is not a value of int"),
        ({"size": None}, r"config\.size: None is not a value of int"),
        ({"size": 1, "on": 1}, r"config\.on: 1 is not a value of bool"),
        ({"size": 1, "mode": "medium"}, r"config\.mode: 'medium' is not a value of .*\['fast', 'slow'\]"),
        ({"size": 1, "note": 5}, r"config\.note: 5 is not a value of str \| None"),
        ({"size": 1, "inner": {"rate": "0.5"}}, r"config\.inner\.rate: '0\.5' is not a value of float"),
        ({"size": 1, "inner": {"rate": True}}, r"config\.inner\.rate: True is not a value of float"),
        ({"size": 1, "inner": {"names": ["a", 7]}}, r"config\.inner\.names\[1\]: 7 is not a value of str"),
        ({"size": 1, "inner": {"names": "ab"}}, r"config\.inner\.names: 'ab' is not a value of tuple"),
        ({"size": 1, "inner": 3}, r"config\.inner: expected an object with settings, found 3"),
        ({"size": 1, "by_name": {"x": {"rat": 1}}}, r"config\.by_name\['x'\]: unknown setting 'rat'"),
        ({"size": 1, "by_name": []}, r"config\.by_name: \[\] is not a value of dict"),
        ([1], r"config: expected an object with settings, found \[1\]"),
    ],
)
def test_wrong_values_are_named_by_place(values: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_json(Outer, values, "config")


def test_a_value_that_its_dataclass_refuses() -> None:
    with pytest.raises(UserError, match=r"schedule\.share"):
        from_json(Schedule, {"share": 2.0}, "config")

"""Schedules: end points, course and refusals."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tgvae.errors import UserError
from tgvae.schedules import Schedule

STEPS = [i / 200 for i in range(201)]
RANGES = [(0.0, 1.0), (0.1, 4.0), (2.0, 0.5)]


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
@pytest.mark.parametrize(("start", "end"), RANGES)
@pytest.mark.parametrize("shape", ["linear", "sigmoid"])
def test_goes_once_from_start_to_end(shape: Any, start: float, end: float, share: float) -> None:
    schedule = Schedule(shape, start, end, share)
    assert schedule(0) == pytest.approx(start, abs=0.003 * abs(end - start))
    assert schedule(share / 2) == pytest.approx((start + end) / 2)
    assert all(schedule(p) == end for p in STEPS if p >= share)
    values = [schedule(p) for p in STEPS]
    assert all((b - a) * (end - start) >= 0 for a, b in itertools.pairwise(values))


def test_linear_is_linear() -> None:
    schedule = Schedule("linear", 1.0, 5.0, share=0.4)
    assert [schedule(p) for p in (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)] == pytest.approx([1, 2, 3, 4, 5, 5])


def test_sigmoid_is_symmetric_and_steepest_in_the_middle() -> None:
    schedule = Schedule("sigmoid", share=1.0)
    assert all(schedule(p) + schedule(1 - p) == pytest.approx(1) for p in STEPS[1:-1])
    assert schedule(0.55) - schedule(0.45) > 3 * (schedule(0.25) - schedule(0.15))


@pytest.mark.parametrize("cycles", [1, 4, 5])
def test_cyclical_rises_and_holds_in_every_cycle(cycles: int) -> None:
    schedule = Schedule("cyclical", 0.2, 1.2, cycles=cycles)
    for cycle in range(cycles):
        values = [schedule((cycle + within) / cycles) for within in (1e-9, 0.25, 0.499, 0.5001, 0.75, 0.999)]
        assert values == pytest.approx([0.2, 0.7, 1.198, 1.2, 1.2, 1.2], abs=1e-6)
    assert schedule(1) == 1.2


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_constant_is_the_end(progress: float) -> None:
    assert Schedule(start=3.0, end=0.7)(progress) == 0.7


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": "cosine"}, "schedule.shape 'cosine' is not one of constant, linear, sigmoid, cyclical"),
        ({"share": 0.0}, "schedule.share"),
        ({"share": 1.1}, "schedule.share"),
        ({"share": float("nan")}, "schedule.share"),
        ({"cycles": 0}, "schedule.cycles"),
    ],
)
def test_refusals(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Schedule(**fields)

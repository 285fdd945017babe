"""What stands above the tables of many runs, and their means, against sums by hand."""

from __future__ import annotations

import math
import sys
from importlib.metadata import version

import pytest

from tgvae.evaluation.studies import header, with_error


def test_mean_and_standard_error() -> None:
    """Of 1, 2 and 6 the mean is 3, the variance (4 + 1 + 9) / 2."""
    assert with_error([1, 2, 6]) == f"3.00 ± {math.sqrt(7 / 3):.2f}" == "3.00 ± 1.53"
    assert with_error([0.5, 0.5]) == "0.50 ± 0.00"
    assert with_error([2.346]) == "2.35"


def test_a_table_says_how_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["scripts/links.py", "--seeds", "3"])
    command, nothing, used = header("Means over seeds").split("\n")
    assert (command, nothing) == ("`scripts/links.py --seeds 3`", "")
    assert f"torch {version('torch')}, tgvae {version('tgvae')}. Means over seeds." in used

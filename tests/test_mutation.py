"""The campaign of mutants, on a module of which one function has a test that notices nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from campaigns.mutation import Options, run, without_decorators

MODULE = '''
class Numbers:
    def __init__(self, *numbers):
        self.numbers = numbers

    @property
    def middle(self):
        """Half of the sum of the ends."""
        return (self.numbers[0] + self.numbers[-1]) / 2


def double(number):
    return 2 * number


def triple(number):
    return 3 * number
'''
TESTS = """
from small.numbers import Numbers, double, triple


def test_middle():
    assert Numbers(1, 5, 4).middle == 2.5


def test_double():
    assert double(4) == 8


def test_triple():
    triple(4)
"""


def test_what_no_test_notices_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, text in {"small/numbers.py": MODULE, "tests/test_numbers.py": TESTS}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text, encoding="utf-8")
    options = Options(("small/numbers.py",), ("tests/test_numbers.py",), ("small", "tests"), tmp_path)
    (outcome,) = run(options)
    assert outcome.fault == "mutants of small/numbers.py"
    assert outcome.lost == 2  # 4 * number and 3 / number
    assert outcome.tries >= 2 + 2 + 5  # of triple, double and the property, which mutmut alone would leave out
    assert outcome.seen == f"{1 - 2 / outcome.tries:.1%} are noticed by a test; not noticed: 2 in triple"
    assert "+    return 4 * number" in capfd.readouterr().err


def test_decorators_become_calls() -> None:
    source = "@one\n@two(3)\ndef f(x):\n\n    @four\n    def g():\n        pass\n    return x\n"
    assert without_decorators(source) == (
        "def f(x):\n\n    def g():\n        pass\n    g = four(g)\n    return x\nf = one(two(3)(f))"
    )

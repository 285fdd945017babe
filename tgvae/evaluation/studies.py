"""What tables of many runs share: what stands above them, and how means over seeds are written."""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np


def header(what: str) -> str:
    """The command and the versions behind a table, and what its figures are."""
    used = ", ".join(f"{name} {version(name)}" for name in ("torch", "tgvae"))
    return f"`{' '.join(sys.argv)}`\n\nPython {platform.python_version()}, {used}. {what}."


def with_error(values: Sequence[float]) -> str:
    """Mean and standard error; a single value by itself."""
    if len(values) < 2:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1) / math.sqrt(len(values)):.2f}"

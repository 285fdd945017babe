"""A figure: a number that says what it is counted in, how it was found, from how much, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
RESAMPLES = 1000
NORMAL_95 = 1.96


@dataclass(frozen=True, eq=False)
class Parts:
    """What a figure is summed from: sum x / sum w over rows, or exp of that for a perplexity.

    Attributes:
        x: what is summed, with shape (rows,).
        w: what it is divided by, with shape (rows,).
        unit: what each row belongs to (a document, a sentence), by number, (rows,); rows of one are drawn together.
        paired: units are those of the split, the same for every run, so that two runs are compared unit by unit.
        exp: the figure is exp(sum x / sum w).

    Examples:
        >>> parts = Parts.mean([1.0, 2.0, 3.0])
        >>> parts.value, round(parts.standard_error, 4)  # 1 / sqrt 3
        (2.0, 0.5774)
    """

    x: Floats
    w: Floats
    unit: Ints
    paired: bool = False
    exp: bool = False

    @classmethod
    def mean(cls, values: ArrayLike, unit: ArrayLike | None = None) -> Parts:
        """Of a plain mean, each row a unit of its own unless ``unit`` says otherwise."""
        x = np.asarray(values, dtype=np.float64)
        return cls(x, np.ones(len(x)), np.arange(len(x)) if unit is None else np.asarray(unit))

    @property
    def value(self) -> float:
        """NaN where there is nothing to divide by."""
        return float(self._value(self.x.sum(), self.w.sum()))

    @property
    def standard_error(self) -> float | None:
        """Over units; of a perplexity by the delta method. None for a single unit, 0 for nothing to divide by."""
        error = clustered_error(self.x, self.w, self.unit)
        return error * self.value if self.exp and error else error

    def resampled(self, draws: Floats) -> Floats:
        """The value with units drawn anew, (draws,).

        Args:
            draws: how often each unit is drawn, with shape (draws, units), units by rising number.
        """
        _, unit = np.unique(self.unit, return_inverse=True)
        x, w = (np.bincount(unit, weights=rows) for rows in (self.x, self.w))
        return self._value(draws @ x, draws @ w)

    def _value(self, x: Floats, w: Floats) -> Floats:
        ratio = np.divide(x, w, out=np.full(np.shape(x), math.nan), where=np.asarray(w) > 0)
        return np.exp(ratio) if self.exp else ratio


def clustered_error(x: Floats, w: Floats, cluster: Ints) -> float | None:
    """Standard error of the ratio r = sum_i x_i / sum_i w_i when rows of one cluster hang together.

        se^2 = G / (G - 1) * sum_g (sum_{i in g} (x_i - r w_i))^2 / (sum_i w_i)^2

    The cluster-robust error of a ratio (Liang & Zeger 1986; Cochran 1977, ch. 6), G clusters. With unit
    weights and a row a cluster it is that of a mean.

    Args:
        x: with shape (rows,).
        w: with shape (rows,).
        cluster: a number for each row's cluster, (rows,).

    Returns:
        None for fewer than two clusters, which tell nothing of how clusters vary; 0 where all weights are 0.

    Examples:
        Two rows of one document and two of another tell no more than one of each:

        >>> import numpy as np
        >>> x, cluster = np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1])
        >>> clustered_error(x, np.ones(4), cluster), clustered_error(x[::2], np.ones(2), cluster[::2])
        (1.0, 1.0)
    """
    _, index = np.unique(cluster, return_inverse=True)
    size = len(np.unique(index))
    if size < 2:
        return None
    whole = max(w.sum(), 1)
    of_cluster = np.bincount(index, weights=x - x.sum() / whole * w)
    return float(math.sqrt(size / (size - 1) * np.square(of_cluster).sum()) / whole)


@dataclass(frozen=True, eq=False)
class Metric:
    """A number and what one needs to know to trust it.

    Attributes:
        value: the number.
        unit: what it is counted in.
        estimator: how it was found.
        size: from how many sentences, documents or topics.
        seed: of the draws; None where nothing is drawn.
        error: standard error.
        parts: what it is summed from, for bootstrap intervals.
        marks: the same measure of what it must be read beside, by name: real text, LDA, chance.

    Examples:
        >>> parts = Parts.mean([0.0, 1.0, 1.0])
        >>> figure = Metric.of(parts, "share", "mean over sentences", seed=0, real_text=0.5)
        >>> round(figure.value, 4), figure.size, figure.marks
        (0.6667, 3, {'real text': 0.5})
    """

    value: float
    unit: str
    estimator: str = ""
    size: int | None = None
    seed: int | None = None
    error: float | None = None
    parts: Parts | None = None
    marks: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Parts, unit: str, estimator: str, seed: int | None = None, **marks: float) -> Metric:
        """The value of ``parts``, with its standard error over their units."""
        named = {name.replace("_", " "): value for name, value in marks.items()}
        return cls(parts.value, unit, estimator, len(parts.x), seed, parts.standard_error, parts, named)


Metrics = dict[str, Metric]
Report = dict[str, Metrics]
"""Metrics by name, by section."""


@dataclass(frozen=True)
class Difference:
    """Metric b minus figure a.

    Attributes:
        value: the difference.
        low: lower end of its 95 % interval; None where a figure has no value, no parts, or parts of one unit only.
        high: its upper end.
        paired: the same units were drawn for both.
    """

    value: float
    low: float | None
    high: float | None
    paired: bool


@lru_cache(maxsize=4)
def draws(units: int, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Bootstrap: how often each of the units is drawn when as many are drawn with replacement, (resamples, units)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(units, np.full(units, 1 / units), size=resamples).astype(np.float64)


def difference(a: Metric, b: Metric, seed: int = 0) -> Difference:
    """b - a with a percentile bootstrap interval (Efron & Tibshirani 1993); paired where both have the same units.

    Of figures that have standard errors and no parts the interval is the normal one.

    Examples:
        >>> one, other = Parts.mean([1.0, 2.0, 3.0]), Parts.mean([2.0, 4.0, 6.0])
        >>> found = difference(Metric.of(one, "nats", "mean"), Metric.of(other, "nats", "mean"))
        >>> found.value, found.low < 2.0 < found.high
        (2.0, True)
    """
    value = b.value - a.value
    if math.isnan(value):
        return Difference(value, None, None, False)
    if a.parts is None or b.parts is None:
        if a.error is None or b.error is None:
            return Difference(value, None, None, False)
        wide = NORMAL_95 * math.hypot(a.error, b.error)
        return Difference(value, value - wide, value + wide, False)
    ours, theirs = np.unique(a.parts.unit), np.unique(b.parts.unit)
    if min(len(ours), len(theirs)) < 2:
        return Difference(value, None, None, False)
    paired = a.parts.paired and b.parts.paired and np.array_equal(ours, theirs)
    first = draws(len(ours), seed)
    second = first if paired else draws(len(theirs), seed + 1)
    sample = b.parts.resampled(second) - a.parts.resampled(first)
    low, high = np.nanpercentile(sample, (2.5, 97.5))
    return Difference(value, float(low), float(high), paired)


def by_name(reports: Mapping[str, Report]) -> list[tuple[str, str]]:
    """Section and name of the figures of several runs, in order of first appearance, sections together."""
    found: dict[str, dict[str, None]] = {}
    for report in reports.values():
        for section, figures in report.items():
            found.setdefault(section, {}).update(dict.fromkeys(figures))
    return [(section, name) for section, names in found.items() for name in names]

"""Metrics with unit, estimator, sample size and standard error, and differences of metrics between runs."""

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
    """The rows that a metric is computed from: sum x / sum w, or exp of that for a perplexity.

    Attributes:
        x: numerators, with shape (rows,).
        w: denominators, with shape (rows,).
        unit: id of the document, sentence, ... of each row, (rows,); the bootstrap resamples whole units.
        paired: units are those of the split and the same for every run, so that runs are compared unit by unit.
        exp: the metric is exp(sum x / sum w).

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
    def mean(cls, values: ArrayLike, unit: ArrayLike | None = None, paired: bool = False) -> Parts:
        """Parts of a plain mean; by default each row is its own unit."""
        x = np.asarray(values, dtype=np.float64)
        return cls(x, np.ones(len(x)), np.arange(len(x)) if unit is None else np.asarray(unit), paired)

    @property
    def value(self) -> float:
        """The metric's value; NaN if the denominators sum to zero."""
        return float(self._value(self.x.sum(), self.w.sum()))

    @property
    def standard_error(self) -> float | None:
        """Standard error over units (delta method for a perplexity); None for one unit, 0 if all denominators are 0."""
        error = clustered_error(self.x, self.w, self.unit)
        return error * self.value if self.exp and error else error

    def resampled(self, counts: Floats) -> Floats:
        """Return the value of each bootstrap sample, with shape (resamples,).

        Args:
            counts: how often each sample contains each unit, with shape (resamples, units), units in rising order.
        """
        _, unit = np.unique(self.unit, return_inverse=True)
        x, w = (np.bincount(unit, weights=rows) for rows in (self.x, self.w))
        return self._value(counts @ x, counts @ w)

    def _value(self, x: Floats, w: Floats) -> Floats:
        ratio = np.divide(x, w, out=np.full(np.shape(x), math.nan), where=np.asarray(w) > 0)
        return np.exp(ratio) if self.exp else ratio


def clustered_error(x: Floats, w: Floats, cluster: Ints) -> float | None:
    """Cluster-robust standard error of the ratio r = sum_i x_i / sum_i w_i (Liang & Zeger 1986; Cochran 1977, ch. 6).

        se^2 = G / (G - 1) * sum_g (sum_{i in g} (x_i - r w_i))^2 / (sum_i w_i)^2,   G clusters

    With unit weights and one row per cluster this is the standard error of a mean.

    Args:
        x: with shape (rows,).
        w: with shape (rows,).
        cluster: id of each row's cluster, (rows,).

    Returns:
        None for fewer than two clusters, which say nothing about the variance between clusters; 0 if all weights are 0.

    Examples:
        Two equal rows per document carry no more information than one:

        >>> import numpy as np
        >>> x, cluster = np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1])
        >>> clustered_error(x, np.ones(4), cluster), clustered_error(x[::2], np.ones(2), cluster[::2])
        (1.0, 1.0)
    """
    _, index = np.unique(cluster, return_inverse=True)
    size = len(np.unique(index))
    if size < 2:
        return None
    total = max(w.sum(), 1)
    residuals = np.bincount(index, weights=x - x.sum() / total * w)
    return float(math.sqrt(size / (size - 1) * np.square(residuals).sum()) / total)


@dataclass(frozen=True, eq=False)
class Metric:
    """A number with what a reader needs to interpret it.

    Attributes:
        value: the number.
        unit: its unit.
        estimator: how it was computed.
        size: number of sentences, documents or topics that it is computed from.
        seed: seed of the sampling; None if nothing is sampled.
        error: standard error.
        parts: the rows it is computed from, for bootstrap intervals.
        baselines: the same metric of reference points by id: ``real_text``, ``lda``, ``chance``.
        name: display name; if empty, the key in its section is shown.

    Examples:
        >>> parts = Parts.mean([0.0, 1.0, 1.0])
        >>> metric = Metric.of(parts, "share", "mean over sentences", seed=0, real_text=0.5)
        >>> round(metric.value, 4), metric.size, metric.baselines
        (0.6667, 3, {'real_text': 0.5})
    """

    value: float
    unit: str
    estimator: str = ""
    size: int | None = None
    seed: int | None = None
    error: float | None = None
    parts: Parts | None = None
    baselines: Mapping[str, float] = field(default_factory=dict)
    name: str = ""

    @classmethod
    def of(cls, parts: Parts, unit: str, estimator: str, seed: int | None = None, **baselines: float) -> Metric:
        """Return the value of ``parts`` with its standard error over units."""
        return cls(parts.value, unit, estimator, len(parts.x), seed, parts.standard_error, parts, baselines)


Metrics = dict[str, Metric]
"""Metrics by id."""
Report = dict[str, Metrics]
"""Metrics by id, by section."""


@dataclass(frozen=True)
class Difference:
    """Metric b minus metric a.

    Attributes:
        value: the difference.
        low: lower end of its 95 % interval; None if a metric has no value, no parts, or parts of a single unit.
        high: upper end of the interval.
        paired: both metrics were resampled with the same units.
    """

    value: float
    low: float | None
    high: float | None
    paired: bool


@lru_cache(maxsize=4)
def bootstrap_counts(units: int, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Return how often each unit occurs in each bootstrap sample (with replacement), (resamples, units)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(units, np.full(units, 1 / units), size=resamples).astype(np.float64)


def difference(a: Metric, b: Metric, seed: int = 0) -> Difference:
    """Return b - a with a percentile bootstrap interval (Efron & Tibshirani 1993), paired if both have the same units.

    Metrics with standard errors but no parts get a normal interval.

    Examples:
        >>> one, other = Parts.mean([1.0, 2.0, 3.0]), Parts.mean([2.0, 4.0, 6.0])
        >>> result = difference(Metric.of(one, "nats", "mean"), Metric.of(other, "nats", "mean"))
        >>> result.value, result.low < 2.0 < result.high
        (2.0, True)
    """
    value = b.value - a.value
    if math.isnan(value):
        return Difference(value, None, None, False)
    if a.parts is None or b.parts is None:
        if a.error is None or b.error is None:
            return Difference(value, None, None, False)
        half_width = NORMAL_95 * math.hypot(a.error, b.error)
        return Difference(value, value - half_width, value + half_width, False)
    units_a, units_b = np.unique(a.parts.unit), np.unique(b.parts.unit)
    if min(len(units_a), len(units_b)) < 2:
        return Difference(value, None, None, False)
    paired = a.parts.paired and b.parts.paired and np.array_equal(units_a, units_b)
    counts_a = bootstrap_counts(len(units_a), seed)
    counts_b = counts_a if paired else bootstrap_counts(len(units_b), seed + 1)
    sample = b.parts.resampled(counts_b) - a.parts.resampled(counts_a)
    low, high = np.nanpercentile(sample, (2.5, 97.5))
    return Difference(value, float(low), float(high), paired)


def metric_ids(reports: Mapping[str, Report]) -> list[tuple[str, str]]:
    """Return section and id of all metrics of several runs, in order of first appearance, grouped by section."""
    ids: dict[str, dict[str, None]] = {}
    for report in reports.values():
        for section, metrics in report.items():
            ids.setdefault(section, {}).update(dict.fromkeys(metrics))
    return [(section, id) for section, names in ids.items() for id in names]

"""Metrics, their errors and differences against loops, closed forms and repeated sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tgvae.evaluation.metric import Metric, Parts, bootstrap_counts, clustered_error, difference, metric_ids


def ratio_parts(seed: int, units: int = 40, exp: bool = False, paired: bool = True) -> Parts:
    """Two or more rows for every unit: nats of about 2 a word, more in some units than in others."""
    rng = np.random.default_rng(seed)
    unit = np.sort(np.concatenate([np.repeat(np.arange(units), 2), rng.integers(0, units, units)]))
    words = rng.integers(3, 12, len(unit)).astype(float)
    nats = words * (2 + 0.3 * rng.normal(size=units)[unit]) + rng.normal(size=len(unit))
    return Parts(nats, words, unit, paired, exp)


def shifted(parts: Parts, by: float, noise: float = 0.0, paired: bool = True) -> Parts:
    """The same rows with ``by`` nats a word more, and a little noise."""
    more = parts.w * by + noise * np.random.default_rng(9).normal(size=len(parts.x))
    return Parts(parts.x + more, parts.w, parts.unit, paired, parts.exp)


def test_clustered_error_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    x, w, cluster = rng.normal(5, 1, 40), rng.integers(1, 9, 40).astype(float), rng.integers(0, 7, 40)
    ratio = x.sum() / w.sum()
    squares = sum((x[cluster == g] - ratio * w[cluster == g]).sum() ** 2 for g in range(7))
    assert clustered_error(x, w, cluster) == pytest.approx(math.sqrt(7 / 6 * squares) / w.sum())
    order = rng.permutation(40)
    assert clustered_error(x[order], w[order], cluster[order]) == pytest.approx(clustered_error(x, w, cluster))
    assert clustered_error(x, w, cluster * 10 + 3) == pytest.approx(clustered_error(x, w, cluster)), "other names"


def test_clustered_error_knows_what_is_one_cluster() -> None:
    x, ones = np.array([1.0, 4.0, 2.0, 9.0]), np.ones(4)
    plain = clustered_error(x, ones, np.arange(4))
    assert plain == pytest.approx(x.std(ddof=1) / 2), "a row a cluster: the error of a mean"
    twice = (np.tile(x, 2), np.ones(8), np.tile(np.arange(4), 2))
    assert clustered_error(*twice) == pytest.approx(plain), "saying everything twice tells nothing new"
    assert clustered_error(x, ones, np.zeros(4, dtype=int)) is None
    assert clustered_error(np.zeros(4), np.zeros(4), np.arange(4)) == 0


def test_parts_by_hand() -> None:
    """Units of 6 nats in 2 words and 4 nats in 3 words."""
    x, w, unit = np.array([5.0, 1.0, 4.0]), np.array([1.0, 1.0, 3.0]), np.array([7, 7, 2])
    parts = Parts(x, w, unit)
    assert parts.value == 2
    assert parts.standard_error == pytest.approx(math.sqrt(2 * (2**2 + 2**2)) / 5)
    perplexity = Parts(x, w, unit, exp=True)
    assert perplexity.value == pytest.approx(math.exp(2))
    assert perplexity.standard_error == pytest.approx(math.exp(2) * math.sqrt(16) / 5)
    drawn = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])  # units by rising number: 2, then 7
    assert parts.resampled(drawn) == pytest.approx([2, 4 / 3, 3])
    assert perplexity.resampled(drawn) == pytest.approx(np.exp([2, 4 / 3, 3]))


def test_mean_and_its_error() -> None:
    parts = Parts.mean([True, False, False, True, True])
    assert (parts.value, parts.paired, parts.exp) == (0.6, False, False)
    assert parts.standard_error == pytest.approx(np.std([1, 0, 0, 1, 1], ddof=1) / math.sqrt(5))
    grouped = Parts.mean([1, 3, 5], unit=[4, 4, 6])
    assert grouped.value == 3
    assert grouped.standard_error == pytest.approx(math.sqrt(2 * (2**2 + 2**2)) / 3)
    assert Parts.mean([3.5]).standard_error is None


@pytest.mark.parametrize("exp", [False, True])
def test_nothing_to_divide_by_has_no_value_and_no_error(exp: bool) -> None:
    nothing = Parts(np.zeros(3), np.zeros(3), np.arange(3), exp=exp)
    assert math.isnan(nothing.value)
    assert nothing.standard_error == 0
    some = Parts(np.array([1.0, 0.0]), np.array([1.0, 0.0]), np.arange(2), exp=exp)
    drawn = some.resampled(np.array([[1.0, 1.0], [0.0, 2.0]]))
    assert math.isfinite(drawn[0])
    assert math.isnan(drawn[1]), "only the unit without words was drawn"


@pytest.mark.parametrize("exp", [False, True])
def test_delta_method_against_bootstrap(exp: bool) -> None:
    parts = ratio_parts(1, units=200, exp=exp)
    spread = parts.resampled(bootstrap_counts(200, seed=2, resamples=4000)).std()
    assert parts.standard_error == pytest.approx(spread, rel=0.08)


def test_figure_of_parts() -> None:
    parts = ratio_parts(0)
    figure = Metric.of(parts, "nats", "by hand", 3, real_text=2.5, lda=1.0)
    assert (figure.value, figure.error, figure.parts) == (parts.value, parts.standard_error, parts)
    assert (figure.unit, figure.estimator, figure.seed, figure.size) == ("nats", "by hand", 3, len(parts.x))
    assert figure.baselines == {"real_text": 2.5, "lda": 1.0}
    assert Metric(1.0, "of 2").baselines == {}


def test_draws_are_samples_with_replacement() -> None:
    counts = bootstrap_counts(30, seed=4, resamples=2000)
    assert counts.shape == (2000, 30)
    assert (counts.sum(1) == 30).all()
    assert counts.mean(0) == pytest.approx(1, abs=5 * math.sqrt(29 / 30 / 2000))
    assert (counts == 0).mean() == pytest.approx((29 / 30) ** 30, abs=0.02), "as often as never drawn"
    assert (bootstrap_counts(30, seed=4, resamples=2000) == counts).all()
    assert (bootstrap_counts(30, seed=5, resamples=2000) != counts).any()


@pytest.mark.parametrize("exp", [False, True])
def test_paired_interval_by_brute_force(exp: bool) -> None:
    """Row by row, with the same units drawn for both."""
    a = ratio_parts(0, units=12, exp=exp)
    b = shifted(a, by=0.1, noise=0.5)

    def value(parts: Parts, chosen: list[int]) -> float:
        rows = [row for unit in chosen for row in np.flatnonzero(parts.unit == unit)]
        ratio = sum(parts.x[rows]) / sum(parts.w[rows])
        return math.exp(ratio) if exp else ratio

    sample = []
    for counts in bootstrap_counts(12, seed=6):
        chosen = [unit for unit, times in enumerate(counts) for _ in range(int(times))]
        sample.append(value(b, chosen) - value(a, chosen))
    found = difference(Metric.of(a, "nats", ""), Metric.of(b, "nats", ""), seed=6)
    assert found.paired
    assert found.value == pytest.approx(b.value - a.value)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(sample, (2.5, 97.5))))


def test_identical_runs_do_not_differ() -> None:
    figure = Metric.of(ratio_parts(0, exp=True), "per word", "")
    found = difference(figure, figure)
    assert (found.value, found.low, found.high, found.paired) == (0, 0, 0, True)


def test_pairing_narrows_the_interval_of_what_moves_together() -> None:
    a = ratio_parts(0)
    widths = []
    for paired in (True, False):
        b = shifted(a, by=0.02, noise=0.2, paired=paired)
        found = difference(Metric.of(a, "nats", ""), Metric.of(b, "nats", ""))
        assert found.paired is paired
        widths.append(found.high - found.low)
        assert (found.low > 0) is paired, "a small difference is seen unit by unit only"
    assert widths[0] < widths[1] / 4


def test_other_units_are_two_samples() -> None:
    a, b = ratio_parts(0, units=300), ratio_parts(1, units=200)
    found = difference(Metric.of(a, "nats", ""), Metric.of(b, "nats", ""))
    assert not found.paired
    spread = math.hypot(a.standard_error, b.standard_error)
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.15), "errors add in squares"


def test_no_interval_without_parts_or_from_one_unit() -> None:
    plain, parts = Metric(3.0, "share"), ratio_parts(0)
    for other in (plain, Metric.of(parts, "share", "")):
        for a, b in ((plain, other), (other, plain)):
            found = difference(a, b)
            assert (found.value, found.low, found.high, found.paired) == (b.value - a.value, None, None, False)
    nothing = Metric.of(Parts(np.zeros(2), np.zeros(2), np.arange(2), exp=True), "per word", "")
    found = difference(nothing, Metric.of(parts, "per word", ""))
    assert math.isnan(found.value)
    assert (found.low, found.high) == (None, None)
    single = Metric.of(Parts(np.array([6.0, 2.0]), np.ones(2), np.zeros(2, dtype=int), paired=True), "nats", "")
    more = Metric.of(shifted(single.parts, by=1), "nats", "")
    found = difference(single, more)
    assert (found.value, found.low, found.high) == (1, None, None), "one document tells nothing of how they vary"


def test_intervals_cover_the_truth() -> None:
    """95 % of them, over 200 pairs of runs on 60 documents whose true difference is 0.3 nats a word."""
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        documents, words = np.repeat(np.arange(60), 3), rng.integers(3, 12, 180).astype(float)
        hard = rng.normal(2, 0.5, 60)[documents] * words
        a = Parts(hard + rng.normal(size=180), words, documents, paired=True)
        b = Parts(hard + 0.3 * words + rng.normal(size=180), words, documents, paired=True)
        found = difference(Metric.of(a, "nats", ""), Metric.of(b, "nats", ""), seed)
        covered += found.low <= 0.3 <= found.high
    assert covered / 200 == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 200))


def test_names_of_several_runs_keep_sections_together() -> None:
    figure = Metric(0.0, "x")
    first = {"language": {"a": figure}, "topics": {"t": figure}}
    second = {"language": {"b": figure, "a": figure}, "latent": {"u": figure}}
    names = [("language", "a"), ("language", "b"), ("topics", "t"), ("latent", "u")]
    assert metric_ids({"one": first, "two": second}) == names
    assert metric_ids({}) == []

"""Medians, intervals and verdicts: exact against brute force, right as often as they claim."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from iotrace.statistics import (
    compare_samples,
    median,
    median_interval,
    samples_needed,
    samples_needed_unpaired,
)

values = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=25)
distinct = st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=9, unique=True)


def test_six_values_are_needed_for_a_median_at_95_percent() -> None:
    assert samples_needed(0.95) == 6
    assert samples_needed(0.99) == 8
    assert samples_needed_unpaired(0.95) == 4


def test_five_values_give_a_median_without_an_interval_and_say_how_many_are_needed() -> None:
    interval = median_interval([1, 2, 3, 4, 5])
    assert (interval.median, interval.low, interval.high, interval.needed) == (3, None, None, 6)


def test_six_values_are_enclosed_whole_at_the_level_that_the_binomial_gives() -> None:
    interval = median_interval([6, 5, 4, 3, 2, 1])
    assert (interval.low, interval.high) == (1, 6)
    assert interval.level == pytest.approx(1 - 2 / 2**6)


def test_the_median_of_nothing_is_not_a_number() -> None:
    assert math.isnan(median([]))


@given(values)
def test_an_interval_encloses_its_median_and_attains_its_level(data: list[float]) -> None:
    interval = median_interval(data)
    if interval.low is None or interval.high is None:
        assert len(data) < 6
    else:
        assert interval.low <= interval.median <= interval.high
        assert interval.level >= 0.95


@given(st.integers(6, 60))
def test_the_interval_is_the_narrowest_pair_of_order_statistics(n: int) -> None:
    interval = median_interval(np.arange(n))
    assert interval.low is not None
    # one value further in on both sides would fall short of the level
    assert 1 - 2 * stats.binom.cdf(interval.low + 1, n, 0.5) < 0.95


@given(distinct, distinct)
def test_unpaired_p_values_are_those_of_mann_whitney(a: list[float], b: list[float]) -> None:
    if set(a) & set(b) or len(set(np.log(a)) | set(np.log(b))) < len(a) + len(b):
        return
    gaps = np.diff(np.sort(np.log([*a, *b])))
    if gaps.min() < 1e-9:
        return
    expected = stats.mannwhitneyu(a, b, method="exact").pvalue
    assert compare_samples(a, b).p == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(20))
def test_paired_p_values_are_those_of_wilcoxon(seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.lognormal(size=11), random.lognormal(0.3, size=11)
    assert compare_samples(a, b, paired=True).p == pytest.approx(
        stats.wilcoxon(np.log(b), np.log(a), method="exact").pvalue
    )


@pytest.mark.parametrize("paired", [False, True])
def test_many_runs_agree_with_the_normal_approximation(paired: bool) -> None:
    random = np.random.default_rng(3)
    a, b = random.lognormal(size=90), random.lognormal(0.2, size=90)
    if paired:
        expected = stats.wilcoxon(np.log(b), np.log(a), method="asymptotic", correction=True).pvalue
    else:
        expected = stats.mannwhitneyu(a, b, method="asymptotic", use_continuity=True).pvalue
    assert compare_samples(a, b, paired).p == pytest.approx(expected, rel=0.02)


@given(distinct, st.floats(0.01, 100))
def test_a_constant_factor_is_the_ratio_and_lies_in_its_interval(a: list[float], factor: float) -> None:
    comparison = compare_samples(a, np.asarray(a) * factor, paired=True)
    assert comparison.ratio == pytest.approx(factor)
    if comparison.low is not None and comparison.high is not None:
        assert comparison.ratio is not None
        assert comparison.low <= comparison.ratio <= comparison.high


@given(distinct, distinct)
def test_swapping_the_sides_inverts_the_ratio_and_keeps_p(a: list[float], b: list[float]) -> None:
    forth, back = compare_samples(a, b), compare_samples(b, a)
    assert forth.ratio is not None
    assert back.ratio is not None
    assert forth.ratio * back.ratio == pytest.approx(1)
    assert forth.p == pytest.approx(back.p)
    assert {forth.verdict, back.verdict} in ({"~"}, {"faster", "slower"})


@given(distinct, distinct)
def test_a_verdict_is_given_exactly_where_the_interval_leaves_out_one(a: list[float], b: list[float]) -> None:
    comparison = compare_samples(a, b)
    leaves_out = (
        comparison.low is not None and comparison.high is not None and (comparison.low > 1 or comparison.high < 1)
    )
    assert (comparison.verdict != "~") == leaves_out


def test_a_shorter_time_is_faster_and_a_higher_rate_is_faster() -> None:
    a, b = [10.0, 11, 12, 13, 14, 15], [5.0, 5.5, 6, 6.5, 7, 7.5]
    assert compare_samples(a, b).verdict == "faster"
    assert compare_samples(a, b, higher_is_better=True).verdict == "slower"
    assert compare_samples(b, a, paired=True).verdict == "slower"


@pytest.mark.parametrize(("paired", "runs"), [(False, 3), (True, 5)])
def test_too_few_runs_never_give_a_verdict(paired: bool, runs: int) -> None:
    comparison = compare_samples(np.arange(1.0, runs + 1), np.arange(1.0, runs + 1) * 1000, paired)
    assert comparison.verdict == "~"
    assert comparison.low is None
    assert comparison.needed > runs


def test_equal_values_show_no_difference() -> None:
    comparison = compare_samples([3.0] * 10, [3.0] * 10)
    assert (comparison.ratio, comparison.p, comparison.verdict) == (1, 1, "~")


@pytest.mark.parametrize("bad", [[0.0, 1.0], [-1.0, 1.0], [math.nan, 1.0], []])
def test_values_that_have_no_logarithm_give_no_ratio(bad: list[float]) -> None:
    comparison = compare_samples(bad, [1.0, 2.0])
    assert (comparison.ratio, comparison.p, comparison.verdict) == (None, None, "~")


def test_pairs_of_different_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="pairs"):
        compare_samples([1.0], [1.0, 2.0], paired=True)


def samples(random: np.random.Generator, n: int, shape: str) -> Any:
    """Skewed, two-humped and coarse distributions, as storage gives them; of median exp(0), exp(0), 1."""
    if shape == "skewed":
        return random.lognormal(0, 0.5, n)
    if shape == "two humps":
        return np.where(random.random(n) < 0.7, random.lognormal(0, 0.05, n), random.lognormal(1, 0.1, n))
    return np.maximum(1, random.poisson(6, n)).astype(float)


@pytest.mark.parametrize("shape", ["skewed", "two humps", "coarse"])
@pytest.mark.parametrize("n", [6, 10])
@pytest.mark.parametrize("paired", [False, True])
def test_a_storage_compared_with_itself_differs_in_at_most_one_of_twenty(shape: str, n: int, paired: bool) -> None:
    random = np.random.default_rng(11)
    rounds = 1500
    found = sum(
        compare_samples(samples(random, n, shape), samples(random, n, shape), paired).verdict != "~"
        for _ in range(rounds)
    )
    # three standard errors above 5 %
    assert found / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


@pytest.mark.parametrize("paired", [False, True])
def test_the_true_ratio_lies_in_its_interval_as_often_as_claimed(paired: bool) -> None:
    random = np.random.default_rng(12)
    rounds, covered = 1500, 0
    for _ in range(rounds):
        drift = random.lognormal(0, 0.5, 8) if paired else np.ones(8)
        comparison = compare_samples(
            random.lognormal(0, 0.3, 8) * drift, 1.3 * random.lognormal(0, 0.3, 8) * drift, paired
        )
        assert comparison.low is not None
        assert comparison.high is not None
        covered += comparison.low <= 1.3 <= comparison.high
    assert covered / rounds >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_the_median_lies_in_its_interval_as_often_as_claimed() -> None:
    random = np.random.default_rng(13)
    rounds = 2000
    intervals = [median_interval(random.lognormal(0, 1, 9)) for _ in range(rounds)]
    covered = sum(i.low <= 1 <= i.high for i in intervals if i.low is not None and i.high is not None)
    assert covered / rounds >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_pairing_finds_what_drift_hides() -> None:
    random = np.random.default_rng(14)
    drift = random.lognormal(0, 1, 10)
    a, b = drift, drift * 0.9 * random.lognormal(0, 0.02, 10)
    assert compare_samples(a, b, paired=True).verdict == "faster"
    assert compare_samples(a, b, paired=False).verdict == "~"


def test_the_null_distribution_of_u_is_the_counted_one() -> None:
    from iotrace.statistics import mann_whitney_tail

    m, n = 3, 4
    counts = np.zeros(m * n + 1)
    for chosen in itertools.combinations(range(m + n), m):
        others = [i for i in range(m + n) if i not in chosen]
        counts[sum(x > y for x in chosen for y in others)] += 1
    np.testing.assert_allclose(mann_whitney_tail(m, n), np.cumsum(counts) / counts.sum())

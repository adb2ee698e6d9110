"""Which rows count as different, how many runs a difference needs, drift and outliers: as often right as claimed."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from iotrace.analysis.comparison import family
from iotrace.analysis.comparison.power import runs_needed
from iotrace.analysis.comparison.quality import drift, outliers
from iotrace.statistics import LEVEL, compare_samples

PRIMARY = family.primary_level(1)


@pytest.mark.parametrize("paired", [False, True])
def test_the_stepdown_of_one_column_is_the_permutation_test_of_it(paired: bool) -> None:
    random = np.random.default_rng(1)
    a, b = random.normal(size=(6, 1)), random.normal(0.8, 1, size=(6, 1))
    if paired:
        flips = np.array(list(itertools.product([1, -1], repeat=6)))
        reached = np.abs((flips * (b - a).T).sum(axis=1)) >= abs(float((b - a).sum())) - 1e-9
        expected = float(reached.mean())
    else:
        expected = stats.permutation_test(
            (b[:, 0], a[:, 0]), lambda x, y: abs(x.mean() - y.mean()), alternative="greater", n_resamples=np.inf
        ).pvalue
    assert family.stepdown(a, b, paired)[0] == pytest.approx(expected)


def test_columns_that_say_the_same_count_once() -> None:
    random = np.random.default_rng(2)
    a, b = random.normal(size=(7, 1)), random.normal(1.5, 1, size=(7, 1))
    alone = family.stepdown(a, b, True)
    many = family.stepdown(np.repeat(a, 40, axis=1), np.repeat(b, 40, axis=1), True)
    np.testing.assert_allclose(many, alone[0])


def test_a_clear_column_is_found_with_six_pairs_among_forty_that_are_alike() -> None:
    random = np.random.default_rng(3)
    a, b = random.normal(size=(6, 41)), random.normal(size=(6, 41))
    b[:, 17] = a[:, 17] + 5 + random.normal(0, 0.05, 6)
    p = family.stepdown(a, b, True)
    assert p[17] == pytest.approx(2 / 2**6)
    assert np.delete(p, 17).min() > 0.05


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("n", [6, 8])
def test_of_forty_columns_without_a_difference_any_shows_one_in_at_most_one_of_twenty(paired: bool, n: int) -> None:
    random = np.random.default_rng(4)
    rounds, found = 400, 0
    for _ in range(rounds):
        shared = random.standard_t(3, (2, n, 1))
        a, b = shared + random.standard_t(3, (2, n, 40))
        found += family.stepdown(a, b, paired).min() <= 1 - LEVEL
    assert found / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_other_rows_are_held_to_less_than_one_percent_until_the_primary_measure_differs() -> None:
    assert family.primary_adjusted(0.032, 1) == pytest.approx(0.05)
    assert family.secondary_adjusted(0.008, 1.0, 1) == pytest.approx(0.05)
    assert family.secondary_adjusted(0.03, 1.0, 1) > 0.05
    assert family.secondary_adjusted(0.03, 0.04, 1) == pytest.approx(0.04)
    assert family.secondary_adjusted(0.04, 0.04, 1) == pytest.approx(0.05)
    assert family.primary_adjusted(0.03, 2) > 0.05


def spread(random: np.random.Generator, n: int, shape: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Run times of one storage: skewed, or with one run in ten disturbed."""
    if shape == "skewed":
        return random.lognormal(0, 0.04, n)
    return random.lognormal(0, 0.02, n) * np.where(random.random(n) < 0.1, 1.3, 1.0)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("shape", ["skewed", "disturbed"])
def test_five_percent_are_found_with_the_runs_that_were_asked_for(paired: bool, shape: str) -> None:
    random = np.random.default_rng(5)
    trials, found, asked = 60, 0, []
    for _ in range(trials):
        runs = runs_needed(spread(random, 10, shape), spread(random, 10, shape), paired, 0.05, PRIMARY)
        assert runs is not None
        asked.append(runs)
        found += (
            compare_samples(
                spread(random, runs, shape), 1.05 * spread(random, runs, shape), paired, level=PRIMARY
            ).verdict
            == "slower"
        )
    # planned for 90 %, from a spread that ten runs know badly
    assert found / trials >= 0.8
    # and not by asking for so many that anything is found
    assert np.median(asked) < 100


def test_runs_that_never_vary_need_only_what_the_test_needs() -> None:
    assert runs_needed(np.ones(6), np.ones(6), True, 0.05, PRIMARY) == 6
    assert runs_needed(np.ones(6), np.ones(6), False, 0.05, PRIMARY) == 4


def test_of_two_runs_nothing_is_planned_and_of_wild_ones_neither() -> None:
    random = np.random.default_rng(6)
    assert runs_needed(np.ones(2), np.ones(2), True, 0.05, PRIMARY) is None
    assert runs_needed(random.lognormal(0, 2, 8), random.lognormal(0, 2, 8), True, 0.001, PRIMARY) is None


def test_a_trend_is_found_and_its_size_is_that_of_the_values() -> None:
    change = drift([1.0, 1.11, 1.2, 1.33, 1.4, 1.5])
    assert change == pytest.approx(0.5, abs=0.06)
    assert drift([1.5, 1.4, 1.33, 1.2, 1.11, 1.0]) == pytest.approx(-1 / 3, abs=0.05)


def test_a_trend_is_no_trend_where_it_is_small_or_its_order_is_chance() -> None:
    assert drift(1 + np.arange(10) / 10_000) is None
    assert drift([1.0, 1.4, 1.1, 1.5, 1.2, 1.3]) is None
    assert drift([1.0, 2.0]) is None


def test_steady_runs_drift_in_at_most_one_of_a_hundred() -> None:
    random = np.random.default_rng(7)
    found = sum(drift(random.lognormal(0, 0.2, 10)) is not None for _ in range(1500))
    assert found / 1500 <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / 1500)


def test_one_run_far_off_is_an_outlier_and_steady_runs_hold_almost_none() -> None:
    assert outliers([1.0, 1.02, 0.99, 1.01, 3.0, 1.0, 0.98]) == [4]
    random = np.random.default_rng(8)
    assert sum(bool(outliers(random.lognormal(0, 0.1, 8))) for _ in range(1000)) / 1000 <= 0.02
    assert outliers([1.0, 1.0, 1.0, 1.0, 1.001, 1.0]) == []

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from reconfig.harness.reports.many_tests import ALPHA, POWER, detectable, holm
from reconfig.harness.reports.statistics import interval, over_seeds

FIRST = [24.1, 23.4, 25.0, 24.3, 23.9]
SECOND = [25.0, 24.1, 25.2, 25.3, 24.4]


def test_holms_correction_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04, times 4, 3, 2 and 1, none below the one before it.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_holms_correction_is_that_of_statsmodels() -> None:
    found = np.random.default_rng(0).beta(0.3, 2, 12).tolist()
    assert holm([*found, found[0]]) == pytest.approx(multipletests([*found, found[0]], method="holm")[1].tolist())


def test_what_was_not_tested_is_no_part_of_the_family() -> None:
    assert holm([None, 0.02, None, 0.03]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]
    assert holm([None, None]) == [None, None]


def test_the_interval_is_that_of_the_paired_t_test() -> None:
    found = interval(np.subtract(SECOND, FIRST).tolist())
    expected = stats.ttest_rel(SECOND, FIRST).confidence_interval(0.95)
    assert found == pytest.approx((expected.low, expected.high))
    assert interval([1.0]) is None


@pytest.mark.parametrize("seeds", [2, 3, 5, 10, 30])
@pytest.mark.parametrize("tests", [1, 4, 8])
def test_a_detectable_difference_is_found_as_often_as_it_says(seeds: int, tests: int) -> None:
    """Against an integral over the spread: of normal means over chi-distributed deviations."""
    found = detectable(1.0, seeds, tests)
    assert found is not None
    critical = float(stats.t.isf(ALPHA / tests / 2, seeds - 1))
    quantiles = (np.arange(200_000) + 0.5) / 200_000
    deviations = np.sqrt(stats.chi2.ppf(quantiles, seeds - 1) / (seeds - 1))
    mean = found * math.sqrt(seeds)
    power = float((stats.norm.sf(critical * deviations - mean) + stats.norm.cdf(-critical * deviations - mean)).mean())
    assert power == pytest.approx(POWER, abs=1e-4)


def test_what_statsmodels_solves_well_is_the_same() -> None:
    for seeds, tests in ((5, 1), (10, 1), (10, 8), (30, 8)):
        effect = TTestPower().solve_power(nobs=seeds, alpha=ALPHA / tests, power=POWER, alternative="two-sided")
        assert detectable(2.5, seeds, tests) == pytest.approx(2.5 * float(effect), rel=1e-4)


def test_nothing_can_be_said_without_spread() -> None:
    assert detectable(None, 1, 3) is None
    assert detectable(0.0, 5, 3) is None


def test_of_studies_without_effect_few_find_one() -> None:
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        original = generator.normal(24, 0.5, 5)
        rules = generator.normal(24, 0.5, (4, 5))
        found = holm([over_seeds(original.tolist(), rule.tolist()).p for rule in rules])
        wrong += any(p is not None and p < ALPHA for p in found)
    assert wrong <= 200 * (ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 200))  # three standard errors above 5 %

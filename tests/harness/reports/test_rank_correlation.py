from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reconfig.harness.reports import rank_correlation
from reconfig.harness.reports.rank_correlation import beats, tau


def test_tau_is_kendalls_with_an_interval_around_it() -> None:
    draws = np.random.default_rng(1)
    robust = draws.normal(size=40)
    figures = robust + draws.normal(size=40)
    found = tau(list(figures), list(robust))
    assert found.tau == pytest.approx(stats.kendalltau(figures, robust).statistic)
    assert found.low is not None
    assert found.high is not None
    assert found.tau is not None
    assert -1 < found.low < found.tau < found.high < 1
    assert 0.1 < found.high - found.low < 0.6
    assert str(found).startswith(f"{found.tau:+.2f} [")


def test_a_draw_is_kendalls_tau_of_the_networks_drawn() -> None:
    draws = np.random.default_rng(4)
    one, other = list(draws.integers(5, size=12).astype(float)), list(draws.normal(size=12))
    rows = np.random.default_rng(9).integers(12, size=(rank_correlation._SAMPLES, 12))[:20]
    expected = [stats.kendalltau(np.array(one)[row], np.array(other)[row]).statistic for row in rows]
    assert rank_correlation._drawn(one, other, seed=9)[:20] == pytest.approx(expected)


def test_a_figure_that_all_networks_share_orders_nothing() -> None:
    found = tau([7, 7, 7, 7], [1, 2, 3, 4])
    assert found.tau is None
    assert str(found) == "undefined: the same for all 4 networks"


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0)
    truth = 2 / np.pi * np.arcsin(0.6)  # of a normal pair with correlation 0.6
    covered = 0
    for _ in range(40):
        one = draws.normal(size=30)
        other = 0.6 * one + 0.8 * draws.normal(size=30)
        found = tau(list(one), list(other))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert covered >= 34


def test_one_figure_beats_another_only_where_the_draws_agree() -> None:
    draws = np.random.default_rng(2)
    robust = list(draws.normal(size=30))
    good, noise = list(np.array(robust) + 0.1 * draws.normal(size=30)), list(draws.normal(size=30))
    assert beats(good, noise, robust)
    assert beats(good, [1.0] * 30, robust)
    assert not beats(noise, good, robust)
    assert not beats(good, good, robust)

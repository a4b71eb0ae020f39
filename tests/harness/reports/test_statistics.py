from __future__ import annotations

import math

import numpy as np
import pytest

from reconfig.harness.reports.statistics import Difference, over_images, over_seeds, summary


def test_a_summary_by_hand() -> None:
    found = summary([50.0, 52.0, 54.0])
    assert (found.mean, found.std, found.count) == (52.0, 2.0, 3)
    assert str(found) == "52.00 ± 2.00"


def test_one_value_has_no_spread() -> None:
    assert summary([50.0]).std is None
    assert str(summary([50.0])) == "50.00"


def test_the_paired_t_test_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t = 2 sqrt(3) with 2 degrees of freedom,
    # for which P(|T| > t) = 1 - t / sqrt(t^2 + 2).
    found = over_seeds([10.0, 20.0, 30.0], [11.0, 22.0, 33.0])
    t = 2 * math.sqrt(3)
    assert found.mean == 2.0
    assert found.p == pytest.approx(1 - t / math.sqrt(t * t + 2))
    assert found.test == "paired t-test over 3 seeds"


def test_pairing_counts() -> None:
    first, second = [10.0, 20.0, 30.0], [11.0, 22.0, 33.0]
    paired, shuffled = over_seeds(first, second), over_seeds(first, [33.0, 11.0, 22.0])
    assert paired.mean == shuffled.mean
    assert paired.p is not None
    assert shuffled.p is not None
    assert paired.p < shuffled.p


@pytest.mark.parametrize("apart", [0.0, 0.1, 3.0])
def test_where_seeds_do_not_differ_there_is_no_test(apart: float) -> None:
    found = over_seeds([50.0, 51.3, 52.7], [50.0 + apart, 51.3 + apart, 52.7 + apart])
    assert found.mean == pytest.approx(apart)
    assert (found.p, found.test) == (None, None)


def test_one_seed_has_a_difference_and_no_test() -> None:
    assert over_seeds([50.0], [51.5]) == Difference(1.5, None, None)


def test_mcnemar_by_hand() -> None:
    # The second is right on 3 images on which the first is wrong, and wrong on 1 on which the first is right:
    # P(at most 1 or at least 3 heads of 4) = 10/16.
    first = np.array([1, 0, 0, 0, 1, 1, 0], dtype=bool)
    second = np.array([0, 1, 1, 1, 1, 1, 0], dtype=bool)
    found = over_images(first, second)
    assert found.mean == pytest.approx(100 * 2 / 7)
    assert found.p == pytest.approx(10 / 16)
    assert found.test == "McNemar's exact test over 7 images"


def test_networks_that_agree_on_every_image_do_not_differ() -> None:
    assert over_images([True, False], [True, False]).p == 1.0


def test_how_a_difference_reads() -> None:
    assert str(Difference(1.5, 0.0123, "t")) == "+1.50 (p=0.012)"
    assert str(Difference(-0.25, None, None)) == "-0.25"

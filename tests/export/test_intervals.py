"""The intervals of one run's accuracies."""

import numpy as np
import pytest
from scipy.stats import binomtest

from bench.export.intervals import run_intervals


def intervals(**scores):
    return run_intervals({key: {"correct": c, "n": n} for key, (c, n) in scores.items()})


def test_the_interval_of_a_set_is_a_bootstrap_over_its_items():
    outcomes = np.array([1] * 63 + [0] * 37)
    drawn = np.random.default_rng(1).choice(outcomes, (20_000, 100)).mean(axis=1)
    expected = 100 * np.quantile(drawn, (0.025, 0.975))
    assert intervals(a=(63, 100))["a"] == pytest.approx(expected, abs=1.0)


def test_all_correct_or_none_has_the_exact_interval():
    found = intervals(a=(0, 150), b=(150, 150))
    exact = binomtest(0, 150).proportion_ci(0.95, method="exact")
    assert found["a"] == pytest.approx((0.0, 100 * exact.high))
    assert found["b"] == pytest.approx((100 - 100 * exact.high, 100.0))


def test_averages_are_drawn_set_by_set_and_reproducibly():
    found = intervals(a=(75, 150), b=(1200, 1500))
    low, high = found["micro"]
    assert low < 100 * 1275 / 1650 < high and high - low < 5
    low, high = found["macro"]
    assert low < 65 < high and 7 < high - low < 9.5
    assert found == intervals(a=(75, 150), b=(1200, 1500))

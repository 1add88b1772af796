"""Values of clusters against the variance of a ratio, and their means."""

import numpy as np
import pytest

from bench.report.statistics.clusters import by_cluster


def test_clusters_of_one_size_have_their_means():
    values = np.arange(12.0).reshape(2, 6)
    found = by_cluster(values, np.array([0, 1, 2, 0, 1, 2]))
    assert found == pytest.approx((values[:, :3] + values[:, 3:]) / 2)


def test_single_items_are_unchanged():
    values = np.random.default_rng(0).random((3, 7))
    assert by_cluster(values, np.arange(7)) == pytest.approx(values)


def test_clusters_of_any_size_have_the_mean_of_the_items_and_its_variance_over_clusters():
    draws = np.random.default_rng(0)
    sizes = draws.integers(1, 9, 300)
    numbers = np.repeat(np.arange(300), sizes)

    def mean_and_variance():
        values = np.repeat(draws.normal(0.7, 0.2, 300), sizes) + draws.normal(0, 0.1, len(numbers))
        found = by_cluster(values, numbers)
        assert found.mean() == pytest.approx(values.mean())
        return values.mean(), found.var(ddof=1) / 300

    means, variances = np.array([mean_and_variance() for _ in range(2000)]).T
    assert variances.mean() == pytest.approx(means.var(ddof=1), rel=0.1)

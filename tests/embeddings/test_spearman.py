import numpy as np
import pytest
from scipy.stats import spearmanr

import bench.embeddings.spearman as module
from bench.embeddings.spearman import spearman


@pytest.fixture
def points():
    draw = np.random.default_rng(1)
    x = draw.integers(1, 12, 200)
    return x, draw.normal(size=200) + 0.1 * x


def test_rho_is_scipys_with_ties(points):
    assert spearman(*points).rho == pytest.approx(spearmanr(*points).statistic, abs=1e-12)


def test_the_interval_is_that_of_points_drawn_again_and_ranked_anew(points):
    x, y = points
    draw = np.random.default_rng(3)
    rhos = []
    for _ in range(300):
        drawn = draw.integers(len(x), size=len(x))
        rhos.append(spearmanr(x[drawn], y[drawn]).statistic)
    low, high = np.quantile(rhos, (0.025, 0.975))
    found = spearman(x, y, replicas=300, seed=3)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


def test_how_much_is_drawn_at_once_changes_nothing(points, monkeypatch):
    before = spearman(*points, replicas=100)
    monkeypatch.setattr(module, "CHUNK", 1000)
    assert spearman(*points, replicas=100) == before


def test_another_seed_is_another_interval_around_the_same_rho(points):
    one, other = spearman(*points, seed=0), spearman(*points, seed=1)
    assert one.rho == other.rho and one.low != other.low
    assert one.low < one.rho < one.high


@pytest.mark.parametrize(
    ("x", "y"),
    [(np.arange(9), np.arange(9)), (np.ones(50), np.arange(50)), (np.arange(50), np.ones(50))],
)
def test_few_or_equal_points_have_no_rho(x, y):
    assert spearman(x, y) is None

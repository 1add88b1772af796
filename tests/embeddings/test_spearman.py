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


def test_the_interval_is_that_of_resampled_and_reranked_points(points, monkeypatch):
    x, y = points
    draw = np.random.default_rng(3)
    rhos = []
    for _ in range(300):
        drawn = draw.integers(len(x), size=len(x))
        rhos.append(spearmanr(x[drawn], y[drawn]).statistic)
    found = spearman(x, y, replicas=300, seed=3)
    assert found.rho == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    expected = np.quantile(rhos, (0.025, 0.975))
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-12)
    monkeypatch.setattr(module, "CHUNK", 1000)  # the size of batches does not matter
    assert spearman(x, y, replicas=300, seed=3) == found


def test_the_seed_decides_the_interval_alone(points):
    one, other = spearman(*points, seed=0), spearman(*points, seed=1)
    assert one.rho == other.rho and one.low != other.low
    assert one.low < one.rho < one.high


def test_resamples_of_equal_points_are_left_out(recwarn):
    found = spearman(np.array([2.0] + [1.0] * 9), np.arange(10.0))
    assert -1 <= found.low < found.high <= 1 and not recwarn


@pytest.mark.parametrize(
    ("x", "y"),
    [(np.arange(9), np.arange(9)), (np.ones(50), np.arange(50)), (np.arange(50), np.ones(50))],
)
def test_few_or_equal_points_have_no_rho(x, y):
    assert spearman(x, y) is None

"""Intervals of cells: against scipy, and how often they contain the true accuracy."""

import numpy as np
import pytest
from scipy import stats

from bench.report.statistics.bootstrap import drawn_items, drawn_patterns, intervals
from tests.report.statistics.simulate import World, covered, interval


def drawn(seed=0, **world):
    return World(**world).draw(np.random.default_rng(seed), 1)[1][0]


def test_with_one_seed_it_is_scipy_s_bootstrap_over_items():
    outcomes = drawn(seeds=1, items=200)
    expected = stats.bootstrap(
        (outcomes[0],), np.mean, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert interval(outcomes) == pytest.approx(tuple(expected), abs=0.006)


@pytest.mark.parametrize("draw", [drawn_items, drawn_patterns])
def test_draws_have_the_mean_and_the_covariance_of_means_of_items(draw):
    outcomes = drawn(seeds=2, items=150)
    means = draw(outcomes, 20_000, np.random.default_rng(0))
    assert means.mean(axis=0) == pytest.approx(outcomes.mean(axis=1), abs=0.001)
    assert np.cov(means.T) == pytest.approx(np.cov(outcomes, bias=True) / 150, rel=0.05)


def test_runs_of_one_draw_share_their_items():
    outcomes = np.repeat(drawn(seeds=1, items=80), 2, axis=0)
    one, other = drawn_items(outcomes, 50, np.random.default_rng(0)).T
    assert (one == other).all()


@pytest.mark.parametrize("deviation", [0.0, 5.0])
def test_intervals_over_three_seeds_contain_the_true_accuracy(deviation):
    assert covered(World(items=200, deviation=deviation), cells=200, draws=500) >= 92


def test_it_is_wider_if_runs_differ():
    one = drawn(seeds=1, items=200)[0]
    alike, shifted = np.stack([one, one, one]), np.stack([one, one, np.ones_like(one)])
    widths = [high - low for low, high in (interval(values) for values in (alike, shifted))]
    assert widths[1] > 2 * widths[0]


def test_an_average_over_two_benchmarks_has_a_narrower_interval():
    one, other = (drawn(seed, seeds=1, items=200) for seed in (0, 1))
    cells = {"a": {"a": 1.0}, "b": {"b": 1.0}, "macro": {"a": 0.5, "b": 0.5}}
    widths = [high - low for low, high in intervals([{"a": one, "b": other}], cells)[0].values()]
    assert widths[2] == pytest.approx(np.hypot(widths[0], widths[1]) / 2, rel=0.1)


@pytest.mark.parametrize("right", [0, 90])
def test_answers_without_variation_have_the_exact_bound(right):
    outcomes = np.full((3, 90), float(right > 0))
    expected = stats.binomtest(right, 90).proportion_ci(method="exact")
    assert interval(outcomes) == pytest.approx((expected.low, expected.high))


def test_it_is_within_0_and_1():
    outcomes = np.zeros((3, 60))
    outcomes[0, 0] = 1
    low, high = interval(outcomes)
    assert low == 0 and high < 0.2

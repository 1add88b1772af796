"""The test: against scipy and statsmodels in special cases, and on similar answers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from bench.report.statistics.crossed import crossed_test
from bench.report.statistics.variance import items, parts
from tests.report.statistics.simulate import World


def outcomes(seed, seeds=3, size=40, chance=0.6):
    return (np.random.default_rng(seed).random((seeds, size)) < chance).astype(float)


def test_parts_of_variance_are_mean_squares_of_a_two_way_table():
    seeds, size = 4, 25
    values = outcomes(0, seeds, size)
    run, item = np.indices(values.shape)
    frame = pd.DataFrame({"y": values.ravel(), "run": run.ravel(), "item": item.ravel()})
    squares = anova_lm(ols("y ~ C(run) + C(item)", frame).fit())["mean_sq"] / (seeds * size)
    row, own = parts([values], [1.0]), items([values.mean(axis=0)], [1.0])
    assert row.runs == pytest.approx(squares["C(run)"])
    assert row.residual == pytest.approx(squares["Residual"])
    assert own.variance == pytest.approx(squares["C(item)"])


def test_without_differences_between_runs_it_is_the_paired_t_over_items():
    ours, theirs = (np.repeat(outcomes(seed, seeds=1), 3, axis=0) for seed in (1, 2))
    expected = stats.ttest_rel(ours[0], theirs[0])
    found = crossed_test([ours], [theirs])
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))


@pytest.mark.parametrize("paired", [False, True])
def test_without_differences_between_items_it_is_a_t_between_runs(paired):
    one, other = [0.62, 0.71, 0.66], [0.60, 0.64, 0.55]
    ours, theirs = (np.repeat(np.array(means)[:, None], 50, axis=1) for means in (one, other))
    found = crossed_test([ours], [theirs], paired=paired)
    expected = (
        stats.ttest_rel(one, other) if paired else stats.ttest_ind(one, other, equal_var=False)
    )
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))


def test_a_detectable_difference_is_that_of_a_paired_t_if_runs_are_equal():
    ours, theirs = (np.repeat(outcomes(seed, seeds=1), 3, axis=0) for seed in (1, 2))
    found = crossed_test([ours], [theirs], paired=True)
    difference = (ours - theirs)[0]
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    t = stats.t(len(difference) - 1)
    expected = error * (t.ppf(0.995) + t.ppf(0.8))
    assert found.detectable(0.01) == pytest.approx(expected)
    exact = stats.nct(len(difference) - 1, expected / error).sf(t.ppf(0.995))
    assert exact == pytest.approx(0.8, abs=0.02)


def test_a_detectable_difference_has_an_upper_bound_of_the_variance_of_runs():
    one, other = [0.62, 0.71, 0.66], [0.60, 0.64, 0.55]
    ours, theirs = (np.repeat(np.array(means)[:, None], 50, axis=1) for means in (one, other))
    found = crossed_test([ours], [theirs], paired=True)
    bound = np.var(np.subtract(one, other), ddof=1) / 3 * 2 / stats.chi2(2).ppf(0.2)
    expected = np.sqrt(bound) * (stats.t(2).ppf(0.975) + stats.t(2).ppf(0.8))
    assert found.detectable() == pytest.approx(expected)


def test_in_most_designs_a_detectable_difference_is_detected_in_four_of_five():
    world = World(items=300, seeds=5, deviation=3.0)
    found = crossed_test(*([v] for v in world.draw(np.random.default_rng(0), 300)))
    # The bound holds in 80% of designs: the power at the smallest fifth is at least 80%.
    larger = replace(world, difference=100 * float(np.quantile(found.detectable(), 0.2)))
    ours, theirs = larger.draw(np.random.default_rng(1), 300)
    assert 0.75 < (crossed_test([ours], [theirs]).p <= 0.05).mean() < 0.97


def test_comparisons_in_a_batch_equal_single_ones():
    ours, theirs = World(items=50, deviation=3.0).draw(np.random.default_rng(0), 4)
    together = crossed_test([ours], [theirs])
    for index in range(4):
        alone = crossed_test([ours[index]], [theirs[index]])
        assert together.p[index] == pytest.approx(float(alone.p))
        assert together.degrees[index] == pytest.approx(float(alone.degrees))


def test_a_benchmark_without_variation_only_scales():
    ours, theirs, same = outcomes(1), outcomes(2), np.ones((3, 10))
    alone = crossed_test([ours], [theirs])
    half = crossed_test([ours, same], [theirs, same], [0.5, 0.5])
    assert float(half.difference) == pytest.approx(float(alone.difference) / 2)
    assert float(half.variance) == pytest.approx(float(alone.variance) / 4)
    assert float(half.p) == pytest.approx(float(alone.p))


def test_runs_are_paired_if_seeds_make_answers_similar():
    draws = np.random.default_rng(0)
    apart = crossed_test(*([values] for values in World().draw(draws, 50)))
    alike = crossed_test(*([values] for values in World(answers_alike=0.8).draw(draws, 50)))
    assert not apart.paired.any()
    assert alike.paired.all()


def test_pairing_has_more_power_for_methods_with_similar_answers():
    world = World(deviation=2.0, alike=0.9, answers_alike=0.9, difference=4.0)
    ours, theirs = world.draw(np.random.default_rng(0), 200)
    chosen, apart = (crossed_test([ours], [theirs], paired=p).p <= 0.05 for p in (None, False))
    assert chosen.mean() > apart.mean() + 0.3


def test_equal_answers_are_no_difference():
    same = outcomes(0)
    found = crossed_test([same], [same])
    assert (float(found.difference), float(found.p)) == (0.0, 1.0)


def test_two_items_are_never_significant():
    found = crossed_test([np.ones((3, 2))], [np.zeros((3, 2))])
    assert float(found.difference) == 1.0
    assert float(found.p) > 0.05


def test_degrees_of_freedom_are_at_least_seeds_less_one():
    ours, theirs = World(items=60, deviation=5.0).draw(np.random.default_rng(0), 300)
    assert crossed_test([ours], [theirs]).degrees.min() >= 2

"""What would separate a difference: against statsmodels' power, and in words."""

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from bench.report.statistics.crossed import crossed_test
from bench.report.statistics.planning import Design, would_separate
from bench.report.statistics.world import World

# Items alone: a standard deviation of 50 points between items, no runs that differ.
ITEMS = Design(0.05, seeds=3, size=600, runs=0, items=0.25 / 600, rest=0, run_rest=0, spread=2)


@pytest.mark.parametrize("size", [100, 600, 3000])
def test_power_over_items_is_that_of_the_t_test(size):
    expected = TTestPower().power(effect_size=0.1, nobs=size, alpha=0.05)
    assert ITEMS.power(3, size) == pytest.approx(expected, abs=0.002)


def test_the_items_needed_are_those_of_the_t_test():
    expected = TTestPower().solve_power(effect_size=0.1, power=0.8, alpha=0.05)
    assert ITEMS.items_needed() == pytest.approx(expected, abs=1)
    assert would_separate(ITEMS) == "about 790 items; no number of seeds alone"


def test_a_stricter_level_needs_more():
    assert replace(ITEMS, level=0.01).items_needed() > ITEMS.items_needed()


def test_seeds_where_runs_differ():
    runs = replace(ITEMS, runs=0.06**2, items=0.0)
    assert runs.items_needed() is None
    assert would_separate(runs).endswith("seeds; no number of items alone")


def test_either_where_neither_limits_it():
    rest = replace(ITEMS, items=0.0, rest=0.04**2, run_rest=0.04**2)
    assert would_separate(rest).startswith("about ") and " seeds, or about " in would_separate(rest)


def test_both_where_each_limits_it():
    both = replace(ITEMS, difference=0.02, runs=0.03**2)
    assert would_separate(both).endswith(" items; no number of either alone")


def test_a_difference_too_small_for_any_plan():
    assert would_separate(replace(ITEMS, difference=0.0006, runs=0.1)) == (
        "more than 1,000 seeds, and more items"
    )


def test_no_difference_is_never_to_be_separated():
    assert would_separate(replace(ITEMS, difference=0.0)) == "no difference to separate"


def test_the_seeds_that_are_planned_have_the_power_that_is_promised():
    world = World(items=300, deviation=2.0, difference=6.0, interaction=1.0)
    draws = np.random.default_rng(0)
    seen = crossed_test(*([values] for values in world.draw(draws, 1000)))
    average = replace(seen, **{name: getattr(seen, name).mean() for name in vars(seen)})
    design = replace(Design.of(average, 3, 300), difference=0.06)
    needed = design.seeds_needed()
    later = replace(world, seeds=needed).draw(draws, 400)
    found = crossed_test(*([values] for values in later)).p <= 0.05
    assert 3 < needed < 12
    assert found.mean() == pytest.approx(0.8, abs=0.08)

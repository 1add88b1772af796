"""What would make a difference significant: against statsmodels' power, and by simulation."""

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from bench.report.statistics.crossed import crossed_test
from bench.report.statistics.planning import Design, would_separate
from tests.report.statistics.simulate import World

# Items alone: a standard deviation of 50 points between items, no runs that differ.
ITEMS = Design(0.05, seeds=3, size=600, runs=0, items=0.25 / 600, rest=0, run_rest=0, spread=2)


@pytest.mark.parametrize("size", [100, 600, 3000])
def test_power_over_items_is_that_of_the_t_test(size):
    expected = TTestPower().power(effect_size=0.1, nobs=size, alpha=0.05)
    assert ITEMS.power(3, size) == pytest.approx(expected, abs=0.002)


def test_the_items_needed_are_those_of_the_t_test():
    expected = TTestPower().solve_power(effect_size=0.1, power=0.8, alpha=0.05)
    assert ITEMS.items_needed() == pytest.approx(expected, abs=1)
    assert ITEMS.seeds_needed() is None
    assert would_separate(ITEMS) == "about 790 items"
    assert replace(ITEMS, level=0.01).items_needed() > ITEMS.items_needed()


def test_only_seeds_help_if_the_runs_differ():
    runs = replace(ITEMS, runs=0.06**2, items=0.0)
    assert runs.items_needed() is None and runs.seeds_needed() > 3
    assert would_separate(runs) == f"about {runs.seeds_needed()} seeds"
    assert would_separate(replace(ITEMS, difference=0.0)) == "more seeds and more items"


def test_the_seeds_needed_have_the_power_that_is_promised():
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

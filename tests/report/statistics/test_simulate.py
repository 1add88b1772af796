"""The rate of verdicts between equal methods, and the simulation that measures it."""

import pytest

from tests.report.statistics.simulate import (
    TESTS,
    World,
    called,
    covered,
    crossed,
    main,
    runs_paired,
)


@pytest.mark.parametrize(("deviation", "interaction"), [(0.0, 1.0), (2.0, 0.0), (5.0, 1.0)])
def test_equal_methods_are_rarely_called_better_or_worse(deviation, interaction):
    world = World(items=150, deviation=deviation, interaction=interaction)
    rates = called(world, 1000)
    assert rates["crossed"] <= 6.5
    # A test that ignores variation between runs fails on the same draws.
    assert deviation == 0 or rates["one run"] > 8


@pytest.mark.slow
@pytest.mark.parametrize("items", [150, 600])
@pytest.mark.parametrize("interaction", [0.0, 1.0])
@pytest.mark.parametrize("deviation", [0.0, 2.0, 5.0])
def test_the_level_is_held_to_a_tenth(deviation, interaction, items):
    world = World(items=items, deviation=deviation, interaction=interaction)
    assert called(world, 10_000, seed=1, tests={"crossed": crossed})["crossed"] <= 5.5


def test_it_finds_more_than_a_test_that_always_pairs_runs():
    tests = {"crossed": crossed, "paired": runs_paired}
    rates = called(World(items=300, difference=5.0), 500, tests=tests)
    assert rates["crossed"] > rates["paired"] + 4


@pytest.mark.parametrize(("size", "seeds"), [(5, 5), (10, 3)])
def test_items_in_clusters_are_no_more_often_called_different(size, seeds):
    world = World(items=300, seeds=seeds, interaction=1.0, cluster=size)
    rates = called(world, 1000)
    assert rates["crossed"] <= 6 < rates["items independent"]


def test_intervals_over_clusters_contain_the_true_accuracy():
    assert covered(World(items=300, cluster=10, deviation=2.0), cells=200, draws=500) >= 92


def test_a_world_has_the_accuracy_and_the_deviation_it_is_given():
    import numpy as np

    world = World(items=4000, seeds=4, deviation=5.0, other=0.0, difference=3.0, accuracy=70.0)
    ours, theirs = world.draw(np.random.default_rng(0), 100)
    assert 100 * ours.mean() == pytest.approx(73, abs=1)
    assert 100 * theirs.mean() == pytest.approx(70, abs=0.5)
    assert 100 * ours.mean(axis=2).std(axis=1, ddof=1).mean() == pytest.approx(4.6, abs=0.5)


def test_skewed_runs_have_the_deviation_they_are_given_and_some_that_are_much_worse():
    import numpy as np

    world = World(items=4000, seeds=4, deviation=5.0, skewed=True)
    means = 100 * world.draw(np.random.default_rng(0), 200)[0].mean(axis=2)
    assert means.mean() == pytest.approx(75, abs=1)
    assert means.std(ddof=1) == pytest.approx(5, abs=0.7)
    assert 75 - means.min() > 1.5 * (means.max() - 75)


def test_the_command_prints_its_tables(capsys):
    main(["--comparisons", "4"])
    text = capsys.readouterr().out
    assert all(f"False: {name}" in text for name in TESTS)
    assert "Coverage" in text and text.count("skewed, 5 and 0") >= 6

"""The rate of verdicts between equal methods, and the simulation that measures it."""

import pytest

from tests.report.statistics.simulate import World, called, crossed, main


@pytest.mark.parametrize("interaction", [0.0, 1.0])
@pytest.mark.parametrize("deviation", [0.0, 2.0, 5.0])
def test_equal_methods_are_rarely_called_better_or_worse(deviation, interaction):
    world = World(items=150, deviation=deviation, interaction=interaction)
    rates = called(world, 1000)
    assert rates["crossed"] <= 6.5
    # A test that ignores variation between runs fails on the same draws.
    assert deviation == 0 or rates["items"] > 8


@pytest.mark.slow
@pytest.mark.parametrize("items", [150, 600])
@pytest.mark.parametrize("interaction", [0.0, 1.0])
@pytest.mark.parametrize("deviation", [0.0, 2.0, 5.0])
def test_the_level_is_held_to_a_tenth(deviation, interaction, items):
    world = World(items=items, deviation=deviation, interaction=interaction)
    assert called(world, 10_000, seed=1, tests={"crossed": crossed})["crossed"] <= 5.5


def test_it_finds_more_than_a_test_that_always_pairs_runs():
    rates = called(World(items=300, difference=5.0), 500)
    assert rates["crossed"] > rates["paired"] + 4


def test_a_world_has_the_accuracy_and_the_deviation_it_is_given():
    import numpy as np

    world = World(items=4000, seeds=4, deviation=5.0, other=0.0, difference=3.0, accuracy=70.0)
    ours, theirs = world.draw(np.random.default_rng(0), 100)
    assert 100 * ours.mean() == pytest.approx(73, abs=1)
    assert 100 * theirs.mean() == pytest.approx(70, abs=0.5)
    assert 100 * ours.mean(axis=2).std(axis=1, ddof=1).mean() == pytest.approx(4.6, abs=0.5)


def test_the_command_prints_its_tables(capsys):
    main(["--comparisons", "10"])
    text = capsys.readouterr().out
    assert "No true difference" in text and "600 items, runs 5, method x item" in text
    assert "Intervals that contain the true accuracy" in text

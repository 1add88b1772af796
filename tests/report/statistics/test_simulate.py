"""The tables' verdicts where there is no difference, and the command that measures them."""

import pytest

from bench.report.statistics.candidates import chosen, items_alone, runs_paired
from bench.report.statistics.simulate import called, main
from bench.report.statistics.world import World

TESTS = {"chosen": chosen, "items": items_alone, "paired": runs_paired}


@pytest.mark.parametrize("interaction", [0.0, 1.0])
@pytest.mark.parametrize("deviation", [0.0, 2.0, 5.0])
def test_equal_methods_are_seldom_called_better_or_worse(deviation, interaction):
    world = World(items=150, deviation=deviation, interaction=interaction)
    rates = called(world, 1000, tests=TESTS)
    assert rates["chosen"] <= 6.5
    # The draws can tell: a test that forgets the runs fails on the same ones.
    assert deviation == 0 or rates["items"] > 8


@pytest.mark.slow
@pytest.mark.parametrize("items", [150, 600])
@pytest.mark.parametrize("interaction", [0.0, 1.0])
@pytest.mark.parametrize("deviation", [0.0, 2.0, 5.0])
def test_the_level_is_held_to_a_tenth(deviation, interaction, items):
    world = World(items=items, deviation=deviation, interaction=interaction)
    assert called(world, 10_000, seed=1, tests={"chosen": chosen})["chosen"] <= 5.5


def test_it_finds_more_than_a_test_that_pairs_runs_with_nothing_in_common():
    rates = called(World(items=300, difference=5.0), 500, tests=TESTS)
    assert rates["chosen"] > rates["paired"] + 4


def test_a_world_has_the_accuracy_and_the_deviation_that_it_is_asked_for():
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
    assert "Intervals of a cell" in text


def test_too_few_comparisons_are_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--comparisons", "1"])
    assert ended.value.code == 2
    assert "give 5 or more" in capsys.readouterr().err

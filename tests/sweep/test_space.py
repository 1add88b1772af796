"""What a search chooses from, and what it may optimise."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from bench.errors import InputError
from bench.sweep.objectives import read_objectives
from bench.sweep.space import make_sampler, read_space


def space(*overrides, grid=False):
    return read_space(OverridesParser.create().parse_overrides(list(overrides)), grid)


def test_the_words_of_hydra_become_distributions():
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    found = space(
        "method=hyplora",
        "curvature=0.1,0.5",
        "train.lr=tag(log,interval(1e-4,1e-1))",
        "method.r=range(4,17,4)",
        "train.batch_size=int(interval(8,32))",
    )
    assert found.fixed == ["method=hyplora"]
    assert found.distributions == {
        "curvature": CategoricalDistribution(["0.1", "0.5"]),
        "train.lr": FloatDistribution(1e-4, 1e-1, log=True),
        "method.r": IntDistribution(4, 16, step=4),
        "train.batch_size": IntDistribution(8, 32),
    }


def test_a_grid_has_every_combination_once():
    found = space("curvature=0.1,0.5,0.5", "seed=range(2)", grid=True)
    assert found.points() == [
        {"curvature": curvature, "seed": seed} for curvature in ("0.1", "0.5") for seed in "01"
    ]


@pytest.mark.parametrize("grid", [True, False])
def test_a_word_stands_among_numbers(grid):
    """As `auto` does for a curvature."""
    found = space("method=hyplora", "curvature=0.5,auto", grid=grid)
    assert found.values == {"curvature": ["0.5", "auto"]}
    assert found.overrides({"curvature": "auto"}) == ["method=hyplora", "curvature=auto"]


def test_a_trial_becomes_overrides_that_hydra_reads_back():
    found = space("method=lora", "method.target_modules=[q_proj,v_proj],[down_proj]", grid=True)
    overrides = found.overrides(found.points()[0])
    assert overrides == ["method=lora", "method.target_modules=[q_proj,v_proj]"]
    assert OverridesParser.create().parse_overrides(overrides)[1].value() == ["q_proj", "v_proj"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=lora"], "search space is empty"),
        (["train.lr=interval(1,0.1)"], "not a range to search"),
        (["train.lr=tag(log,interval(0,1))"], "not a range to search"),
        (["seed=range(3,3)"], "not a range to search"),
    ],
)
def test_a_space_that_is_empty_is_refused(overrides, message):
    with pytest.raises(InputError, match=message):
        space(*overrides)


def test_a_grid_over_an_interval_is_refused():
    with pytest.raises(InputError, match=r"is an interval: write train\.lr=choice"):
        space("train.lr=interval(0.1,1)", grid=True).points()


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ("tppe", "Did you mean tpe"),
        ({"_target_": "os.system"}, "unknown sampler"),
        ({"_target_": "optuna.samplers.TPESampler", "sed": 1}, "sed"),
    ],
)
def test_a_sampler_that_there_is_not_is_refused(sampler, message):
    with pytest.raises(InputError, match=message):
        make_sampler(sampler)


@pytest.mark.parametrize("name", ["accuracy", "accuracy/SVAMP", "mawps", "test_loss"])
def test_a_test_score_is_no_objective(name):
    with pytest.raises(InputError, match="never on a test set"):
        read_objectives(name, None)


def test_objectives_have_a_direction_by_nature():
    found = read_objectives(["validation_accuracy", "latency"], None)
    assert [objective.direction for objective in found] == ["maximize", "minimize"]
    (given,) = read_objectives("latency", "maximize")
    assert given.direction == "maximize"


@pytest.mark.parametrize(
    ("names", "directions", "message"),
    [
        ("validation_los", None, "Did you mean validation_loss"),
        ("latency", "down", "unknown direction 'down'"),
        (["latency", "validation_loss"], "minimize", "2 objectives need as many"),
        ([], None, "is empty"),
    ],
)
def test_objectives_that_do_not_add_up_are_refused(names, directions, message):
    with pytest.raises(InputError, match=message):
        read_objectives(names, directions)

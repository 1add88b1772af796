import pytest
import torch

from bench.training.optimizer import adamw, learning_rate_factor


@pytest.fixture
def parameters():
    sizes = {"A.weight": (3, 2), "hyplora_K.default": (1,), "hyplora_s.default": (1,)}
    found = {name: torch.nn.Parameter(torch.ones(size)) for name, size in sizes.items()}
    found["frozen.weight"] = torch.nn.Parameter(torch.ones(2, 2), requires_grad=False)
    return found


def by_name(optimizer, parameters):
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    found = {name: groups.get(id(p)) for name, p in parameters.items()}
    return {name: group and (group["lr"], group["weight_decay"]) for name, group in found.items()}


def test_only_matrices_decay_and_frozen_parameters_are_left_out(parameters):
    assert by_name(adamw(parameters.items(), 0.1, 0.5), parameters) == {
        "A.weight": (0.1, 0.5),
        "hyplora_K.default": (0.1, 0.0),
        "hyplora_s.default": (0.1, 0.0),
        "frozen.weight": None,
    }


def test_a_schedule_keeps_the_factor_of_the_parameters_that_it_names(parameters):
    optimizer = adamw(parameters.items(), 0.1, 0.0, {"hyplora_K": 0.01})
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    found = by_name(optimizer, parameters)
    assert found["hyplora_K.default"][0] == pytest.approx(0.0005)
    assert found["hyplora_s.default"][0] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("step", "decay", "flat", "expected"),
    [
        (0, "linear", 0.0, 0.1),
        (9, "linear", 0.0, 1.0),
        (55, "linear", 0.0, 0.5),
        (55, "constant", 0.0, 1.0),
        (40, "cosine", 0.5, 1.0),
        (75, "cosine", 0.5, 0.5),
        (100, "cosine", 0.5, 0.0),
    ],
)
def test_the_learning_rate_rises_stays_and_falls(step, decay, flat, expected):
    assert learning_rate_factor(step, 100, 10, decay, flat) == pytest.approx(expected)

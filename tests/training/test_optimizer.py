import pytest
import torch

from bench.training.optimizer import adamw, learning_rate_factor


def parameters():
    sizes = {"A.weight": (3, 2), "hyplora_K.default": (1,), "hyplora_s.default": (1,)}
    found = {name: torch.nn.Parameter(torch.ones(size)) for name, size in sizes.items()}
    found["frozen.weight"] = torch.nn.Parameter(torch.ones(2, 2), requires_grad=False)
    return found


def settings(optimizer, parameter):
    for group in optimizer.param_groups:
        if any(member is parameter for member in group["params"]):
            return group["lr"], group["weight_decay"]
    return None


def test_only_matrices_decay_and_frozen_parameters_are_left_out():
    found = parameters()
    optimizer = adamw(found.items(), 0.1, 0.5)
    assert settings(optimizer, found["A.weight"]) == (0.1, 0.5)
    assert settings(optimizer, found["hyplora_s.default"]) == (0.1, 0.0)
    assert settings(optimizer, found["frozen.weight"]) is None


def test_a_factor_is_for_the_parameters_it_names():
    found = parameters()
    optimizer = adamw(found.items(), 0.1, 0.0, {"hyplora_K": 0.01})
    assert settings(optimizer, found["hyplora_K.default"])[0] == pytest.approx(0.001)
    assert settings(optimizer, found["hyplora_s.default"])[0] == 0.1


def test_a_schedule_keeps_the_factor():
    found = parameters()
    optimizer = adamw(found.items(), 0.1, 0.0, {"hyplora_K": 0.01})
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    assert settings(optimizer, found["hyplora_K.default"])[0] == pytest.approx(0.0005)


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

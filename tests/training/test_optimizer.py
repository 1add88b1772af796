import pytest
import torch

from bench.training.optimizer import adamw, learning_rate_factor, schedule


def test_only_matrices_decay_and_a_schedule_keeps_the_factors_of_named_parameters():
    sizes = {"A.weight": (3, 2), "hyplora_K.default": (1,), "hyplora_s.default": (1,)}
    parameters = {name: torch.nn.Parameter(torch.ones(size)) for name, size in sizes.items()}
    frozen = torch.nn.Parameter(torch.ones(2, 2), requires_grad=False)
    named = [*parameters.items(), ("frozen.weight", frozen)]
    optimizer = adamw(named, 0.1, 0.5, {"hyplora_K": 0.01})
    halved = schedule(optimizer, 2, 0, "linear")
    optimizer.step()
    halved.step()
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert id(frozen) not in groups
    found = [groups[id(p)] for p in parameters.values()]
    assert [group["weight_decay"] for group in found] == [0.5, 0.0, 0.0]
    assert [group["lr"] for group in found] == pytest.approx([0.05, 0.0005, 0.05])


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

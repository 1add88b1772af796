import math

import pytest

from bench.tracking.record import gates_by_module, metrics
from tests.report.many_runs import run_of


def layer(number, module, **values):
    facts = {"mean": 0.1, "median": 0.1, "variation": 0.0, "largest": 0.2, "clamped": 0.0}
    return {"layer": f"model.layers.{number}.mlp.{module}", "module": module, **facts, **values}


GATES = [
    layer(0, "q_proj"),
    layer(0, "down_proj", mean=0.2, largest=3.0, clamped=0.5),
    layer(1, "q_proj"),
    layer(1, "down_proj", mean=0.4, largest=1.0),
]
LEARNED = [one | {"curvature": 1.5} for one in GATES]


def test_layers_of_one_type_are_averaged_and_the_largest_gate_is_the_largest():
    found = gates_by_module(GATES)
    assert list(found) == ["q_proj", "down_proj"]
    assert found["down_proj"] == pytest.approx(
        {"mean": 0.3, "median": 0.1, "variation": 0.0, "largest": 3.0, "clamped": 0.25}
    )


def test_curvatures_are_averaged_if_the_variant_has_them():
    known = [layer(0, "q_proj", curvature=2.0), layer(1, "q_proj", curvature=3.0)]
    assert gates_by_module(known)["q_proj"]["curvature"] == 2.5
    for unknown in (GATES, [layer(0, "q_proj", curvature=None)]):
        assert "curvature" not in gates_by_module(unknown)["q_proj"]


def test_gates_are_metrics_of_the_start_and_the_end():
    training = {"gates": {"start": GATES, "end": LEARNED}, "steps": 40}
    found = {(name, step): value for name, value, step in metrics(run_of(training=training))}
    assert found["gate_largest/down_proj", 0] == found["gate_largest/down_proj", 40] == 3.0
    assert math.isclose(found["gate_mean/down_proj", 40], 0.3)
    assert found["gate_curvature/q_proj", 40] == 1.5 and ("gate_curvature/q_proj", 0) not in found

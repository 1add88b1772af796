import dataclasses
import random

import pytest
from transformers import AutoModelForCausalLM

from bench.data.batches import IGNORED, Example
from bench.efficiency.throughput import OURS, THEIRS, measure_throughput


@pytest.fixture
def settings(compose):
    """The default settings with small batches; what the measurement fixes itself stays."""
    return dataclasses.replace(compose().train, lr=1e-2, batch_size=4, micro_batch_size=2)


def examples(count):
    draw = random.Random(0)
    rows = []
    for _ in range(count):
        ids = [draw.randrange(3, 200) for _ in range(draw.randrange(6, 20))]
        rows.append(Example(ids, [IGNORED] * 3 + ids[3:]))
    return rows


@pytest.fixture
def found(local_base, settings):
    base = AutoModelForCausalLM.from_pretrained(local_base)
    return measure_throughput(base, examples(22), settings, pad_id=0, rounds=1)


def test_both_loops_take_the_same_steps_to_the_same_losses(found):
    assert found["steps"] == 6 and found["rows"] == 22
    assert found["loss_difference"] < 1e-5


def test_the_ratio_is_to_the_trainer(found):
    ours, theirs = found["loops"][OURS], found["loops"][THEIRS]
    assert theirs["ratio"] == 1.0
    assert ours["ratio"] == pytest.approx(ours["tokens_per_second"] / theirs["tokens_per_second"])
    assert 0 < ours["utilisation"] < 1


def test_the_base_is_left_as_it_was(local_base, settings):
    base = AutoModelForCausalLM.from_pretrained(local_base)
    names = [name for name, _ in base.named_parameters()]
    one = dataclasses.replace(settings, batch_size=8)
    measure_throughput(base, examples(8), one, pad_id=0, rounds=1)
    assert [name for name, _ in base.named_parameters()] == names
    assert all(parameter.requires_grad for parameter in base.parameters())

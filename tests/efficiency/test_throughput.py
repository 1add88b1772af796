import dataclasses
import random

import pytest
from transformers import AutoModelForCausalLM

from bench.data.batches import IGNORED, Example
from bench.efficiency.throughput import OURS, THEIRS, measure_throughput


def test_both_loops_take_the_same_steps_to_the_same_losses(local_base, compose):
    settings = dataclasses.replace(compose().train, lr=1e-2, batch_size=4, micro_batch_size=2)
    draw, examples = random.Random(0), []
    for _ in range(22):
        ids = [draw.randrange(3, 200) for _ in range(draw.randrange(6, 20))]
        examples.append(Example(ids, [IGNORED] * 3 + ids[3:]))
    base = AutoModelForCausalLM.from_pretrained(local_base)
    names = [name for name, _ in base.named_parameters()]
    found = measure_throughput(base, examples, settings, pad_id=0, rounds=1)
    assert found["steps"] == 6 and found["rows"] == 22 and found["loss_difference"] < 1e-5
    ours, theirs = found["loops"][OURS], found["loops"][THEIRS]
    assert theirs["ratio"] == 1.0 and 0 < ours["utilisation"] < 1
    assert ours["ratio"] == pytest.approx(ours["tokens_per_second"] / theirs["tokens_per_second"])
    # The base is not changed.
    assert [name for name, _ in base.named_parameters()] == names
    assert all(parameter.requires_grad for parameter in base.parameters())

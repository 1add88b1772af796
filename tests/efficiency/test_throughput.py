import dataclasses
import random

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from bench.data.batches import IGNORED, Example
from bench.efficiency import action
from bench.efficiency.cases import CASES, Case
from bench.efficiency.throughput import OURS, THEIRS, measure_case, measure_throughput
from bench.errors import Failure, InputError
from tests.helpers import composed


def test_both_loops_take_the_same_steps_to_the_same_losses(local_base, compose):
    settings = dataclasses.replace(compose().train, lr=1e-2, batch_size=4, micro_batch_size=2)
    draw, examples = random.Random(0), []
    for _ in range(10):
        ids = [draw.randrange(3, 200) for _ in range(draw.randrange(6, 20))]
        examples.append(Example(ids, [IGNORED] * 3 + ids[3:]))
    base = AutoModelForCausalLM.from_pretrained(local_base)
    names = [name for name, _ in base.named_parameters()]
    found = measure_throughput(base, examples, settings, pad_id=0, rounds=1)
    assert found["steps"] == 3 and found["rows"] == 10 and found["loss_difference"] < 1e-5
    ours, theirs = found["loops"][OURS], found["loops"][THEIRS]
    assert theirs["ratio"] == 1.0 and 0 < ours["utilisation"] < 1
    assert ours["ratio"] == pytest.approx(ours["tokens_per_second"] / theirs["tokens_per_second"])
    # The base is not changed.
    assert [name for name, _ in base.named_parameters()] == names
    assert all(parameter.requires_grad for parameter in base.parameters())


def test_a_case_is_trained_on_random_rows_in_a_bounded_time(compose):
    widths = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    widths |= {"num_key_value_heads": 2, "num_hidden_layers": 1, "vocab_size": 64}
    case = Case("small", config=widths, vocabulary=64)
    settings = dataclasses.replace(compose().train, batch_size=2, micro_batch_size=2, devices=2)
    settings = dataclasses.replace(settings, sharded=True, keep="best", validate_every=80)
    found = measure_case(case, settings, rounds=1, seconds=0.0)
    assert (found["model"], found["steps"], found["rows"]) == ("small", 2, 4)
    assert 4 * 64 <= found["tokens"] <= 4 * 256 and found["loss_difference"] < 1e-4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.lr=-1", r"train\.lr"),
        ("action.throughput_cases=[layer]", "'layer'.* Known: block, llama-135m, llama3-8b"),
        ("action.hyperbolicity_prompts=-1", "hyperbolicity_prompts must be at least 0"),
        ("data=math10k data.root=/nowhere", "data.root=/nowhere: no such folder"),
        ("tracking.uri=sqlite:////nowhere/x.db", "tracking"),
    ],
)
def test_bad_settings_are_refused_before_the_measurement(override, message, monkeypatch):
    monkeypatch.setattr(action, "measure", lambda _: pytest.fail("measured first"))
    with pytest.raises((InputError, Failure), match=message):
        action.efficiency(composed("action=efficiency", *override.split()))


def test_the_135m_case_has_135_million_parameters():
    with torch.device("meta"):
        config = LlamaConfig(**CASES["llama-135m"].config)
        model = AutoModelForCausalLM.from_config(config)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == 135
    assert config.head_dim == 64

import json
from dataclasses import replace

import pytest
import torch

from bench.data.problems import DataSettings
from bench.data.prompts import evaluation_text
from bench.data.sources import load_problems
from bench.efficiency.evaluation import (
    PUBLISHED,
    SAME,
    compared_protocols,
    fine_tuned,
    measure_evaluation,
)
from bench.errors import InputError
from bench.models.loading import context_length
from bench.tracking.record import efficiency_metrics

SETS = ["mawps", "AQuA"]
NEW_TOKENS = 4


@pytest.fixture(scope="module")
def problems():
    return load_problems(DataSettings("synthetic", SETS, SETS, train_size=4, test_size=4), True)


@pytest.fixture(scope="module")
def found(tiny, problems):
    """Of the embedded base on 4 problems, two of each set."""
    protocols = compared_protocols(NEW_TOKENS)
    made = measure_evaluation(*tiny, problems.tests, protocols, 4, 64, context_length(tiny[0]))
    return json.loads(json.dumps(made))


def test_ours_answers_as_the_published_loop_does(found):
    assert found["same_predictions"] == found["same_texts"] == found["problems"] == 4
    assert found["differing"] == []
    assert found["loops"][PUBLISHED]["tokens"] == found["loops"][SAME]["tokens"] > 0
    assert found["sets"] == {"mawps": 2, "AQuA": 2}
    assert found["chunk"] == found["batch_size"] == 2


def test_speeds_are_relative_to_the_published_loop_and_stored(found):
    assert list(found["loops"]) == [PUBLISHED, "llm_adapters", "fast"]
    assert found["loops"][PUBLISHED]["ratio"] == 1.0
    for loop in found["loops"].values():
        assert 0 < loop["ratio_low"] <= loop["ratio"] <= loop["ratio_high"]
        assert loop["problems_per_second"] > 0 and 0 <= loop["at_limit"] <= 4
    metrics = efficiency_metrics({"cases": [], "evaluation": found})
    assert metrics["ratio/evaluation/llm_adapters"] == found["loops"][SAME]["ratio"]
    assert metrics["same_predictions/evaluation"] == 4


def test_predictions_that_differ_are_listed_with_both_texts(tiny, problems):
    # Another prompt under the protocol's name imitates a fault in ours.
    protocols = compared_protocols(NEW_TOKENS)
    protocols = {SAME: replace(protocols[SAME], evaluation_prompt="{instruction} So 1000+")}
    tests = {"mawps": problems.tests["mawps"]}
    found = measure_evaluation(*tiny, tests, protocols, 2, 2, 1024)
    assert found["problems"] == 2 and found["same_predictions"] == 2 - len(found["differing"]) < 2
    one = found["differing"][0]
    assert one["published"] != one["ours"] and one["task"] == "mawps"


def test_problems_that_do_not_fit_are_left_out_and_counted(tiny, problems):
    protocols = compared_protocols(1)
    texts = [evaluation_text(p, protocols[SAME]) for p in problems.tests["mawps"]]
    length = max(map(len, tiny[1](texts)["input_ids"]))
    tests = {key: problems.tests[key] for key in ("mawps", "AQuA")}
    found = measure_evaluation(*tiny, tests, protocols, 4, 2, context=length + 1)
    assert found["asked"] == 4 and found["sets"] == {"mawps": 2}


def test_without_a_problem_it_says_why(tiny, problems):
    protocols = compared_protocols(8)
    with pytest.raises(InputError, match="fits the base's context of 20 tokens"):
        measure_evaluation(*tiny, problems.tests, protocols, 4, 2, context=20)
    # Choices have another published loop.
    choice = replace(problems.tests["mawps"][0], task="boolq", answer="true")
    with pytest.raises(InputError, match="no test row has a number or a letter"):
        measure_evaluation(*tiny, {"boolq": [choice]}, protocols, 4, 2, 1024)


def test_one_adapter_is_trained_on_both_prompts(fresh_tiny, problems, compose):
    base, tokenizer = fresh_tiny
    before = {name: p.detach().clone() for name, p in base.named_parameters()}
    settings = replace(compose().train, batch_size=6)
    rows = problems.train[:3]
    model = fine_tuned(base, tokenizer, rows, compared_protocols(8), settings, epochs=1.0)
    assert not model.training
    assert any(p.any() for n, p in model.named_parameters() if "lora_B" in n)
    weights = dict(model.base_model.model.named_parameters())
    for name, value in before.items():
        own = weights.get(name, weights.get(name.replace(".weight", ".base_layer.weight")))
        assert torch.equal(own, value)

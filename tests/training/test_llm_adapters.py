"""Adapters in the format of LLM-Adapters' fork of peft."""

import copy
import json

import pytest
import torch

from bench.errors import InputError
from bench.methods import attach
from bench.training.adapters import load_adapter, saved_options

TARGETS = {"series": ["up_proj", "down_proj"], "parallel": ["up_proj"]}


def foreign(model, folder, parallel, **changes):
    """Save a model's adapter as that fork does."""
    config = model.peft_config["default"]
    saved = {
        "adapter_dropout": 0.0, "base_model_name_or_path": "yahma/llama-7b-hf", "bias": "none",
        "bottleneck_size": config.bottleneck_size, "inference_mode": True,
        "init_weights": "bert", "modules_to_save": None, "non_linearity": "relu",
        "peft_type": "BOTTLENECK", "scaling": 2.0, "target_modules": sorted(config.target_modules),
        "task_type": "CAUSAL_LM", "use_parallel_adapter": parallel,
    }  # fmt: skip
    weights = {
        name.replace("bottleneck_", "adapter_").replace(".default", ""): weight
        for name, weight in model.state_dict().items()
        if "bottleneck_" in name
    }
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(saved | changes))
    torch.save(weights, folder / "adapter_model.bin")


@pytest.mark.parametrize("placement", ["series", "parallel"])
def test_an_adapter_of_the_fork_computes_the_same_here(fresh_tiny, tmp_path, placement):
    base, tokenizer = fresh_tiny
    options = {
        "placement": placement, "bottleneck_size": 4, "target_modules": TARGETS[placement],
        "non_linearity": "relu", "scaling": 2.0,
    }  # fmt: skip
    model = attach(copy.deepcopy(base), "bottleneck", options).eval()
    foreign(model, tmp_path / "adapter", placement == "parallel")
    # The options of a run are those that it was trained with.
    given = options | {"bottleneck_size": 8, "non_linearity": "tanh", "scaling": 1.0}
    found = saved_options(tmp_path / "adapter", "bottleneck", given)
    assert found | {"target_modules": TARGETS[placement]} == options
    other = {"series": "parallel", "parallel": "series"}[placement]
    with pytest.raises(InputError, match=f"its placement is {placement}, but the given method has"):
        saved_options(tmp_path / "adapter", "bottleneck", options | {"placement": other})
    ids = torch.tensor([tokenizer("Mary has 7 books.")["input_ids"]])
    with torch.no_grad():
        expected = model(ids).logits
        loaded = load_adapter(base, tmp_path / "adapter")(ids).logits
    assert torch.equal(loaded, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scaling": "learned"}, "scaling='learned'.*only scaling=a number can be loaded"),
        ({"bias": "all"}, "bias='all'.*only bias=none"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save=.*only modules_to_save=None"),
    ],
)
def test_what_the_adapters_here_lack_is_refused(fresh_tiny, tmp_path, changes, message):
    base, _ = fresh_tiny
    options = {"placement": "series", "bottleneck_size": 4, "target_modules": ["up_proj"]}
    foreign(attach(base, "bottleneck", options), tmp_path / "adapter", False, **changes)
    with pytest.raises(InputError, match=f"an adapter of LLM-Adapters with {message}"):
        saved_options(tmp_path / "adapter", "bottleneck", options)

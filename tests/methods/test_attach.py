import pytest
import torch
from transformers import AutoModelForCausalLM

from bench.methods import attach, count_parameters, peft_config
from bench.models.loading import context_length

TARGETS = {"target_modules": ["q_proj", "down_proj"]}


@pytest.fixture
def base(local_base):
    return AutoModelForCausalLM.from_pretrained(local_base)


def test_the_base_as_it_is_has_nothing_to_train(base):
    assert attach(base, "none", {}) is base
    assert count_parameters(base)["trainable"] == 0


def test_a_rank_larger_than_a_layer_is_refused_with_the_layer(base):
    with pytest.raises(ValueError, match=r"r=33 .*q_proj: at most 32"):
        attach(base, "lora", {"r": 33, **TARGETS})


@pytest.mark.parametrize("module", ["lora", "hyplora", "bottleneck"])
def test_targets_that_match_no_layer_are_refused(base, module):
    options = {"target_modules": ["nothing"]}
    with pytest.raises(ValueError, match="nothing"):
        attach(base, module, options | ({"placement": "series"} if module == "bottleneck" else {}))


@pytest.mark.parametrize(
    ("module", "option"),
    [("lora", "rank_pattern"), ("lora", "alpha_pattern"), ("hyplora", "curvature_pattern")],
)
def test_a_pattern_that_matches_no_adapted_layer_is_refused(base, module, option):
    options = {"r": 4, **TARGETS, option: {"layers.0.*q_proj": 2, "v_proj": 2}}
    with pytest.raises(ValueError, match=f"{option} has v_proj.* layers: down_proj, q_proj"):
        attach(base, module, options)


@pytest.mark.parametrize("names", [(".*proj", "q_proj"), ("q_proj", ".*proj")])
def test_a_layer_with_two_values_is_refused_whatever_their_order(base, names):
    options = {"r": 4, **TARGETS, "rank_pattern": dict(zip(names, (2, 8), strict=True))}
    with pytest.raises(ValueError, match=r"rank_pattern has several values for .*q_proj"):
        attach(base, "lora", options)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"exclude_modules": ["qproj"]}, "exclude_modules has qproj, but this base has no such"),
        ({"modules_to_save": ["lmhead"]}, "modules_to_save has lmhead, but this base has no such"),
        ({"layers_to_transform": [0, 99]}, "layers_to_transform has 99; this base has 2 layers"),
        ({"target_modules": "q_proj"}, r"write method\.target_modules=\[q_proj\]"),
        ({"lora_alpha": 0}, "lora_alpha must be a positive finite number, got 0"),
        ({"lora_alpha": "abc"}, "lora_alpha must be a positive finite number, got 'abc'"),
        ({"rank_pattern": {"q_proj": 2.5}}, r"rank_pattern\['q_proj'\] must be a whole number"),
        ({"rank_pattern": ["q_proj"]}, "rank_pattern must map layers to numbers"),
        ({"alpha_pattern": {"q_proj": 0}}, r"alpha_pattern\['q_proj'\] must be a positive"),
    ],
)
def test_what_peft_would_ignore_or_accept_is_refused(base, option, message):
    with pytest.raises(ValueError, match=message):
        attach(base, "lora", {"r": 4, **TARGETS, **option})


def test_a_prefix_without_tokens_is_refused(base):
    with pytest.raises(ValueError, match="num_virtual_tokens must be a whole number of at least 1"):
        attach(base, "prefix", {"num_virtual_tokens": 0})


def test_virtual_tokens_take_up_a_part_of_the_context(base):
    context = context_length(base)
    assert context_length(attach(base, "prefix", {"num_virtual_tokens": 5})) == context - 5


def test_an_unknown_module_is_refused():
    with pytest.raises(ValueError, match="no module 'nope'"):
        peft_config("nope", {})


def test_parameters_are_counted_with_the_adapter(base):
    before = count_parameters(base)["total"]
    counted = count_parameters(attach(base, "lora", {"r": 2, **TARGETS}))
    # Two layers: q_proj 32 -> 32 and down_proj 64 -> 32.
    assert counted["trainable"] == 2 * (2 * (32 + 32) + 2 * (64 + 32))
    assert counted["total"] == before + counted["trainable"]


def test_packed_weights_of_4_bits_are_counted_one_by_one():
    class Params4bit(torch.nn.Parameter):
        pass

    packed = Params4bit(torch.zeros(8, 1, dtype=torch.uint8), requires_grad=False)
    assert count_parameters(torch.nn.ParameterList([packed])) == {"trainable": 0, "total": 16}

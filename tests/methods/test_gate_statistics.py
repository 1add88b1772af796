"""What is measured of gates, and the control that is scaled by it."""

from __future__ import annotations

import copy
import math

import peft
import pytest
import torch

from bench.methods import HypLoraConfig, attach, gate_statistics
from bench.methods.hyplora import HypLoraLinear

TARGETS = ["q_proj", "down_proj"]
OPTIONS = {"r": 4, "lora_alpha": 12, "target_modules": TARGETS, "curvature": 0.5}
PROMPTS = [[1, 5, 6, 7], [1, 8, 9], [1, 300, 301, 302, 303]]


@pytest.fixture
def base(tiny):
    return copy.deepcopy(tiny[0])


def inputs_of(model, layer):
    """What a layer is given for the prompts, one token per row."""
    seen = []
    hook = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0][0]))
    with torch.no_grad():
        for prompt in PROMPTS:
            model(input_ids=torch.tensor([prompt]))
    hook.remove()
    return torch.cat(seen)


def test_the_statistics_are_of_the_gates_of_all_tokens(base):
    model = peft.get_peft_model(base, HypLoraConfig(**OPTIONS)).eval()
    found = {gates.layer: gates for gates in gate_statistics(model, PROMPTS)}
    assert len(found) == 8
    for name, layer in model.base_model.model.named_modules():
        if isinstance(layer, HypLoraLinear):
            x = inputs_of(model, layer)
            gates = layer.gate("default", x)
            one = found[name]
            assert one.tokens == 12 and one.module in TARGETS
            assert one.mean == pytest.approx(gates.mean().item(), rel=1e-5)
            assert one.largest == pytest.approx(gates.max().item(), rel=1e-5)
            assert one.median == pytest.approx(gates.median().item(), rel=1e-5)
            spread = gates.std(correction=0) / gates.mean()
            assert one.variation == pytest.approx(spread.item(), rel=1e-4, abs=1e-8)


def test_a_constant_gate_has_no_variation(base):
    config = HypLoraConfig(variant="tangent", r=4, target_modules=TARGETS)
    model = peft.get_peft_model(base, config)
    for gates in gate_statistics(model, PROMPTS):
        width = 192 if gates.module == "q_proj" else 512
        assert gates.variation == pytest.approx(0.0, abs=1e-6)
        assert gates.mean == gates.largest == pytest.approx(1 / math.sqrt(width), rel=1e-6)
        assert gates.clamped == 0.0


def test_the_share_of_clamped_tokens_is_counted(base):
    x = torch.ones(4, 192) * torch.tensor([0.1, 1.0, 10.0, 100.0])[:, None]
    config = HypLoraConfig(r=4, target_modules=TARGETS, curvature=1.0, max_radius=5.0)
    layer = next(
        m for m in peft.get_peft_model(base, config).modules() if isinstance(m, HypLoraLinear)
    )
    assert layer.clamped("default", x).tolist() == [False, False, True, True]


def test_measuring_leaves_a_model_as_it_was(base):
    model = peft.get_peft_model(base, HypLoraConfig(**OPTIONS)).train()
    before = copy.deepcopy(model.state_dict())
    gate_statistics(model, PROMPTS)
    assert model.training and not any(m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_without_gates_has_no_statistics(base):
    assert gate_statistics(peft.get_peft_model(base, peft.LoraConfig(r=4)), PROMPTS) == []


def matched(base, **changes):
    return attach(base, "lora_matched", {**OPTIONS, **changes}, PROMPTS)


def test_lora_matched_has_alpha_times_the_mean_gate_in_each_layer(base):
    start = attach(copy.deepcopy(base), "hyplora", {**OPTIONS, "variant": "rotation"})
    gates = {one.layer: one.mean for one in gate_statistics(start, PROMPTS)}
    layers = dict(matched(base).base_model.model.named_modules())
    for name, mean in gates.items():
        assert layers[name].scaling["default"] == pytest.approx(12 * mean / 4, rel=1e-6)


def test_another_curvature_is_another_scale(base):
    scalings = []
    for curvature in (0.1, 2.0):
        model = matched(copy.deepcopy(base), curvature=curvature)
        q_proj = model.base_model.model.model.layers[0].self_attn.q_proj
        scalings.append(q_proj.scaling["default"])
    assert scalings[0] > 1.5 * scalings[1]


def test_lora_matched_starts_from_loras_random_numbers_and_from_the_base(base, tiny):
    starts = []
    for module in ("lora", "lora_matched"):
        torch.manual_seed(3)
        options = {k: v for k, v in OPTIONS.items() if module != "lora" or k != "curvature"}
        model = attach(copy.deepcopy(base), module, options, PROMPTS)
        starts.append([p for name, p in model.named_parameters() if "lora_A" in name])
    assert all(torch.equal(one, other) for one, other in zip(*starts, strict=True))
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        assert torch.equal(matched(base)(input_ids=ids).logits, tiny[0](input_ids=ids).logits)


def test_lora_matched_without_validation_rows_is_refused(base):
    with pytest.raises(ValueError, match=r"data\.validation must not be 0"):
        attach(base, "lora_matched", OPTIONS)


def test_a_saved_lora_matched_is_loaded_as_any_lora(base, tiny, tmp_path):
    model = matched(base).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.fill_(0.01)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(tiny[0]), tmp_path).eval()
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, loaded(input_ids=ids).logits)

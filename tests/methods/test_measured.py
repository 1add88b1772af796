"""A curvature for each layer: given by name, and measured on what the layer is given."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import peft
import pytest
import torch

from bench.methods import (
    HypLoraConfig,
    attach,
    gate_statistics,
    peft_config,
    unmeasured_config,
)
from bench.methods.hyplora.curvature import DeltaMeter, data_driven_curvature
from bench.methods.hyplora.layer import hyplora_layers

TARGETS = ["q_proj", "k_proj", "down_proj"]
OPTIONS = {"r": 4, "lora_alpha": 12, "target_modules": TARGETS, "curvature": "auto"}
PROMPTS = [[1, 5, 6, 7, 30, 31], [1, 8, 9, 40], [1, 300, 301, 302, 303, 50, 51], [1, 2, 3]]


@pytest.fixture
def base(tiny):
    return copy.deepcopy(tiny[0])


def curvatures(model):
    return {n: layer.curvature("default").item() for n, layer in hyplora_layers(model).items()}


def literal_delta(points):
    """2 delta / diameter at the first point, quadruple by quadruple."""
    points = points.double().numpy()
    d = np.linalg.norm(points[:, None] - points[None], axis=-1)
    g = (d[0][:, None] + d[0][None] - d) / 2
    n = range(len(d))
    return 2 * max(min(g[a, c], g[c, b]) - g[a, b] for a in n for b in n for c in n) / d.max()


def inputs_of(model, name):
    seen = []
    hook = model.get_submodule(name).register_forward_pre_hook(lambda _, x: seen.append(x[0][0]))
    with torch.no_grad():
        for prompt in PROMPTS:
            model(input_ids=torch.tensor([prompt]))
    hook.remove()
    return seen


# --- a pattern of curvatures ---


def test_a_layer_that_is_named_has_its_own_curvature(base):
    pattern = {"model.layers.1.mlp.down_proj": 0.25, r"self_attn\..*": 3.0}
    config = HypLoraConfig(r=4, target_modules=TARGETS, curvature=0.7, curvature_pattern=pattern)
    found = curvatures(peft.get_peft_model(base, config))
    assert len(found) == 12
    for name, curvature in found.items():
        named = 3.0 if "self_attn" in name else 0.25 if ".1." in name else 0.7
        assert curvature == pytest.approx(named, rel=1e-6)


@pytest.mark.parametrize("variant", ["rotation", "boost", "authors", "authors_simplified"])
def test_curvatures_of_layers_are_saved_and_come_back_bit_equal(base, tiny, tmp_path, variant):
    model = attach(base, "hyplora", {**OPTIONS, "variant": variant}, PROMPTS).eval()
    for layer in hyplora_layers(model).values():
        layer.hyplora_B["default"].weight.data.fill_(0.02)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(tiny[0]), tmp_path).eval()
    pattern = model.peft_config["default"].curvature_pattern
    assert len(pattern) == 12 and loaded.peft_config["default"].curvature_pattern == pattern
    assert (
        json.loads((tmp_path / "adapter_config.json").read_text())["curvature_pattern"] == pattern
    )
    assert curvatures(loaded) == curvatures(model)
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, loaded(input_ids=ids).logits)


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, "1", True])
def test_a_bad_curvature_of_a_layer_is_refused_by_name(bad):
    with pytest.raises(ValueError, match=r"curvature_pattern\['up'\] must be a positive finite"):
        HypLoraConfig(curvature_pattern={"up": bad})


def test_a_number_is_no_pattern():
    with pytest.raises(ValueError, match="curvature_pattern must give numbers by layer"):
        HypLoraConfig(curvature_pattern=5)


def test_the_raw_parameter_of_the_authors_may_be_negative_but_not_infinite():
    raw = {"variant": "authors", "curvature_pattern": {"up": -0.5}}
    assert HypLoraConfig(**raw).curvature_pattern == {"up": -0.5}
    with pytest.raises(ValueError, match=r"curvature_pattern\['up'\] must be a finite"):
        HypLoraConfig(variant="authors", curvature_pattern={"up": math.inf})


# --- from delta to K ---


def test_k_is_the_inverse_of_the_c_of_khrulkov_et_al():
    assert data_driven_curvature(0.144) == 1.0
    for delta in (0.05, 0.3, 1.0):
        assert 1 / data_driven_curvature(delta) == pytest.approx((0.144 / delta) ** 2)


def test_inputs_without_any_delta_have_the_least_curvature():
    """There the radius of a token of unit RMS is HypLoRA's clamp."""
    assert data_driven_curvature(0.0) == pytest.approx(1 / 12**2)
    assert data_driven_curvature(1e-9) == data_driven_curvature(0.0)


def test_a_meter_gives_the_mean_over_prompts_and_passes_over_short_ones():
    generator = torch.Generator().manual_seed(0)
    clouds = [torch.randn(1, n, 8, generator=generator) for n in (9, 3, 14)]
    meter = DeltaMeter()
    for cloud in clouds:
        meter.see("a", cloud)
        meter.see("b", cloud)  # shares its input
    expected = (literal_delta(clouds[0][0]) + literal_delta(clouds[2][0])) / 2
    assert meter.mean("a") == meter.mean("b") == pytest.approx(expected, rel=1e-5)
    assert meter.mean("never seen") is None


def test_a_meter_that_holds_many_measures_them_all(monkeypatch):
    monkeypatch.setattr("bench.methods.hyplora.curvature.WAITING", 100)
    generator = torch.Generator().manual_seed(0)
    clouds = [torch.randn(8, 5, generator=generator) for _ in range(7)]
    meter = DeltaMeter()
    for cloud in clouds:
        meter.see("a", cloud)
    expected = sum(map(literal_delta, clouds)) / 7
    assert meter.mean("a") == pytest.approx(expected, rel=1e-5)


# --- measured on a base ---


def test_auto_is_the_k_of_each_layers_inputs_through_the_untouched_base(base, tiny):
    found = curvatures(attach(base, "hyplora", OPTIONS, PROMPTS))
    assert len(found) == 12
    for name, curvature in found.items():
        deltas = [literal_delta(x) for x in inputs_of(tiny[0], name) if len(x) >= 4]
        assert len(deltas) == 3
        assert curvature == pytest.approx((sum(deltas) / 3 / 0.144) ** 2, rel=1e-4)


@pytest.mark.parametrize("variant", ["boost", "authors", "authors_simplified"])
def test_every_variant_starts_at_the_same_k(base, variant):
    expected = curvatures(attach(copy.deepcopy(base), "hyplora", OPTIONS, PROMPTS))
    found = curvatures(attach(base, "hyplora", {**OPTIONS, "variant": variant}, PROMPTS))
    assert found == pytest.approx(expected, rel=1e-5)


def test_layers_that_share_their_input_share_their_k(base):
    found = curvatures(attach(base, "hyplora", OPTIONS, PROMPTS))
    for block in range(4):
        name = f"model.layers.{block}.self_attn"
        assert found[f"{name}.q_proj"] == found[f"{name}.k_proj"]
        assert found[f"{name}.q_proj"] != found[f"model.layers.{block}.mlp.down_proj"]


def test_auto_can_be_where_a_learned_k_starts(base):
    options = {**OPTIONS, "learnable_curvature": True}
    expected = curvatures(attach(copy.deepcopy(base), "hyplora", OPTIONS, PROMPTS))
    model = attach(base, "hyplora", options, PROMPTS)
    assert curvatures(model) == expected
    assert all(layer.hyplora_K["default"].requires_grad for layer in hyplora_layers(model).values())


def test_what_is_given_by_hand_is_not_measured(base):
    options = {**OPTIONS, "curvature_pattern": {"down_proj": 5.0}}
    found = curvatures(attach(base, "hyplora", options, PROMPTS))
    down = {name: K for name, K in found.items() if "down_proj" in name}
    assert list(down.values()) == pytest.approx([5.0] * 4)
    assert all(K != 5.0 for name, K in found.items() if name not in down)


def test_measuring_uses_up_no_random_number_and_leaves_the_base_as_it_was(base, tiny):
    starts = []
    for curvature in (1.0, "auto"):
        torch.manual_seed(3)
        options = {**OPTIONS, "curvature": curvature}
        model = attach(copy.deepcopy(base), "hyplora", options, PROMPTS)
        starts.append(
            [layer.hyplora_A["default"].weight for layer in hyplora_layers(model).values()]
        )
    assert all(torch.equal(one, other) for one, other in zip(*starts, strict=True))
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, tiny[0](input_ids=ids).logits)


def test_one_token_again_and_again_is_no_space_and_gets_the_least_k(base):
    """Behind the embedding and a norm all tokens are then one point."""
    found = curvatures(attach(base, "hyplora", OPTIONS, [[7] * 6]))
    assert found["model.layers.0.self_attn.q_proj"] == pytest.approx(1 / 144, rel=1e-5)


def test_lora_matched_has_the_scale_of_hyplora_with_the_measured_curvatures(base):
    start = attach(copy.deepcopy(base), "hyplora", OPTIONS, PROMPTS)
    gates = {one.layer: one.mean for one in gate_statistics(start, PROMPTS)}
    layers = dict(attach(base, "lora_matched", OPTIONS, PROMPTS).base_model.model.named_modules())
    assert len(gates) == 12
    for name, mean in gates.items():
        assert layers[name].scaling["default"] == pytest.approx(12 * mean / 4, rel=1e-6)


@pytest.mark.parametrize("method", ["hyplora", "lora_matched"])
def test_auto_without_validation_rows_is_refused(base, method):
    with pytest.raises(ValueError, match=r"data\.validation must not be 0"):
        attach(base, method, OPTIONS)


def test_prompts_that_are_too_short_are_refused(base):
    with pytest.raises(ValueError, match="4 tokens or more: the longest of the sample has 3"):
        attach(base, "hyplora", OPTIONS, [[1, 2], [1, 2, 3]])


def test_inputs_that_are_no_numbers_are_refused_with_the_layer(base):
    base.model.layers[1].self_attn.v_proj.weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match=r"inputs of model\.layers\.1\.mlp\.down_proj: .*finite"):
        attach(base, "hyplora", OPTIONS, PROMPTS)


@pytest.mark.parametrize("method", ["hyplora", "lora_matched"])
def test_a_configuration_alone_takes_no_auto_and_says_what_does(method):
    with pytest.raises(ValueError, match=r"bench\.methods\.attach.*curvature_pattern"):
        peft_config(method, OPTIONS)
    assert unmeasured_config(method, OPTIONS) is not None


# --- what is recorded ---


def test_the_statistics_of_gates_have_the_k_of_their_layer(base):
    model = attach(base, "hyplora", OPTIONS, PROMPTS)
    assert {g.layer: g.curvature for g in gate_statistics(model, PROMPTS)} == curvatures(model)


def test_a_variant_without_a_curvature_has_none_in_its_statistics(base):
    config = HypLoraConfig(variant="tangent", r=4, target_modules=TARGETS)
    model = peft.get_peft_model(base, config)
    assert {gates.curvature for gates in gate_statistics(model, PROMPTS)} == {None}

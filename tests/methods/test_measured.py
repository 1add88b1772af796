"""What is measured on a base: gate statistics, curvature=auto, and the scale of lora_matched."""

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
    provisional_config,
    warn_of_gates,
)
from bench.methods.hyplora.curvature import DeltaMeter, data_driven_curvature
from bench.methods.hyplora.layer import hyplora_layers
from tests.methods.layer_inputs import inputs_of

TARGETS = ["q_proj", "k_proj", "down_proj"]
OPTIONS = {"r": 4, "lora_alpha": 12, "target_modules": TARGETS, "curvature": "auto"}
PROMPTS = [[1, 5, 6, 7, 30, 31], [1, 8, 9, 40], [1, 300, 301, 302, 303, 50, 51], [1, 2, 3]]


@pytest.fixture
def base(tiny):
    return copy.deepcopy(tiny[0])


def curvatures(model):
    return {n: layer.curvature("default").item() for n, layer in hyplora_layers(model).items()}


def literal_delta(points):
    """2 delta / diameter at the first point, clipped at tokens of massive activations."""
    points = points.double().numpy()
    d = np.linalg.norm(points[:, None] - points[None], axis=-1)
    g = (d[0][:, None] + d[0][None] - d) / 2
    n = range(len(d))
    delta = max(min(g[a, c], g[c, b]) - g[a, b] for a in n for b in n for c in n)
    norms = np.linalg.norm(points, axis=1)
    ordinary = norms <= 10 * np.sort(norms)[(len(norms) - 1) // 2]
    return min(1.0, 2 * delta / min(d.max(), 4 * d[ordinary][:, ordinary].max()))


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.tensor([PROMPTS[0]])).logits


# Gate statistics


def test_the_statistics_are_of_the_gates_of_all_tokens(base):
    options = {**OPTIONS, "curvature": 0.5, "max_radius": 1.5}
    model = peft.get_peft_model(base, HypLoraConfig(**options)).train()
    before = copy.deepcopy(model.state_dict())
    found = {gates.layer: gates for gates in gate_statistics(model, PROMPTS)}
    assert model.training and not any(m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    layers = hyplora_layers(model.eval())
    assert len(found) == len(layers) == 12
    for name, layer in layers.items():
        x = torch.cat(inputs_of(model.base_model.model, name, PROMPTS))
        one, gates = found[name], layer.gate("default", x)
        assert one.tokens == 20 and one.module in TARGETS and one.curvature == pytest.approx(0.5)
        assert one.mean == pytest.approx(gates.mean().item(), rel=1e-5)
        assert one.largest == pytest.approx(gates.max().item(), rel=1e-5)
        assert one.median == pytest.approx(gates.median().item(), rel=1e-5)
        spread = gates.std(correction=0) / gates.mean()
        assert one.variation == pytest.approx(spread.item(), rel=1e-4, abs=1e-8)
        clamped = x.norm(dim=-1) > 1.5 * math.sqrt(x.shape[-1] * 0.5)
        assert one.clamped == pytest.approx(clamped.double().mean().item())
    assert any(0 < one.clamped < 1 for one in found.values())


def test_a_constant_gate_has_no_variation(base):
    config = HypLoraConfig(variant="tangent", r=4, target_modules=TARGETS)
    for gates in gate_statistics(peft.get_peft_model(base, config), PROMPTS):
        width = 512 if gates.module == "down_proj" else 192
        assert gates.variation == pytest.approx(0.0, abs=1e-6)
        assert gates.mean == gates.largest == pytest.approx(1 / math.sqrt(width), rel=1e-6)
        assert gates.clamped == 0.0 and gates.curvature is None


def test_a_model_without_gates_has_no_statistics(base):
    assert gate_statistics(peft.get_peft_model(base, peft.LoraConfig(r=4)), PROMPTS) == []


# From delta to K


def test_k_is_the_inverse_of_the_c_of_khrulkov_et_al():
    assert data_driven_curvature(0.144) == 1.0
    for delta in (0.05, 0.3, 1.0):
        assert 1 / data_driven_curvature(delta) == pytest.approx((0.144 / delta) ** 2)
    # at the lower bound the radius of a token of unit RMS is HypLoRA's clamp
    assert data_driven_curvature(0.0) == data_driven_curvature(1e-9) == pytest.approx(1 / 12**2)


def test_a_meter_gives_the_mean_over_prompts_and_ignores_short_ones():
    generator = torch.Generator().manual_seed(0)
    clouds = [torch.randn(1, n, 8, generator=generator) for n in (9, 3, 14, 8, 8)]
    meter = DeltaMeter()
    for cloud in clouds:
        meter.update("a", cloud)
        meter.update("b", cloud)  # shares its input
    expected = sum(literal_delta(cloud[0]) for cloud in clouds if cloud.shape[1] > 3) / 4
    assert meter.mean("a") == meter.mean("b") == pytest.approx(expected, rel=1e-5)
    assert meter.mean("never seen") is None


def test_a_token_of_massive_activations_does_not_set_the_diameter():
    cloud = torch.randn(1, 12, 8, generator=torch.Generator().manual_seed(0))
    meter = DeltaMeter()
    meter.update("ordinary", cloud)
    massive = cloud.clone()
    massive[0, 0] *= 1000
    meter.update("massive", massive)
    assert meter.mean("massive") == pytest.approx(literal_delta(massive[0]), rel=1e-3)
    assert 0.1 < meter.mean("massive") / meter.mean("ordinary") < 1


def test_a_layer_that_clamps_many_tokens_is_warned_of(base, caplog):
    model = attach(base, "hyplora", {**OPTIONS, "curvature": 1.0, "max_radius": 0.5}, PROMPTS)
    found = gate_statistics(model, PROMPTS)
    warn_of_gates(found)
    worst = max(found, key=lambda gates: gates.clamped)
    assert f"{100 * worst.clamped:.0f}% in {worst.layer} (K = 1)" in caplog.text
    caplog.clear()
    warn_of_gates([gates for gates in found if gates.clamped <= 0.1])
    assert "clamp" not in caplog.text


@pytest.mark.parametrize(("norm_scale", "warned"), [(100.0, True), (1.0, False)])
def test_layers_far_from_the_scale_of_lora_are_warned_of(base, caplog, norm_scale, warned):
    model = attach(base, "hyplora", {**OPTIONS, "curvature": 1e6, "norm_scale": norm_scale})
    found = gate_statistics(model, PROMPTS)
    warn_of_gates(found)
    assert ("times LoRA's scale at the same alpha" in caplog.text) == warned
    assert any(gates.median < 0.1 for gates in found) == warned


# Measured on a base


@pytest.fixture(scope="module")
def measured(tiny):
    """The curvatures of curvature=auto."""
    return curvatures(attach(copy.deepcopy(tiny[0]), "hyplora", OPTIONS, PROMPTS))


def test_auto_is_the_k_of_each_layers_inputs_through_the_untouched_base(measured, tiny):
    assert len(measured) == 12
    for name, curvature in measured.items():
        deltas = [literal_delta(x) for x in inputs_of(tiny[0], name, PROMPTS) if len(x) >= 4]
        assert len(deltas) == 3
        assert curvature == pytest.approx((sum(deltas) / 3 / 0.144) ** 2, rel=1e-4)
    for block in range(4):  # layers that share their input share their K
        name = f"model.layers.{block}.self_attn"
        assert measured[f"{name}.q_proj"] == measured[f"{name}.k_proj"]


@pytest.mark.parametrize(
    "options",
    [
        *({"variant": variant} for variant in ("boost", "authors", "authors_simplified")),
        {"learnable_curvature": True},
    ],
)
def test_all_variants_and_a_learned_k_start_at_the_same_k(base, measured, options):
    model = attach(base, "hyplora", {**OPTIONS, **options}, PROMPTS)
    assert curvatures(model) == pytest.approx(measured, rel=1e-5)
    for layer in hyplora_layers(model).values():
        assert layer.hyplora_K["default"].requires_grad == (options != {"variant": "boost"})


def test_a_given_curvature_is_kept(base):
    options = {**OPTIONS, "curvature_pattern": {"down_proj": 5.0}}
    found = curvatures(attach(base, "hyplora", options, PROMPTS))
    down = {name: K for name, K in found.items() if "down_proj" in name}
    assert list(down.values()) == pytest.approx([5.0] * 4)
    assert all(K != 5.0 for name, K in found.items() if name not in down)


@pytest.mark.parametrize("curvature", [0.1, "auto"])
def test_lora_matched_has_alpha_times_the_mean_gate_in_each_layer(base, curvature):
    options = {**OPTIONS, "curvature": curvature}
    start = attach(copy.deepcopy(base), "hyplora", options, PROMPTS)
    gates = {one.layer: one for one in gate_statistics(start, PROMPTS)}
    assert {name: one.curvature for name, one in gates.items()} == curvatures(start)
    layers = dict(attach(base, "lora_matched", options, PROMPTS).base_model.model.named_modules())
    assert len(gates) == 12
    for name, one in gates.items():
        assert layers[name].scaling["default"] == pytest.approx(12 * one.mean / 4, rel=1e-6)


def test_lora_matched_measures_the_layers_that_its_options_select(base):
    options = {**OPTIONS, "curvature": 1.0, "exclude_modules": ["k_proj"]}
    model = attach(base, "lora_matched", {**options, "layers_to_transform": [1]}, PROMPTS)
    alphas = model.peft_config["default"].alpha_pattern
    assert list(alphas) == ["model.layers.1.self_attn.q_proj", "model.layers.1.mlp.down_proj"]


def test_lora_matched_takes_no_alphas_of_layers(base):
    options = {**OPTIONS, "curvature": 1.0, "alpha_pattern": {"q_proj": 3}}
    with pytest.raises(ValueError, match="leave alpha_pattern out"):
        attach(base, "lora_matched", options, PROMPTS)


@pytest.mark.parametrize(
    "method, plain, options",
    [("hyplora", "hyplora", {"curvature": 1.0}), ("lora_matched", "lora", {})],
)
def test_measuring_changes_neither_the_random_state_nor_the_base(tiny, method, plain, options):
    common = {key: value for key, value in OPTIONS.items() if key != "curvature"}
    starts = []
    for module, own in ((plain, options), (method, {"curvature": "auto"})):
        torch.manual_seed(3)
        model = attach(copy.deepcopy(tiny[0]), module, {**common, **own}, PROMPTS)
        starts.append([p for name, p in model.named_parameters() if "_A." in name])
    assert all(torch.equal(one, other) for one, other in zip(*starts, strict=True))
    assert torch.equal(logits(model), logits(tiny[0]))


@pytest.mark.parametrize(
    "method, options, pattern",
    [
        ("hyplora", {"variant": "rotation"}, "curvature_pattern"),
        ("hyplora", {"variant": "authors"}, "curvature_pattern"),
        ("lora_matched", {}, "alpha_pattern"),
    ],
)
def test_measured_options_are_saved_and_come_back_bit_equal(
    base, tiny, tmp_path, method, options, pattern
):
    model = attach(base, method, {**OPTIONS, **options}, PROMPTS).eval()
    for name, parameter in model.named_parameters():
        if "_B." in name:
            parameter.data.fill_(0.02)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(tiny[0]), tmp_path).eval()
    measured = getattr(model.peft_config["default"], pattern)
    assert len(measured) == 12 and getattr(loaded.peft_config["default"], pattern) == measured
    assert json.loads((tmp_path / "adapter_config.json").read_text())[pattern] == measured
    assert curvatures(loaded) == curvatures(model)
    assert torch.equal(logits(model), logits(loaded))


def test_a_repeated_token_is_a_single_point_and_gets_the_smallest_k(base):
    found = curvatures(attach(base, "hyplora", OPTIONS, [[7] * 6]))
    assert found["model.layers.0.self_attn.q_proj"] == pytest.approx(1 / 144, rel=1e-5)


@pytest.mark.parametrize("method", ["hyplora", "lora_matched"])
@pytest.mark.parametrize(
    "prompts, message",
    [
        ([], r"there are none \(data\.validation\)"),
        ([[1, 2], [1, 2, 3]], "a prompt of 4 tokens or more, got at most 3"),
    ],
)
def test_measuring_without_long_validation_rows_is_refused(base, method, prompts, message):
    with pytest.raises(ValueError, match=message):
        attach(base, method, OPTIONS, prompts)
    if method == "lora_matched" and not prompts:
        with pytest.raises(ValueError, match=message):
            attach(base, method, {**OPTIONS, "curvature": 0.5})


def test_inputs_that_are_not_finite_are_refused_with_the_layer(base):
    base.model.layers[1].self_attn.v_proj.weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match=r"inputs of model\.layers\.1\.mlp\.down_proj: .*finite"):
        attach(base, "hyplora", OPTIONS, PROMPTS)


@pytest.mark.parametrize("method", ["hyplora", "lora_matched"])
def test_auto_is_refused_without_a_base(method):
    with pytest.raises(ValueError, match=r"bench\.methods\.attach.*curvature_pattern"):
        peft_config(method, OPTIONS)
    assert provisional_config(method, OPTIONS) is not None

"""The HypLoRA layer: what it computes and saves, its scalars, its cache, merging, bad options."""

from __future__ import annotations

import copy
import math
import pickle
from unittest.mock import patch

import peft
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.methods.hyplora import HypLoraConfig, HypLoraLinear, reference
from bench.methods.hyplora.gate import gate
from bench.methods.hyplora.update import rotation_update
from bench.methods.hyplora.variants import VARIANTS, Variant

D, M, R = 24, 16, 4
every = pytest.mark.parametrize("variant", VARIANTS)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(D, M)
        self.down = nn.Linear(M, D, bias=False)

    def forward(self, x):
        return self.down(torch.tanh(self.up(x)))


def adapted(dtype=torch.float32, autocast_adapter_dtype=True, **options):
    """A block with adapters that are far from their start; seeded."""
    torch.manual_seed(0)
    config = HypLoraConfig(**{"r": R, "target_modules": ["up", "down"], **options})
    model = peft.get_peft_model(
        Block().to(dtype), config, autocast_adapter_dtype=autocast_adapter_dtype
    )
    randomise(model)
    return model


def randomise(model, seed=1, adapter="default"):
    generator = torch.Generator().manual_seed(seed)
    for layer in layers(model):
        if adapter in layer.hyplora_B:
            B = layer.hyplora_B[adapter].weight
            B.data = torch.randn(B.shape, generator=generator).to(B)


def layers(model):
    return [module for module in model.modules() if isinstance(module, HypLoraLinear)]


def parts(layer, adapter="default"):
    A, B = layer.hyplora_A[adapter].weight, layer.hyplora_B[adapter].weight
    return A, B, layer.curvature(adapter), layer.hyplora_s[adapter]


def tokens(dtype=torch.float32):
    return torch.randn(3, 5, D, generator=torch.Generator().manual_seed(2)).to(dtype)


# What it computes


@every
def test_a_layer_adds_the_literal_update_times_alpha_over_r(variant):
    model = adapted(variant=variant, curvature=0.5, lora_alpha=12).double()
    layer, x = layers(model)[0], tokens(torch.float64)
    expected = layer.base_layer(x) + 12 / R * getattr(reference, variant)(x, *parts(layer))
    assert torch.allclose(layer(x), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "scalars"),
    [
        ({"variant": "rotation"}, 1),
        ({"variant": "rotation", "learnable_curvature": True}, 2),
        ({"variant": "boost"}, 1),
        ({"variant": "tangent"}, 1),
        ({"variant": "authors"}, 2),
        ({"variant": "authors_simplified"}, 1),
    ],
)
def test_the_trainable_numbers_are_the_factors_and_the_scalars(options, scalars):
    extra = VARIANTS[options["variant"]].time_columns
    up, down = R * (D + extra) + M * (R + extra), R * (M + extra) + D * (R + extra)
    trainable, _ = adapted(**options).get_nb_trainable_parameters()
    assert trainable == up + down + 2 * scalars


def test_dropout_acts_in_training_only_and_on_the_input_of_A_only():
    layer, x = layers(adapted(lora_dropout=0.5))[0].train(), tokens()
    torch.manual_seed(7)
    trained = layer(x)
    torch.manual_seed(7)
    expected = rotation_update(
        layer.base_layer(x),
        x,
        F.dropout(x, 0.5),
        *parts(layer),
        max_radius=12.0,
        scaling=16 / R,
    )
    assert torch.allclose(trained, expected, atol=1e-6)
    assert torch.equal(layer.eval()(x), layer(x))


@pytest.mark.parametrize("variant", ["authors", "authors_simplified"])
def test_the_authors_norm_is_of_the_dropped_token_and_autocast_rounds_nothing(variant):
    layer = layers(adapted(variant=variant, lora_dropout=0.5))[0].train()
    x = tokens(torch.bfloat16)
    torch.manual_seed(7)
    options = {"max_radius": 12.0, "scaling": 16 / R}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        dropped, start = F.dropout(x, 0.5), torch.zeros(3, 5, M)
        delta = VARIANTS[variant].update(start, x, dropped, *parts(layer), **options)
    torch.manual_seed(7)
    expected = getattr(reference, variant)(F.dropout(x, 0.5), *parts(layer)) * 16 / R
    assert torch.allclose(delta.double(), expected, rtol=1e-3, atol=1e-4)


def test_adapters_that_are_active_together_add_up():
    model, x = adapted(), tokens()
    for name, variant in (("second", "boost"), ("third", "tangent")):
        model.add_adapter(name, HypLoraConfig(r=2, variant=variant, target_modules=["up"]))
        randomise(model, 5, name)
    up, updates = layers(model)[0], []
    for name in ("default", "second", "third"):
        model.set_adapter(name)
        updates.append(up(x) - up.base_layer(x))
    model.base_model.set_adapter(["default", "second", "third"])
    assert torch.allclose(up(x), up.base_layer(x) + sum(updates), atol=1e-5)
    model.delete_adapter("second")
    assert "second" not in up.frozen


def test_a_variant_is_one_entry():
    def lora(result, x, dropped, A, B, K, s, *, max_radius, scaling, frozen):
        return result + F.linear(F.linear(dropped, A), B) * scaling

    with patch.dict(VARIANTS, toy=Variant(update=lora, gate=gate)):
        up, x = layers(adapted(variant="toy", target_modules=["up"]))[0], tokens()
        A, B, *_ = parts(up)
        assert torch.allclose(up(x), up.base_layer(x) + x @ A.mT @ B.mT * 16 / R, atol=1e-5)


# How it starts


def test_A_starts_as_loras_does_from_the_same_seed():
    starts = []
    for config_class in (HypLoraConfig, peft.LoraConfig):
        base = Block()
        torch.manual_seed(3)
        model = peft.get_peft_model(base, config_class(r=R, target_modules=["up", "down"]))
        starts.append([p for n, p in model.named_parameters() if "_A." in n])
    assert all(torch.equal(ours, loras) for ours, loras in zip(*starts, strict=True))


@pytest.mark.parametrize(
    ("curvature", "norm_scale", "start"),
    [(1e-4, "sqrt_dim", math.sqrt(D)), (1.0, 3, 3), (1e4, 0.5, 0.5)],
)
def test_the_scalars_start_at_the_configured_values(curvature, norm_scale, start):
    layer = layers(adapted(curvature=curvature, norm_scale=norm_scale))[0]
    assert layer.curvature("default").item() == pytest.approx(curvature, rel=1e-5)
    assert layer.hyplora_s["default"].item() == pytest.approx(start, rel=1e-7)


def test_a_token_is_clamped_whatever_the_sign_of_the_norm_scale():
    layer, x = layers(adapted(max_radius=1.0))[0], tokens()
    x[0] *= 100
    before = layer.clamped("default", x)
    layer.hyplora_s["default"].data.neg_()
    assert torch.equal(layer.clamped("default", x), before) and 0 < before.sum() < before.numel()


def test_ranks_alphas_and_curvatures_may_differ_by_layer():
    patterns = {"rank_pattern": {"down": 2}, "alpha_pattern": {"down": 5}}
    up, down = layers(adapted(**patterns, curvature=0.7, curvature_pattern={"d.*n": 3.0}))
    assert (up.r["default"], up.scaling["default"]) == (R, 16 / R)
    assert (down.r["default"], down.scaling["default"]) == (2, 5 / 2)
    found = [layer.curvature("default").item() for layer in (up, down)]
    assert found == pytest.approx([0.7, 3.0], rel=1e-6)


def test_a_curvature_that_is_fixed_in_one_model_may_be_learned_in_another():
    fixed, learned = adapted(), adapted(learnable_curvature=True)
    for model in (fixed, learned):
        model.set_adapter("default")
    assert not layers(fixed)[0].hyplora_K["default"].requires_grad
    assert layers(learned)[0].hyplora_K["default"].requires_grad


@pytest.mark.parametrize(
    ("dtype", "autocast_adapter_dtype"), [(torch.bfloat16, True), (torch.float16, False)]
)
def test_the_scalars_of_a_half_precision_base_are_exact_float32(dtype, autocast_adapter_dtype):
    model = adapted(dtype, autocast_adapter_dtype, norm_scale=45.2548)
    model.to(dtype)
    for layer in layers(model):
        s, K = layer.hyplora_s["default"], layer.hyplora_K["default"]
        assert torch.equal(s, torch.tensor([45.2548]))
        assert torch.equal(K, torch.tensor([math.log(math.expm1(1.0))]))
        assert s.requires_grad and not K.requires_grad
        assert layer.hyplora_A["default"].weight.dtype == dtype


def test_the_saved_state_has_these_names_and_shapes():
    state = peft.get_peft_model_state_dict(adapted())
    shapes = {key.split("up.")[1]: tuple(t.shape) for key, t in state.items() if ".up." in key}
    assert shapes == {
        "hyplora_A.weight": (R, D),
        "hyplora_B.weight": (M, R),
        "hyplora_K": (1,),
        "hyplora_s": (1,),
    }


# The cached values


def scale_in_place(model):
    for layer in layers(model):
        layer.hyplora_B["default"].weight.data.mul_(3)  # does not change the version counter


@pytest.mark.parametrize(
    "change",
    [
        lambda model: (scale_in_place(model), model.train(), model.eval()),
        lambda model: (scale_in_place(model), model.eval()),
        # as model.to(bfloat16).to(float32) does if it gets the freed memory again
        lambda model: model._apply(lambda tensor: tensor.data.mul_(1.01)),
    ],
    ids=["train", "eval", "conversion"],
)
def test_no_change_of_B_leaves_a_stale_cache_behind(change):
    model, x = adapted().eval(), tokens()
    with torch.no_grad():
        before = model(x)
    change(model)
    with torch.no_grad():
        after = model(x)
        assert torch.equal(after, copy.deepcopy(model)(x))  # a copy has an empty cache
    assert not torch.equal(before, after)


def test_a_used_model_can_be_copied_pickled_and_trained():
    model, x = adapted().eval(), tokens()
    with torch.inference_mode():
        expected = model(x)
    with torch.no_grad():  # with the values that were cached in inference mode
        assert torch.equal(model(x), expected)
    assert torch.equal(copy.deepcopy(model)(x), model(x))
    up = layers(model)[0]
    assert torch.equal(pickle.loads(pickle.dumps(up))(x), up(x))
    y = model(x)
    y.sum().backward()
    assert torch.allclose(y, expected, rtol=1e-4, atol=1e-5)


# Merging the linear variant


def test_tangent_merges_and_unmerges():
    model, x = adapted(variant="tangent").eval(), tokens()
    expected, weight = model(x), layers(model)[0].base_layer.weight.clone()
    base = copy.deepcopy(model).unload()
    model.merge_adapter(safe_merge=True)
    assert not torch.equal(layers(model)[0].base_layer.weight, weight)
    assert torch.allclose(model(x), expected, rtol=1e-4, atol=1e-5)
    with model.disable_adapter():
        assert torch.allclose(model(x), base(x), atol=1e-5)
    model.unmerge_adapter()
    assert torch.allclose(layers(model)[0].base_layer.weight, weight, atol=1e-6)
    plain = model.merge_and_unload()
    assert not layers(plain)
    assert torch.allclose(plain(x), expected, rtol=1e-4, atol=1e-5)


def test_tangent_merges_into_a_float64_base_without_rounding():
    model, x = adapted(variant="tangent").double().eval(), tokens().double()
    expected = model(x)
    assert torch.allclose(model.merge_and_unload()(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "merge"),
    [
        (torch.int8, "merge_adapter"),
        (torch.uint8, "merge_and_unload"),
        (torch.float8_e4m3fn, "merge_adapter"),
    ],
)
def test_nothing_is_merged_into_quantised_weights(dtype, merge):
    model = adapted(variant="tangent")
    last = layers(model)[-1].get_base_layer()
    last.weight = nn.Parameter(last.weight.data.to(dtype), requires_grad=False)
    before = [layer.get_base_layer().weight.data.clone() for layer in layers(model)]
    with pytest.raises(NotImplementedError, match=f"quantised weights \\({dtype}\\)"):
        getattr(model, merge)()
    for layer, weight in zip(layers(model), before, strict=True):
        assert torch.equal(
            layer.get_base_layer().weight.view(torch.uint8), weight.view(torch.uint8)
        )


def test_a_merge_of_two_adapters_of_which_one_is_not_linear_changes_nothing():
    model = adapted(variant="tangent").eval()
    model.add_adapter("rotation", HypLoraConfig(r=R, target_modules=["down"]))
    before = copy.deepcopy(model.state_dict())
    model.base_model.set_adapter(["default", "rotation"])
    with pytest.raises(NotImplementedError, match="'tangent'"):
        model.merge_adapter()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_safe_merge_that_is_not_finite_is_refused():
    model = adapted(variant="tangent")
    layers(model)[0].hyplora_B["default"].weight.data.fill_(float("inf"))
    with pytest.raises(ValueError, match="not finite"):
        model.merge_adapter(safe_merge=True)


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 0}, "r must be a whole number of at least 1, got 0"),
        ({"r": 2.5}, "whole number"),
        ({"rank_pattern": {"up": -1}}, r"rank_pattern\['up'\] must be a whole number"),
        ({"curvature": 0}, "curvature must be a positive"),
        *(
            ({"curvature_pattern": {"up": bad}}, r"curvature_pattern\['up'\] must be a positive")
            for bad in (0, -1.0, math.nan, math.inf, "1", True)
        ),
        ({"curvature_pattern": 5}, "curvature_pattern must map layers to numbers"),
        (
            {"variant": "authors", "curvature_pattern": {"up": math.inf}},
            r"curvature_pattern\['up'\] must be a finite",
        ),
        ({"max_radius": -1}, "max_radius must be a positive"),
        ({"max_radius": 41}, "max_radius must be at most 40"),
        ({"lora_alpha": 0}, "lora_alpha must be a positive"),
        ({"alpha_pattern": {"up": 0}}, "alpha_pattern"),
        ({"lora_dropout": 1.0}, "lora_dropout must be in"),
        ({"norm_scale": "sqrt"}, "norm_scale must be .* 'sqrt_dim', got 'sqrt'"),
        ({"norm_scale": 0}, "norm_scale must be"),
        ({"variant": "rotate"}, "unknown variant 'rotate'. Did you mean rotation"),
        ({"variant": "tangent", "learnable_curvature": True}, "'tangent' has no curvature"),
        ({"target_modules": "up", "layers_to_transform": [0]}, "layers_to_transform needs"),
    ],
)
def test_a_bad_option_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        HypLoraConfig(**options)


def test_a_rank_that_is_too_large_is_refused_with_the_layer_and_the_limit():
    with pytest.raises(ValueError, match=rf"r={M + 1} .*'up' .*at most {M}"):
        adapted(r=M + 1)

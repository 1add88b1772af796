"""HypLoRA in peft: configuration, state, saving, several adapters, and what it refuses."""

from __future__ import annotations

import copy
import importlib
import json
import math
import pickle
from unittest.mock import patch

import peft
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

import bench.methods.hyplora as hyplora
from bench.methods.hyplora import HypLoraConfig, HypLoraLinear, reference
from bench.methods.hyplora.gate import gate, rotation_delta
from bench.methods.hyplora.variants import VARIANTS, Variant

D, M, R = 24, 16, 4


class Block(nn.Module):
    """Two linear layers and one that is none."""

    def __init__(self):
        super().__init__()
        self.up = nn.Linear(D, M)
        self.down = nn.Linear(M, D, bias=False)
        self.norm = nn.LayerNorm(D)

    def forward(self, x):
        return self.norm(self.down(torch.tanh(self.up(x))))


def adapted(dtype=torch.float32, base=None, autocast_adapter_dtype=True, **options):
    """A block with trained-looking adapters; seeded."""
    torch.manual_seed(0)
    base = Block().to(dtype) if base is None else base
    config = HypLoraConfig(**{"r": R, "target_modules": ["up", "down"], **options})
    model = peft.get_peft_model(base, config, autocast_adapter_dtype=autocast_adapter_dtype)
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


def tokens(dtype=torch.float32, seed=2):
    return torch.randn(3, 5, D, generator=torch.Generator().manual_seed(seed)).to(dtype)


# --- the layer ---


@pytest.mark.parametrize("learnable", [False, True])
def test_a_layer_adds_the_literal_update_times_alpha_over_r(learnable):
    model = adapted(curvature=0.5, lora_alpha=12, learnable_curvature=learnable).double()
    layer, x = layers(model)[0], tokens(torch.float64)
    A, B = layer.hyplora_A["default"].weight, layer.hyplora_B["default"].weight
    K, s = F.softplus(layer.hyplora_K["default"]), layer.hyplora_s["default"]
    expected = layer.base_layer(x) + 12 / R * reference.rotation(x, A, B, K, s)
    assert torch.allclose(layer(x), expected, rtol=1e-10, atol=1e-12)


def test_a_new_adapter_changes_nothing():
    base, x = Block(), tokens()
    expected = base(x)
    model = peft.get_peft_model(base, HypLoraConfig(target_modules=["up", "down"]))
    assert torch.equal(model(x), expected)


def test_A_starts_as_loras_does_from_the_same_seed():
    starts = []
    for config_class in (HypLoraConfig, peft.LoraConfig):
        base = Block()
        torch.manual_seed(3)
        model = peft.get_peft_model(base, config_class(r=R, target_modules=["up", "down"]))
        starts.append([p for n, p in model.named_parameters() if "_A." in n])
    assert all(torch.equal(ours, loras) for ours, loras in zip(*starts, strict=True))


@pytest.mark.parametrize("learnable", [False, True])
def test_the_trainable_numbers_are_the_factors_and_the_scalars(learnable):
    model = adapted(learnable_curvature=learnable)
    trainable, _ = model.get_nb_trainable_parameters()
    assert trainable == 2 * (R * (D + M) + 1 + learnable)


@pytest.mark.parametrize("curvature", [0.01, 0.1, 1.0, 100.0])
def test_the_curvature_starts_at_the_configured_value(curvature):
    layer = layers(adapted(curvature=curvature))[0]
    assert layer.curvature("default").item() == pytest.approx(curvature, rel=1e-5)


@pytest.mark.parametrize(("norm_scale", "start"), [("sqrt_dim", math.sqrt(D)), (3, 3), (0.5, 0.5)])
def test_the_norm_scale_starts_where_it_is_told(norm_scale, start):
    layer = layers(adapted(norm_scale=norm_scale))[0]
    assert layer.hyplora_s["default"].item() == pytest.approx(start, rel=1e-7)


def test_ranks_and_alphas_may_differ_by_layer():
    model = adapted(rank_pattern={"down": 2}, alpha_pattern={"down": 5})
    up, down = layers(model)
    assert (up.r["default"], up.scaling["default"]) == (R, 16 / R)
    assert (down.r["default"], down.scaling["default"]) == (2, 5 / 2)


def test_a_curvature_that_is_fixed_in_one_model_may_be_learnt_in_another():
    fixed, learnt = adapted(), adapted(learnable_curvature=True)
    for model in (fixed, learnt):
        model.set_adapter("default")
    assert not layers(fixed)[0].hyplora_K["default"].requires_grad
    assert layers(learnt)[0].hyplora_K["default"].requires_grad


def test_training_moves_everything_but_a_fixed_curvature():
    model, x = adapted(), tokens()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(5):
        loss = (model(x) - 1).square().mean()
        losses.append(loss.item())
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert losses[-1] < losses[0]
    assert moved == {n for n in before if "hyplora_" in n and "hyplora_K" not in n}


def test_dropout_acts_in_training_alone_and_on_the_input_of_A_alone():
    model, x = adapted(lora_dropout=0.5), tokens()
    layer = layers(model)[0].train()
    A, B = layer.hyplora_A["default"].weight, layer.hyplora_B["default"].weight
    K, s = layer.curvature("default"), layer.hyplora_s["default"]
    torch.manual_seed(7)
    trained = layer(x)
    torch.manual_seed(7)
    delta = rotation_delta(x, F.dropout(x, 0.5), A, B, K, s, max_radius=12.0, scaling=16 / R)
    assert torch.allclose(trained, layer.base_layer(x) + delta, atol=1e-6)
    assert torch.equal(layer.eval()(x), layer(x))


# --- precision ---


@pytest.mark.parametrize("autocast_adapter_dtype", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_scalars_of_a_half_precision_base_are_exact_float32(dtype, autocast_adapter_dtype):
    model = adapted(dtype, autocast_adapter_dtype=autocast_adapter_dtype, norm_scale=45.2548)
    model.to(dtype)
    for layer in layers(model):
        s, K = layer.hyplora_s["default"], layer.hyplora_K["default"]
        assert torch.equal(s, torch.tensor([45.2548]))
        assert torch.equal(K, torch.tensor([math.log(math.expm1(1.0))]))
        assert s.requires_grad and not K.requires_grad
        assert layer.hyplora_A["default"].weight.dtype == dtype


@pytest.mark.parametrize(("autocast", "dtype"), [(True, torch.float32), (False, torch.bfloat16)])
def test_the_factors_are_float32_or_in_the_dtype_of_the_base_as_peft_is_told(autocast, dtype):
    for layer in layers(adapted(torch.bfloat16, autocast_adapter_dtype=autocast)):
        assert layer.hyplora_A["default"].weight.dtype == dtype
        assert layer.hyplora_B["default"].weight.dtype == dtype


@pytest.mark.parametrize("autocast_adapter_dtype", [True, False])
def test_a_bfloat16_base_trains_in_either_dtype_of_the_adapter(autocast_adapter_dtype):
    model = adapted(torch.bfloat16, autocast_adapter_dtype=autocast_adapter_dtype)
    y = model(tokens(torch.bfloat16))
    y.float().square().sum().backward()
    assert y.dtype == torch.bfloat16
    assert all(
        p.grad is not None and torch.isfinite(p.grad).all()
        for p in model.parameters()
        if p.requires_grad
    )


def test_autocast_gives_bfloat16_and_float32_gradients():
    model = adapted()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layers(model)[0](tokens())
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert layers(model)[0].hyplora_B["default"].weight.grad.dtype == torch.float32


# --- saving, loading, several adapters ---


@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_adapter_comes_back_bit_equal(tmp_path, dtype, low_cpu_mem_usage):
    model = adapted(dtype, curvature=0.37, norm_scale=3.3, learnable_curvature=True)
    x = tokens(dtype)
    base = copy.deepcopy(model).unload()
    with torch.no_grad():
        for layer in layers(model):
            layer.hyplora_K["default"].add_(0.123)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(base, tmp_path, low_cpu_mem_usage=low_cpu_mem_usage)
    state, expected = (peft.get_peft_model_state_dict(m) for m in (loaded, model))
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    assert torch.equal(loaded(x), model.eval()(x))


def test_the_saved_state_has_these_names_and_shapes():
    state = peft.get_peft_model_state_dict(adapted())
    shapes = {key.split("up.")[1]: tuple(t.shape) for key, t in state.items() if ".up." in key}
    assert shapes == {
        "hyplora_A.weight": (R, D),
        "hyplora_B.weight": (M, R),
        "hyplora_K": (1,),
        "hyplora_s": (1,),
    }


def test_the_configuration_survives_saving(tmp_path):
    targets = ["up", "down", "gate"]
    config = HypLoraConfig(r=3, target_modules=targets, curvature=0.5, norm_scale=2.0, max_radius=9)
    config.save_pretrained(tmp_path)
    assert config.target_modules == set(targets)
    assert peft.PeftConfig.from_pretrained(tmp_path) == config
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "HYPLORA"


@pytest.mark.parametrize("learnable", [False, True])
def test_a_loaded_adapter_trains_what_a_new_one_trains(tmp_path, learnable):
    model = adapted(learnable_curvature=learnable)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(Block(), tmp_path, is_trainable=True)
    loaded.set_adapter("default")
    assert {n: p.requires_grad for n, p in loaded.named_parameters()} == {
        n: p.requires_grad for n, p in model.named_parameters()
    }


def test_an_adapter_loaded_for_inference_trains_nothing(tmp_path):
    adapted().save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(Block(), tmp_path)
    assert not any(p.requires_grad for p in loaded.parameters())


def test_two_adapters_are_each_their_own():
    model, x = adapted(), tokens()
    model.add_adapter("second", HypLoraConfig(r=2, target_modules=["up"], curvature=0.1))
    first = model(x)
    model.set_adapter("second")
    randomise(model, 5, "second")
    second = model(x)
    assert not torch.equal(first, second)
    alone = adapted(r=2, target_modules=["up"], curvature=0.1, base=copy.deepcopy(model).unload())
    alone_layer, layer = layers(alone)[0], layers(model)[0]
    for name in ("hyplora_A", "hyplora_B", "hyplora_K", "hyplora_s"):
        ours = getattr(layer, name)["second"]
        getattr(alone_layer, name)["default"] = copy.deepcopy(ours)
    assert torch.equal(alone(x), second)
    model.set_adapter("default")
    assert torch.equal(model(x), first)


def test_adapters_that_are_active_together_add_up():
    model, x = adapted(), tokens()
    model.add_adapter("second", HypLoraConfig(r=2, target_modules=["up"]))
    randomise(model, 5, "second")
    up = layers(model)[0]
    updates = []
    for name in ("default", "second"):
        model.set_adapter(name)
        updates.append(up(x) - up.base_layer(x))
    model.base_model.set_adapter(["default", "second"])
    assert torch.allclose(up(x), up.base_layer(x) + sum(updates), atol=1e-5)


def test_only_the_active_adapter_trains_and_never_its_fixed_curvature():
    model = adapted()
    model.add_adapter("second", HypLoraConfig(r=2, target_modules=["up", "down"]))
    for active in ("second", "default"):
        model.set_adapter(active)
        trained = {n.split(".")[-2 if n.endswith("weight") else -1] for n in requiring(model)}
        assert trained == {active}
        assert not any("hyplora_K" in name for name in requiring(model))


def requiring(model):
    return [name for name, p in model.named_parameters() if p.requires_grad]


def test_a_deleted_adapter_leaves_nothing():
    model, x = adapted(), tokens()
    expected = model(x)
    model.add_adapter("second", HypLoraConfig(r=2, target_modules=["up"]))
    model.delete_adapter("second")
    assert torch.equal(model(x), expected)
    assert not any("second" in key for key in model.state_dict())
    assert "second" not in layers(model)[0].gram_cache


def test_a_disabled_adapter_is_the_base_exactly():
    model, x = adapted(), tokens()
    base = copy.deepcopy(model).unload()
    with model.disable_adapter():
        assert torch.equal(model(x), base(x))
    assert not torch.equal(model(x), base(x))


def test_the_curvature_stays_fixed_after_disabling():
    model = adapted()
    with model.disable_adapter():
        pass
    assert not any("hyplora_K" in name for name in requiring(model))


@pytest.mark.parametrize("merge", ["merge_adapter", "merge_and_unload"])
def test_merging_is_refused_and_nothing_is_changed(merge):
    model, x = adapted(), tokens()
    expected = model(x)
    with pytest.raises(NotImplementedError, match=r"not linear.*unload"):
        getattr(model, merge)()
    assert torch.equal(model(x), expected)


# --- the cached Gram matrix ---


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_no_mode_switch_leaves_a_stale_cache_behind(mode):
    model, x = adapted().eval(), tokens()
    with torch.no_grad():
        before = model(x)
        for layer in layers(model):
            layer.hyplora_B["default"].weight.data.mul_(3)  # bumps no version counter
        getattr(model, mode)()
        after = model(x)
        for layer in layers(model):
            layer.gram_cache["default"].clear()
        assert torch.equal(after, model.eval()(x))
    assert not torch.equal(before, after)


def test_a_conversion_of_the_model_leaves_no_stale_cache_behind():
    model, x = adapted().eval(), tokens()
    with torch.no_grad():
        model(x)
        # as model.to(bfloat16).to(float32) does where the freed memory is taken again
        model._apply(lambda tensor: tensor.data.mul_(1.01))
        assert torch.equal(model(x), copy.deepcopy(model)(x))


def test_evaluation_after_each_training_step_sees_the_new_weights():
    model, x = adapted(), tokens()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.eval()  # in eval mode on purpose: nothing but the version counter tells
    for _ in range(3):
        model(x).square().sum().backward()
        optimiser.step()
        with torch.no_grad():
            cached = model(x)
        assert torch.equal(cached, copy.deepcopy(model)(x))


def test_a_model_that_has_been_used_can_be_copied_and_pickled():
    model, x = adapted().eval(), tokens()
    with torch.no_grad():
        expected = model(x)
    assert torch.equal(copy.deepcopy(model)(x), expected)
    up = layers(model)[0]
    assert torch.equal(pickle.loads(pickle.dumps(up))(x), up(x))


def test_inference_mode_before_training_is_harmless():
    model, x = adapted().eval(), tokens()
    with torch.inference_mode():
        expected = model(x)
    y = model(x)
    y.sum().backward()
    assert torch.allclose(y, expected)


# --- a language model ---


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes, **heads)).eval()


@pytest.fixture
def language_model(llama):
    config = hyplora.config({"r": R, "target_modules": ["q_proj", "down_proj"], "curvature": 0.5})
    model = peft.get_peft_model(copy.deepcopy(llama), config).eval()
    randomise(model)
    return model


def test_generation_works_with_and_without_the_key_value_cache(language_model):
    prompt = torch.arange(2, 10).reshape(2, 4)
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    mask = torch.ones_like(prompt)
    cached, plain = (
        language_model.generate(input_ids=prompt, attention_mask=mask, use_cache=use, **options)
        for use in (True, False)
    )
    assert cached.shape == (2, 10)
    assert torch.equal(cached, plain)


def test_a_language_model_saves_and_loads_by_the_auto_class(language_model, llama, tmp_path):
    llama.save_pretrained(tmp_path / "base")
    language_model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    language_model.save_pretrained(tmp_path / "adapter")
    loaded = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    prompt = torch.arange(8).reshape(1, 8)
    assert torch.equal(loaded(input_ids=prompt).logits, language_model(input_ids=prompt).logits)


def test_targets_default_to_those_of_lora_for_the_architecture(llama):
    def targets(config):
        model = peft.get_peft_model(copy.deepcopy(llama), config)
        return model.base_model.targeted_module_names

    assert targets(HypLoraConfig(r=R)) == targets(peft.LoraConfig(r=R))


# --- what is refused ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 0}, "r must be a whole number of at least 1, got 0"),
        ({"r": 2.5}, "whole number"),
        ({"rank_pattern": {"up": -1}}, "rank_pattern"),
        ({"curvature": 0}, "curvature must be a positive"),
        ({"curvature": math.nan}, "curvature must be a positive"),
        ({"curvature": "1"}, "curvature must be a positive"),
        ({"max_radius": -1}, "max_radius must be a positive"),
        ({"lora_alpha": 0}, "lora_alpha must be a positive"),
        ({"alpha_pattern": {"up": 0}}, "alpha_pattern"),
        ({"lora_dropout": 1.0}, "lora_dropout must be in"),
        ({"norm_scale": "sqrt"}, "norm_scale must be .* 'sqrt_dim', got 'sqrt'"),
        ({"norm_scale": 0}, "norm_scale must be"),
        ({"variant": "rotate"}, "unknown variant 'rotate': known are rotation"),
        ({"target_modules": "up", "layers_to_transform": [0]}, "layers_to_transform needs"),
    ],
)
def test_a_bad_option_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        HypLoraConfig(**options)


def test_a_rank_beyond_a_layer_is_refused_with_the_layer_and_the_limit():
    with pytest.raises(ValueError, match=rf"r={M + 1} .*'up' .*at most {M}"):
        adapted(r=M + 1)


def test_a_target_that_is_not_linear_is_refused_with_its_name():
    with pytest.raises(ValueError, match="'norm', which is a LayerNorm"):
        adapted(target_modules=["up", "norm"])


# --- how it is built ---


def test_registering_again_is_harmless(tmp_path):
    adapted().save_pretrained(tmp_path)
    importlib.reload(hyplora)
    assert isinstance(peft.PeftConfig.from_pretrained(tmp_path), HypLoraConfig)


def test_a_variant_is_one_entry():
    def lora(x, dropped, A, B, K, s, *, max_radius, scaling, gram_B):
        return F.linear(F.linear(dropped, A), B) * scaling

    with patch.dict(VARIANTS, toy=Variant(delta=lora, gate=gate)):
        model, x = adapted(variant="toy", target_modules=["up"]), tokens()
        up = layers(model)[0]
        A, B = up.hyplora_A["default"].weight, up.hyplora_B["default"].weight
        assert torch.allclose(up(x), up.base_layer(x) + x @ A.mT @ B.mT * 16 / R, atol=1e-5)

"""Series and parallel adapters in peft: what they compute, their state, and what they refuse."""

from __future__ import annotations

import copy
import importlib
import json
import math

import peft
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

import bench.methods.bottleneck as bottleneck
from bench.methods import BottleneckConfig
from bench.methods.bottleneck import BottleneckLinear

D, M, SIZE = 24, 16, 6


class Block(nn.Module):
    """Two linear layers, named as in LLaMA, and one layer that is none."""

    def __init__(self):
        super().__init__()
        self.up_proj = nn.Linear(D, M)
        self.down_proj = nn.Linear(M, D, bias=False)
        self.norm = nn.LayerNorm(D)

    def forward(self, x):
        return self.norm(self.down_proj(torch.tanh(self.up_proj(x))))


def adapted(placement="series", dtype=torch.float32, autocast_adapter_dtype=True, **options):
    """A block with adapters that are far from the identity; seeded."""
    torch.manual_seed(0)
    options = {"bottleneck_size": SIZE, "target_modules": ["up_proj", "down_proj"], **options}
    config = BottleneckConfig(placement=placement, **options)
    base = Block().to(dtype)
    model = peft.get_peft_model(base, config, autocast_adapter_dtype=autocast_adapter_dtype)
    randomise(model)
    return model


def randomise(model, adapter="default"):
    generator = torch.Generator().manual_seed(len(adapter))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bottleneck_" in name and f".{adapter}." in name:
                parameter.normal_(std=0.3, generator=generator)


def layers(model):
    """The layers up_proj and down_proj, in this order."""
    return [module for module in model.modules() if isinstance(module, BottleneckLinear)]


def tokens(dtype=torch.float32, width=D):
    return torch.randn(3, 5, width, generator=torch.Generator().manual_seed(2)).to(dtype)


def weights(layer, adapter="default"):
    return layer.bottleneck_down[adapter].weight, layer.bottleneck_up[adapter].weight


def requiring(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


both = pytest.mark.parametrize("placement", ["series", "parallel"])


# --- what a layer computes ---


def test_series_adapts_the_input_of_a_layer_that_reads_the_residual_stream():
    up_proj, x = layers(adapted(scaling=0.7))[0], tokens()
    down, up = weights(up_proj)
    expected = up_proj.base_layer(x + 0.7 * (torch.tanh(x @ down.mT) @ up.mT))
    assert torch.allclose(up_proj(x), expected, atol=1e-5)


def test_series_adapts_the_output_of_a_layer_that_writes_to_it():
    down_proj, x = layers(adapted(scaling=0.7))[1], tokens(width=M)
    down, up = weights(down_proj)
    h = down_proj.base_layer(x)
    assert torch.allclose(down_proj(x), h + 0.7 * (torch.tanh(h @ down.mT) @ up.mT), atol=1e-5)


def test_parallel_adds_to_the_output_what_it_makes_of_the_input():
    for layer in layers(adapted("parallel", scaling=0.7)):
        x = tokens(width=layer.in_features)
        down, up = weights(layer)
        expected = layer.base_layer(x) + 0.7 * (torch.tanh(x @ down.mT) @ up.mT)
        assert torch.allclose(layer(x), expected, atol=1e-5)


def test_output_modules_say_which_layers_are_adapted_on_their_output():
    model = adapted(output_modules=["up_proj"])
    assert [layer.position["default"] for layer in layers(model)] == ["output", "input"]


@pytest.mark.parametrize("name", ["model.layers.0.mlp.down_proj", "down_proj"])
def test_a_name_fits_a_layer_as_a_target_does(name):
    assert BottleneckConfig(output_modules=["down_proj"]).position(name) == "output"
    assert BottleneckConfig(output_modules=["proj"]).position(name) == "input"


@pytest.mark.parametrize(
    ("non_linearity", "function"),
    [("tanh", torch.tanh), ("relu", torch.relu), ("gelu", nn.GELU()), ("silu", nn.SiLU())],
)
def test_the_non_linearity_is_the_named_one(non_linearity, function):
    layer, x = layers(adapted("parallel", non_linearity=non_linearity))[0], tokens()
    down, up = weights(layer)
    expected = layer.base_layer(x) + function(x @ down.mT) @ up.mT
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_dropout_acts_in_training_alone_and_on_the_input_of_down_alone():
    layer, x = layers(adapted(dropout=0.5))[0].train(), tokens()
    down, up = weights(layer)
    torch.manual_seed(7)
    trained = layer(x)
    torch.manual_seed(7)
    expected = layer.base_layer(x + torch.tanh(F.dropout(x, 0.5) @ down.mT) @ up.mT)
    assert torch.allclose(trained, expected, atol=1e-5)
    assert torch.equal(layer.eval()(x), layer(x))


# --- how it starts, and what trains ---


@both
def test_mam_adapter_starts_as_the_base_exactly(placement):
    base, x = Block(), tokens()
    expected = base(x)
    options = {"target_modules": ["up_proj", "down_proj"], "init_weights": "mam_adapter"}
    model = peft.get_peft_model(base, BottleneckConfig(placement=placement, **options))
    assert torch.equal(model(x), expected)


@both
def test_bert_draws_both_weights_with_deviation_0_02_and_is_not_the_identity(placement):
    torch.manual_seed(0)
    base, x = Block(), tokens()
    expected = base(x)
    config = BottleneckConfig(placement=placement, target_modules=["up_proj"], adapter_bias=True)
    model = peft.get_peft_model(base, config)
    (layer,) = layers(model)
    for weight in weights(layer):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert abs(weight.mean().item()) < 1e-3
    assert not layer.bottleneck_down["default"].bias.any()
    assert not layer.bottleneck_up["default"].bias.any()
    assert not torch.equal(model(x), expected)


@both
@pytest.mark.parametrize("init_weights", ["bert", "mam_adapter"])
def test_only_the_adapter_trains_and_all_of_it(placement, init_weights):
    torch.manual_seed(0)
    options = {"target_modules": ["up_proj", "down_proj"], "adapter_bias": True}
    config = BottleneckConfig(placement=placement, init_weights=init_weights, **options)
    model, x = peft.get_peft_model(Block(), config), tokens()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(3):
        loss = (model(x) - x.sin()).square().mean()
        losses.append(loss.item())
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert losses[-1] < losses[0]
    assert moved == {name for name in before if "bottleneck_" in name}
    assert len(moved) == 8


@both
def test_gradients_are_those_of_the_formula(placement):
    layer = layers(adapted(placement).double())[0]
    x = tokens(torch.float64)[:1, :2].requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *weights(layer)))


# --- precision ---


@both
@pytest.mark.parametrize("autocast_adapter_dtype", [True, False])
def test_a_bfloat16_base_trains_adapters_of_either_dtype(placement, autocast_adapter_dtype):
    model = adapted(placement, torch.bfloat16, autocast_adapter_dtype)
    y = model(tokens(torch.bfloat16))
    y.float().square().sum().backward()
    dtype = torch.float32 if autocast_adapter_dtype else torch.bfloat16
    assert y.dtype == torch.bfloat16
    for layer in layers(model):
        for weight in weights(layer):
            assert weight.dtype == weight.grad.dtype == dtype
            assert weight.grad.isfinite().all() and weight.grad.any()


@both
def test_autocast_gives_bfloat16_and_float32_gradients(placement):
    model = adapted(placement)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layers(model)[0](tokens())
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert weights(layers(model)[0])[1].grad.dtype == torch.float32


# --- state, saving, several adapters ---


@pytest.mark.parametrize(
    ("placement", "up_proj", "down_proj"),
    [
        ("series", [(SIZE, D), (D, SIZE)], [(SIZE, D), (D, SIZE)]),
        ("parallel", [(SIZE, D), (M, SIZE)], [(SIZE, M), (D, SIZE)]),
    ],
)
def test_the_saved_state_has_these_names_and_shapes(placement, up_proj, down_proj):
    state = peft.get_peft_model_state_dict(adapted(placement))
    assert {key: tuple(tensor.shape) for key, tensor in state.items()} == {
        f"base_model.model.{layer}.bottleneck_{part}.weight": shape
        for layer, shapes in (("up_proj", up_proj), ("down_proj", down_proj))
        for part, shape in zip(("down", "up"), shapes, strict=True)
    }


def test_biases_are_a_choice_and_are_saved():
    names = {key.rpartition(".")[2] for key in peft.get_peft_model_state_dict(adapted())}
    assert names == {"weight"}
    state = peft.get_peft_model_state_dict(adapted(adapter_bias=True))
    assert {key.rpartition(".")[2] for key in state} == {"weight", "bias"}


@both
@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_adapter_comes_back_bit_equal(tmp_path, placement, dtype, low_cpu_mem_usage):
    model, x = adapted(placement, dtype, adapter_bias=True), tokens(dtype)
    base = copy.deepcopy(model).unload()
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(base, tmp_path, low_cpu_mem_usage=low_cpu_mem_usage)
    state, expected = (peft.get_peft_model_state_dict(m) for m in (loaded, model))
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    assert torch.equal(loaded(x), model.eval()(x))
    assert not requiring(loaded)


def test_the_configuration_survives_saving(tmp_path):
    options = {"placement": "parallel", "non_linearity": "gelu", "bottleneck_size": 3}
    config = BottleneckConfig(**options, target_modules=["a", "b"], output_modules=("b",))
    config.save_pretrained(tmp_path)
    assert config.target_modules == {"a", "b"}
    assert peft.PeftConfig.from_pretrained(tmp_path) == config
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "BOTTLENECK"


def test_two_adapters_are_each_their_own_and_the_active_one_trains():
    model, x = adapted(), tokens()
    first = model(x)
    config = BottleneckConfig(placement="parallel", bottleneck_size=2, target_modules=["up_proj"])
    model.add_adapter("second", config)
    assert torch.equal(model(x), first)
    model.set_adapter("second")
    randomise(model, "second")
    assert not torch.equal(model(x), first)
    assert requiring(model) and all(".second." in name for name in requiring(model))
    model.set_adapter("default")
    assert torch.equal(model(x), first)
    assert requiring(model) and all(".default." in name for name in requiring(model))
    model.delete_adapter("second")
    assert torch.equal(model(x), first)
    assert not any("second" in key for key in model.state_dict())


def test_of_adapters_that_are_active_together_series_follow_and_parallel_add():
    model, x = adapted(target_modules=["up_proj"]), tokens()
    for name, placement in (("second", "series"), ("beside", "parallel")):
        config = BottleneckConfig(
            bottleneck_size=2, placement=placement, target_modules=["up_proj"]
        )
        model.add_adapter(name, config)
        randomise(model, name)
    model.base_model.set_adapter(["default", "beside", "second"])
    (layer,) = layers(model)

    def update(adapter, h):
        down, up = weights(layer, adapter)
        return torch.tanh(h @ down.mT) @ up.mT

    h = x + update("default", x)
    expected = layer.base_layer(h + update("second", h)) + update("beside", x)
    assert torch.allclose(layer(x), expected, atol=1e-5)


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_disabled_adapter_is_the_base_exactly(placement, dtype):
    model, x = adapted(placement, dtype), tokens(dtype)
    base = copy.deepcopy(model).unload()
    with model.disable_adapter():
        assert torch.equal(model(x), base(x))
    assert not torch.equal(model(x), base(x))
    assert requiring(model)


@pytest.mark.parametrize("merge", ["merge_adapter", "merge_and_unload"])
def test_merging_is_refused_and_nothing_is_changed(merge):
    model, x = adapted(), tokens()
    expected = model(x)
    with pytest.raises(NotImplementedError, match=r"not linear.*unload"):
        getattr(model, merge)()
    assert torch.equal(model(x), expected)


def test_registering_again_is_harmless(tmp_path):
    adapted().save_pretrained(tmp_path)
    importlib.reload(bottleneck)
    assert isinstance(peft.PeftConfig.from_pretrained(tmp_path), BottleneckConfig)


# --- a language model ---


TARGETS = {"series": ["gate_proj", "up_proj", "down_proj"], "parallel": ["up_proj", "down_proj"]}


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes, **heads)).eval()


def language_model(llama, placement):
    options = {"placement": placement, "bottleneck_size": 4, "target_modules": TARGETS[placement]}
    model = peft.get_peft_model(copy.deepcopy(llama), bottleneck.config(options))
    randomise(model)
    return model.eval()


@both
def test_generation_works_with_and_without_the_key_value_cache(llama, placement):
    prompt = torch.arange(2, 10).reshape(2, 4)
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    mask, model = torch.ones_like(prompt), language_model(llama, placement)
    cached, plain = (
        model.generate(input_ids=prompt, attention_mask=mask, use_cache=use, **options)
        for use in (True, False)
    )
    assert cached.shape == (2, 10)
    assert torch.equal(cached, plain)


@both
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_gradient_checkpointing_changes_no_gradient(llama, placement, use_reentrant):
    gradients, prompt = [], torch.arange(8).reshape(1, 8)
    for checkpointing in (False, True):
        model = language_model(llama, placement).train()
        if checkpointing:
            model.enable_input_require_grads()
            how = {"use_reentrant": use_reentrant}
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)
        model(input_ids=prompt, labels=prompt, use_cache=False).loss.backward()
        assert model.base_model.model.is_gradient_checkpointing == checkpointing
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert len(gradients[0]) == 2 * 2 * len(TARGETS[placement])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert plain.any()
        assert torch.allclose(plain, checkpointed, atol=1e-6)


# --- what is refused ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"placement": "serial"}, "unknown placement 'serial'. Did you mean series.*parallel"),
        ({"placement": None}, "unknown placement 'None'"),
        ({"non_linearity": ["tanh"]}, "unknown non_linearity"),
        ({"non_linearity": "tan"}, "unknown non_linearity 'tan'. Did you mean tanh.*gelu, relu"),
        ({"init_weights": "mam"}, "unknown init_weights 'mam'.*bert, mam_adapter"),
        ({"bottleneck_size": 0}, "bottleneck_size must be a whole number of at least 1, got 0"),
        ({"bottleneck_size": 2.5}, "bottleneck_size must be a whole number"),
        ({"bottleneck_size": True}, "bottleneck_size must be a whole number"),
        ({"scaling": 0}, "scaling must be a positive finite number, got 0"),
        ({"scaling": math.inf}, "scaling must be"),
        ({"scaling": "learned"}, "scaling must be .* got 'learned'"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"adapter_bias": "none"}, "adapter_bias must be true or false, got 'none'"),
        ({"output_modules": "down_proj"}, r"output_modules must be a list .*'down_proj'\]"),
        ({"output_modules": None}, "output_modules must be a list"),
        ({"target_modules": "up", "layers_to_transform": [0]}, "layers_to_transform needs"),
    ],
)
def test_a_bad_option_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        BottleneckConfig(**options)


def test_targets_have_to_be_named(llama):
    with pytest.raises(ValueError, match="target_modules"):
        peft.get_peft_model(copy.deepcopy(llama), BottleneckConfig())


def test_a_target_that_is_not_linear_is_refused_with_its_name():
    with pytest.raises(ValueError, match="'norm', which is a LayerNorm"):
        adapted(target_modules=["up_proj", "norm"])

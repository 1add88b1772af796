"""Series and parallel adapters: what they compute, how they start, what they save and refuse."""

from __future__ import annotations

import peft
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.methods import BottleneckConfig
from bench.methods.bottleneck import BottleneckLinear

D, M, SIZE = 24, 16, 6


class Block(nn.Module):
    """Two linear layers, named as in LLaMA."""

    def __init__(self):
        super().__init__()
        self.up_proj = nn.Linear(D, M)
        self.down_proj = nn.Linear(M, D, bias=False)

    def forward(self, x):
        return self.down_proj(torch.tanh(self.up_proj(x)))


def adapted(placement="series", **options):
    """A block with adapters that are far from the identity; seeded."""
    torch.manual_seed(0)
    options = {"bottleneck_size": SIZE, "target_modules": ["up_proj", "down_proj"], **options}
    model = peft.get_peft_model(Block(), BottleneckConfig(placement=placement, **options))
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


def tokens(width=D):
    return torch.randn(3, 5, width, generator=torch.Generator().manual_seed(2))


def weights(layer, adapter="default"):
    return layer.bottleneck_down[adapter].weight, layer.bottleneck_up[adapter].weight


def update(layer, h, adapter="default", act=torch.tanh, scaling=1.0):
    down, up = weights(layer, adapter)
    return scaling * (act(h @ down.mT) @ up.mT)


both = pytest.mark.parametrize("placement", ["series", "parallel"])


# What a layer computes


@pytest.mark.parametrize(
    "placement, positions", [("series", ["input", "output"]), ("parallel", ["parallel"] * 2)]
)
@pytest.mark.parametrize(
    ("non_linearity", "act"),
    [("tanh", torch.tanh), ("relu", torch.relu), ("gelu", nn.GELU()), ("silu", nn.SiLU())],
)
def test_a_layer_adds_its_bottleneck_at_its_position(placement, positions, non_linearity, act):
    model = adapted(placement, scaling=0.7, non_linearity=non_linearity)
    for layer, position in zip(layers(model), positions, strict=True):
        assert layer.position["default"] == position
        x, base = tokens(layer.in_features), layer.base_layer
        options = {"act": act, "scaling": 0.7}
        if position == "input":
            expected = base(x + update(layer, x, **options))
        else:
            h = base(x) if position == "output" else x
            expected = base(x) + update(layer, h, **options)
        assert torch.allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["model.layers.0.mlp.down_proj", "down_proj"])
def test_a_name_fits_a_layer_as_a_target_does(name):
    assert BottleneckConfig(output_modules=["down_proj"]).position(name) == "output"
    assert BottleneckConfig(output_modules=["proj"]).position(name) == "input"


def test_dropout_acts_in_training_alone_and_on_the_input_of_down_alone():
    layer, x = layers(adapted(dropout=0.5))[0].train(), tokens()
    down, up = weights(layer)
    torch.manual_seed(7)
    trained = layer(x)
    torch.manual_seed(7)
    expected = layer.base_layer(x + torch.tanh(F.dropout(x, 0.5) @ down.mT) @ up.mT)
    assert torch.allclose(trained, expected, atol=1e-5)
    assert torch.equal(layer.eval()(x), layer(x))


# How it starts, and what trains


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


# State, several adapters


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


def test_of_adapters_that_are_active_together_series_follow_and_parallel_add():
    model, x = adapted(target_modules=["up_proj"]), tokens()
    for name, placement in (("second", "series"), ("third", "parallel")):
        config = BottleneckConfig(
            bottleneck_size=2, placement=placement, target_modules=["up_proj"]
        )
        model.add_adapter(name, config)
        randomise(model, name)
    model.base_model.set_adapter(["default", "third", "second"])
    (layer,) = layers(model)

    h = x + update(layer, x)
    expected = layer.base_layer(h + update(layer, h, "second")) + update(layer, x, "third")
    assert torch.allclose(layer(x), expected, atol=1e-5)


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"placement": "serial"}, "unknown placement 'serial'. Did you mean series.*parallel"),
        ({"non_linearity": ["tanh"]}, "unknown non_linearity"),
        ({"non_linearity": "tan"}, "unknown non_linearity 'tan'. Did you mean tanh.*gelu, relu"),
        ({"init_weights": "mam"}, "unknown init_weights 'mam'.*bert, mam_adapter"),
        ({"bottleneck_size": 0}, "bottleneck_size must be a whole number of at least 1, got 0"),
        ({"bottleneck_size": True}, "bottleneck_size must be a whole number"),
        ({"scaling": 0}, "scaling must be a positive finite number, got 0"),
        ({"scaling": "learned"}, "scaling must be .* got 'learned'"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"adapter_bias": "none"}, "adapter_bias must be true or false, got 'none'"),
        ({"output_modules": "down_proj"}, r"output_modules must be a list .*'down_proj'\]"),
        ({"target_modules": "up", "layers_to_transform": [0]}, "layers_to_transform needs"),
    ],
)
def test_a_bad_option_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        BottleneckConfig(**options)

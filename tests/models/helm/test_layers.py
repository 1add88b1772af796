"""The fast layers, which keep space coordinates alone, beside the golden arrays on whole points.

A golden gradient takes the time of an input point for a number of its own. Where a fast layer is
given the space coordinates alone, its gradient is that of both together.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.models.helm.attention import LorentzAttention
from bench.models.helm.feed_forward import LorentzFeedForward
from bench.models.helm.latent_attention import LorentzLatentAttention
from bench.models.helm.linear import on_point, with_time
from bench.models.helm.norm import SpaceRMSNorm
from bench.models.helm.points import lift, time_of
from bench.models.helm.residual import residual
from bench.models.helm.rotary import HopeTable, frequencies, rotate

# Of values and of gradients.
PRECISION = {torch.float64: (1e-9, 1e-9), torch.float32: (1e-5, 1e-4)}
both = pytest.mark.parametrize("dtype", PRECISION)
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}


def leaf(tensor, dtype):
    return tensor.to(dtype, copy=True).requires_grad_()


def leaves(point, dtype):
    """Space and time of a point, as inputs of their own."""
    return leaf(point[..., 1:], dtype), leaf(point[..., :1], dtype)


def of_space(gradient, point):
    """A golden gradient as one of the space coordinates alone."""
    return gradient[..., 1:] + gradient[..., :1] * point[..., 1:] / point[..., :1]


def fill(module, name, weight, bias, dtype):
    """A layer on whole points, its time column apart."""
    linear = getattr(module, f"{name}_proj", None) or getattr(module, f"{name}_proj_with_mqa")
    weight = weight.to(dtype)
    linear.weight = nn.Parameter(weight[:, 1:].clone())
    linear.bias = nn.Parameter(bias.to(dtype))
    setattr(module, f"{name}_time", nn.Parameter(weight[:, 0].clone()))
    return linear


def fill_output(module, weight, bias, tau, dtype):
    module.o_proj.weight = nn.Parameter(weight.to(dtype))
    module.o_proj.bias = nn.Parameter(bias.to(dtype))
    module.temperature = nn.Parameter(tau.to(dtype))


def public(layer):
    """The parameters of a dense model's attention under their public names."""
    found = {
        "scale": layer.temperature,
        "bias": 0.0,
        "final_linear.weight": layer.o_proj.weight,
        "final_linear.bias": layer.o_proj.bias,
    }
    for name in ("q", "k", "v"):
        linear, column = getattr(layer, f"{name}_proj"), getattr(layer, f"{name}_time")
        found[f"W{name}.weight"] = torch.cat([column[:, None], linear.weight], dim=1)
        found[f"W{name}.bias"] = linear.bias
    return found


def whole_gradient(module, name):
    linear = getattr(module, f"{name}_proj", None) or getattr(module, f"{name}_proj_with_mqa")
    return torch.cat([getattr(module, f"{name}_time").grad[:, None], linear.weight.grad], dim=1)


@both
@pytest.mark.parametrize("name", ["lorentz_linear_c1", "lorentz_linear_c1_to_c2"])
def test_a_linear_layer_is_a_product_and_a_term_of_rank_one(golden, near, name, dtype):
    a, (values, gradients) = golden(name), PRECISION[dtype]
    space, time = leaves(a["in/x"], dtype)
    weight = a["param/linear.weight"]
    column, weight = leaf(weight[:, 0], dtype), leaf(weight[:, 1:], dtype)
    bias = leaf(a["param/linear.bias"], dtype)
    ratio = 2**0.5 if "to_c2" in name else 1.0
    s = with_time(F.linear(space, weight, bias), time, column)
    full, alone = ratio * lift(s, 1.0), ratio * s
    near(full, a["out/full"], values)
    near(alone, a["out/space"], values)
    ((full * a["cot/full"].to(dtype)).sum() + (alone * a["cot/space"].to(dtype)).sum()).backward()
    near(torch.cat([time.grad, space.grad], dim=-1), a["grad/in/x"], gradients)
    found = torch.cat([column.grad[:, None], weight.grad], dim=1)
    near(found, a["grad/param/linear.weight"], gradients)
    near(bias.grad, a["grad/param/linear.bias"], gradients)


@both
def test_the_norm(golden, near, dtype):
    a, (values, gradients) = golden("rmsnorm_c1.0"), PRECISION[dtype]
    space, _ = leaves(a["in/x"], dtype)
    norm = SpaceRMSNorm(8, 1e-8).to(dtype)
    norm.weight.data.copy_(a["param/weight"])
    s = norm(space)
    out = {"full": lift(s, 1.0), "space": s, "from_space": lift(s, 1.0)}
    loss = 0
    for name, tensor in out.items():
        near(tensor, a[f"out/{name}"], values)
        loss = loss + (tensor * a[f"cot/{name}"].to(dtype)).sum()
    loss.backward()
    near(space.grad, of_space(a["grad/in/x"], a["in/x"]), gradients)
    near(norm.weight.grad, a["grad/param/weight"], gradients)


@both
@pytest.mark.parametrize(("kind", "c"), [("noscale", 1.0), ("fixed", 1.0), ("learned", 1.3)])
def test_the_residual_is_a_gate_for_each_token(golden, near, kind, c, dtype):
    a, (values, gradients) = golden(f"lresnet_{kind}"), PRECISION[dtype]
    x, _ = leaves(a["in/x"], dtype)
    y, _ = leaves(a["in/y"], dtype)
    w = leaf(a["param/w_y"], dtype)
    fixed = torch.tensor(5.0 if kind == "fixed" else 1.0, dtype=torch.float64).log()
    log_gain = leaf(a["param/scale"] if kind == "learned" else fixed, dtype)
    out = lift(residual(x, y, w, log_gain.exp(), c), c)
    near(out, a["out/y"], values)
    (out * a["cot/y"].to(dtype)).sum().backward()
    near(x.grad, of_space(a["grad/in/x"], a["in/x"]), gradients)
    near(y.grad, of_space(a["grad/in/y"], a["in/y"]), gradients)
    near(w.grad, a["grad/param/w_y"], gradients)
    if kind == "learned":
        near(log_gain.grad, a["grad/param/scale"], gradients)


def test_a_negative_weight_gives_finite_numbers():
    """There the sum of two points can be no point; an absolute value would hide that."""
    x = torch.tensor([[3.0, 0.0]], requires_grad=True)
    y = torch.tensor([[0.0, 3.0]], requires_grad=True)
    w = torch.tensor([-1.0], requires_grad=True)
    out = residual(x, y, w, torch.tensor(1.0), 1.0)
    out.sum().backward()
    assert out.isfinite().all()
    assert all(tensor.grad.isfinite().all() for tensor in (x, y, w))


@both
def test_positions_turn_pairs_of_space_coordinates(golden, near, dtype):
    a, (values, _) = golden("hope"), PRECISION[dtype]
    table = HopeTable(8, PLAIN)(torch.arange(12).unsqueeze(0), dtype)
    near(table.real[0, :, 0], a["out/cos"], values)
    near(table.imag[0, :, 0], a["out/sin"], values)
    turned = rotate(a["in/q_space"].to(dtype), table)
    near(turned, a["out/q_rot"], values)
    near(turned, a["out/q_rot_mla"], values)


def test_the_table_for_texts_longer_than_those_trained_on(golden, near):
    a = golden("hope_yarn")
    yarn = {
        "rope_type": "yarn",
        "factor": 40,
        "original_max_position_embeddings": 32,
        "beta_fast": 32,
        "beta_slow": 1,
    }
    table = HopeTable(16, PLAIN | yarn)(torch.arange(64).unsqueeze(0), torch.float32)
    near(table.real[0, :, 0], a["out/cos"], 1e-6)
    near(table.imag[0, :, 0], a["out/sin"], 1e-6)
    with pytest.raises(ValueError, match="rope_type must be default or yarn, not 'longrope'"):
        frequencies(16, {"rope_type": "longrope"})


def test_the_last_coordinate_of_an_odd_head_stays(reference, near):
    q = torch.randn(2, 5, 3, 7, dtype=torch.float64)
    table = HopeTable(6, PLAIN)(torch.arange(5).unsqueeze(0), torch.float64)
    near(rotate(q, table), reference.hope(q, torch.arange(5)), 1e-12)


@both
def test_the_feed_forward_layer(golden, near, config, dtype):
    a, (values, gradients) = golden("swiglu_ffn"), PRECISION[dtype]
    layer = LorentzFeedForward(config("helm_d", hidden_size=8, num_attention_heads=1), 11)
    for name, public in (("gate", "w1"), ("up", "w3"), ("down", "w2")):
        p = f"param/{public}.linear."
        fill(layer, name, a[f"{p}weight"], a[f"{p}bias"], dtype)
    space, time = leaves(a["in/x"], dtype)
    out = lift(layer(space, time), 1.0)
    near(out, a["out/y"], values)
    (out * a["cot/y"].to(dtype)).sum().backward()
    near(torch.cat([time.grad, space.grad], dim=-1), a["grad/in/x"], gradients)
    for name, public in (("gate", "w1"), ("up", "w3"), ("down", "w2")):
        near(whole_gradient(layer, name), a[f"grad/param/{public}.linear.weight"], gradients)
        bias = getattr(layer, f"{name}_proj").bias.grad
        near(bias, a[f"grad/param/{public}.linear.bias"], gradients)


@both
def test_the_attention_of_the_dense_model(golden, reference, near, config, dtype):
    a, (values, gradients) = golden("attention_c1.0"), PRECISION[dtype]
    layer = LorentzAttention(config("helm_d"), 0)
    for name in ("q", "k", "v"):
        p = f"param/W{name}."
        fill(layer, name, a[f"{p}weight"], a[f"{p}bias"], dtype)
    output = a.below("param/final_linear.")
    fill_output(layer, output["weight"], output["bias"], a["param/scale"], dtype)
    space, time = leaves(a["in/x"], dtype)
    table = HopeTable(8, PLAIN)(torch.arange(12).unsqueeze(0), dtype)
    out = lift(layer(space, time, table, ~a["in/mask"].unsqueeze(1)), 1.0)
    near(out, a["out/y"], values)
    loss = (out * a["cot/y"].to(dtype)).sum()
    # The golden loss has the softmax weights in it, too, which the fast form never makes.
    weights = reference.attention(torch.cat([time, space], dim=-1), public(layer), 3, a["in/mask"])[
        1
    ]
    near(weights, a["out/attn"], values)
    (loss + (weights * a["cot/attn"].to(dtype)).sum()).backward()
    expected = a.below("grad/param/")
    near(torch.cat([time.grad, space.grad], dim=-1), a["grad/in/x"], gradients)
    for name in ("q", "k", "v"):
        near(whole_gradient(layer, name), expected[f"W{name}.weight"], gradients)
        near(getattr(layer, f"{name}_proj").bias.grad, expected[f"W{name}.bias"], gradients)
    near(layer.o_proj.weight.grad, expected["final_linear.weight"], gradients)
    near(layer.temperature.grad, expected["scale"], gradients)


@both
def test_latent_attention(golden, near, config, dtype):
    a, (values, gradients) = golden("hmla_c1.0"), PRECISION[dtype]
    layer = LorentzLatentAttention(config("helm_mice"), 0).to(dtype)
    names = (("q", "wq"), ("kv_a", "wkv_a"), ("kv_b", "wkv_b"))
    for name, public in names:
        p = f"param/{public}.linear."
        fill(layer, name, a[f"{p}weight"], a[f"{p}bias"], dtype)
    output = a.below("param/wo.linear.")
    fill_output(layer, output["weight"], output["bias"], a["param/softmax_scale"], dtype)
    layer.kv_a_layernorm.weight.data.copy_(a["param/kv_norm.weight"])
    space, time = leaves(a["in/x"], dtype)
    table = HopeTable(4, PLAIN)(torch.arange(16).unsqueeze(0), dtype)
    out = lift(layer(space, time, table), 1.0)
    near(out, a["out/y"], values)
    (out * a["cot/y"].to(dtype)).sum().backward()
    near(torch.cat([time.grad, space.grad], dim=-1), a["grad/in/x"], gradients)
    for name, public in names:
        near(whole_gradient(layer, name), a[f"grad/param/{public}.linear.weight"], gradients)
    near(layer.o_proj.weight.grad, a["grad/param/wo.linear.weight"], gradients)
    # A sum over 96 queries, most of which is lost among their signs: 0.05 is left.
    near(layer.temperature.grad, a["grad/param/softmax_scale"], gradients, least=1.0)
    near(layer.kv_a_layernorm.weight.grad, a["grad/param/kv_norm.weight"], gradients)


@pytest.fixture
def on_a_point():
    """A linear layer in float64, a point, and its time column."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(4, 3).double()
    space = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    return linear, space, torch.randn(3, dtype=torch.float64, requires_grad=True)


def test_a_layer_in_one_piece_has_values_and_gradients_of_its_parts(on_a_point):
    linear, space, column = on_a_point
    wanted = (space, *linear.parameters(), column)
    whole = on_point(linear, space, time_of(space, 1.0), column)
    parts = with_time(linear(space), time_of(space, 1.0), column)
    torch.testing.assert_close(whole, parts)
    turn = torch.randn_like(whole)
    found, expected = (torch.autograd.grad(made, wanted, turn) for made in (whole, parts))
    torch.testing.assert_close(found, expected)


def test_who_has_put_a_hook_on_a_layer_sees_it_called(on_a_point):
    linear, space, column = on_a_point
    seen = []
    linear.register_forward_hook(lambda module, given, made: seen.append(made))
    made = on_point(linear, space, time_of(space, 1.0), column)
    assert len(seen) == 1
    torch.testing.assert_close(made, with_time(seen[0], time_of(space, 1.0), column))


def test_the_gradients_that_are_written_by_hand():
    space = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    other = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    K = torch.rand(3, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(time_of, (space, K))
    column = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(with_time, (other, time_of(space, 1.0), column))
    weight = torch.rand(3, 1, dtype=torch.float64, requires_grad=True)
    gain = torch.tensor([1.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *given: residual(*given, 0.8), (space, other, weight, gain)
    )

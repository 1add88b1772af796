"""The layers, on space coordinates, against golden arrays on whole points.

Golden gradients are by space and time of an input point separately. A layer that is given only
space coordinates has the sum of both.
"""

import pytest
import torch
from torch import nn

from bench.models.helm.linear import on_point
from bench.models.helm.points import SpaceRMSNorm, time_of
from bench.models.helm.residual import residual
from bench.models.helm.rotary import HopeTable, frequencies, rotate

# Tolerances of values and gradients.
PRECISION = {torch.float64: (1e-9, 1e-9), torch.float32: (1e-5, 1e-4)}
both = pytest.mark.parametrize("dtype", PRECISION)
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}


def leaf(tensor, dtype):
    return tensor.to(dtype, copy=True).requires_grad_()


def leaves(point, dtype):
    return leaf(point[..., 1:], dtype), leaf(point[..., :1], dtype)


def of_space(gradient, point):
    """A golden gradient as that by the space coordinates alone."""
    return gradient[..., 1:] + gradient[..., :1] * point[..., 1:] / point[..., :1]


@pytest.fixture
def lift(reference):
    return reference.lift


# Model, public and own prefix of each layer that has the widths of a golden model.
LAYERS = {
    "attention_c1.0": ("helm_d", "resblocks.0.attn.", "model.layers.0.self_attn."),
    "hmla_c1.0": ("helm_mice", "layers.0.attn.", "model.layers.0.self_attn."),
    "mice_equal": ("helm_mice", "layers.1.ffn.", "model.layers.1.mlp."),
    "mice_distinct": ("helm_mice", "layers.1.ffn.", "model.layers.1.mlp."),
}


def literal_part(name, a, x, p, reference):
    """What the golden loss has in addition to the output: softmax weights, scores of the router."""
    if name == "attention_c1.0":
        _, weights = reference.attention(x, p, 3, a["in/mask"])
        return (weights * a["cot/attn"]).sum()
    if name == "hmla_c1.0":
        return 0 * x.sum()
    scores, _, _ = reference.gate(x.flatten(0, 1), reference.below(p, "gate."), 2)
    return (scores * a["cot/scores"]).sum()


@both
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer(golden, imported, own_gradients, reference, near, lift, name, dtype):
    kind, public, own = LAYERS[name]
    a, (values, gradients) = golden(name), PRECISION[dtype]
    parameters = a.below("param/")
    replaced = {public + n: tensor for n, tensor in parameters.items()}
    model, _, state = imported(kind, dtype, replaced)
    layer, (space, time) = model.get_submodule(own[:-1]), leaves(a["in/x"], dtype)
    if "mice" in name:
        out, _ = layer(space, time)
    else:
        table = model.model.rotary(torch.arange(space.shape[1]).unsqueeze(0), dtype)
        mask = ~a["in/mask"].unsqueeze(1) if kind == "helm_d" else None
        out = layer(space, time, table, mask)
    near(lift(out), a["out/y"], values)
    (lift(out) * a["cot/y"].to(dtype)).sum().backward()

    x = leaf(a["in/x"], torch.float64)
    p = {n: leaf(tensor, torch.float64) for n, tensor in parameters.items()}
    literal_part(name, a, x, p, reference).backward()
    near(torch.cat([time.grad, space.grad], dim=-1), a["grad/in/x"] - x.grad, gradients)
    golden_gradients = {
        public + n: g - (0 if p[n].grad is None else p[n].grad)
        for n, g in a.below("grad/param/").items()
    }
    expected = own_gradients(model, golden_gradients, state)
    checked = 0
    for n, parameter in layer.named_parameters():
        # The gradient of a temperature is a small sum of large numbers with both signs.
        least = 1.0 if n == "temperature" else 1e-3
        near(parameter.grad, expected[own + n], gradients, n, least)
        checked += 1
    assert checked >= 9


def test_the_literal_feed_forward_layer(golden, reference, near):
    """Its widths are those of no golden model; tests of models compare it with the fast one."""
    a = golden("swiglu_ffn")
    near(reference.feed_forward(a["in/x"], a.below("param/")), a["out/y"], 1e-9)


@both
@pytest.mark.parametrize("name", ["lorentz_linear_c1", "lorentz_linear_c1_to_c2"])
def test_a_linear_layer(golden, near, lift, name, dtype):
    a, (values, gradients) = golden(name), PRECISION[dtype]
    space, time = leaves(a["in/x"], dtype)
    weight = a["param/linear.weight"]
    linear = nn.Linear(space.shape[-1], weight.shape[0], dtype=dtype)
    linear.weight.data, linear.bias.data = weight[:, 1:].to(dtype), a["param/linear.bias"].to(dtype)
    column = leaf(weight[:, 0], dtype)
    ratio = 2**0.5 if "to_c2" in name else 1.0
    s = on_point(linear, space, time, column)
    full, alone = ratio * lift(s), ratio * s
    near(full, a["out/full"], values)
    near(alone, a["out/space"], values)
    ((full * a["cot/full"].to(dtype)).sum() + (alone * a["cot/space"].to(dtype)).sum()).backward()
    near(torch.cat([time.grad, space.grad], dim=-1), a["grad/in/x"], gradients)
    found = torch.cat([column.grad[:, None], linear.weight.grad], dim=1)
    near(found, a["grad/param/linear.weight"], gradients)
    near(linear.bias.grad, a["grad/param/linear.bias"], gradients)


@both
def test_the_norm(golden, near, lift, dtype):
    a, (values, gradients) = golden("rmsnorm_c1.0"), PRECISION[dtype]
    space, _ = leaves(a["in/x"], dtype)
    norm = SpaceRMSNorm(8, 1e-8).to(dtype)
    norm.weight.data.copy_(a["param/weight"])
    s = norm(space)
    loss = 0
    for name, tensor in {"full": lift(s), "space": s, "from_space": lift(s)}.items():
        near(tensor, a[f"out/{name}"], values)
        loss = loss + (tensor * a[f"cot/{name}"].to(dtype)).sum()
    loss.backward()
    near(space.grad, of_space(a["grad/in/x"], a["in/x"]), gradients)
    near(norm.weight.grad, a["grad/param/weight"], gradients)


@both
@pytest.mark.parametrize(("kind", "c"), [("noscale", 1.0), ("fixed", 1.0), ("learned", 1.3)])
def test_the_residual(golden, near, lift, kind, c, dtype):
    a, (values, gradients) = golden(f"lresnet_{kind}"), PRECISION[dtype]
    (x, _), (y, _) = leaves(a["in/x"], dtype), leaves(a["in/y"], dtype)
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


def test_a_negative_residual_weight_gives_finite_numbers():
    """The sum of two points may then be space-like, which an absolute value would hide."""
    x = torch.tensor([[3.0, 0.0]], requires_grad=True)
    y = torch.tensor([[0.0, 3.0]], requires_grad=True)
    w = torch.tensor([-1.0], requires_grad=True)
    out = residual(x, y, w, torch.tensor(1.0), 1.0)
    out.sum().backward()
    assert all(tensor.isfinite().all() for tensor in (out, x.grad, y.grad, w.grad))


@both
def test_rotations(golden, near, dtype):
    a, (values, _) = golden("hope"), PRECISION[dtype]
    table = HopeTable(8, PLAIN)(torch.arange(12).unsqueeze(0), dtype)
    near(table.real[0, :, 0], a["out/cos"], values)
    near(table.imag[0, :, 0], a["out/sin"], values)
    rotated = rotate(a["in/q_space"].to(dtype), table)
    near(rotated, a["out/q_rot"], values)
    near(rotated, a["out/q_rot_mla"], values)


def test_yarn(golden, near):
    a = golden("hope_yarn")
    lengths = {"factor": 40, "original_max_position_embeddings": 32}
    yarn = PLAIN | lengths | {"rope_type": "yarn", "beta_fast": 32, "beta_slow": 1}
    table = HopeTable(16, yarn)(torch.arange(64).unsqueeze(0), torch.float32)
    near(table.real[0, :, 0], a["out/cos"], 1e-6)
    near(table.imag[0, :, 0], a["out/sin"], 1e-6)
    with pytest.raises(ValueError, match="rope_type must be default or yarn, not 'longrope'"):
        frequencies(16, {"rope_type": "longrope"})


@pytest.fixture
def on_a_point():
    """A linear layer in float64, a point, and its time column."""
    torch.manual_seed(0)
    linear = nn.Linear(4, 3).double()
    space = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    return linear, space, torch.randn(3, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("hooked", [False, True])
def test_a_fused_layer_and_one_with_a_hook_equal_their_formula(on_a_point, hooked):
    linear, space, column = on_a_point
    seen = []
    if hooked:
        linear.register_forward_hook(lambda *given: seen.append(given))
    wanted = (space, *linear.parameters(), column)
    found = on_point(linear, space, time_of(space, 1.0), column)
    assert len(seen) == hooked
    expected = space @ linear.weight.T + linear.bias + time_of(space, 1.0) * column
    torch.testing.assert_close(found, expected)
    cotangent = torch.randn_like(found)
    gradients = [torch.autograd.grad(out, wanted, cotangent) for out in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_handwritten_gradients():
    x, y = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    K, weight = (torch.rand(3, 1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    gain = torch.tensor([1.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(time_of, (x, K))
    assert torch.autograd.gradcheck(lambda *given: residual(*given, 0.8), (x, y, weight, gain))

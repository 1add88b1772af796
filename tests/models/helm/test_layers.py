"""Layers against golden arrays, and gradients that are written by hand.

That the fast layers have values and gradients of literal forms is tested on whole models.
"""

import pytest
import torch
from torch import nn

from bench.models.helm.layers import on_point
from bench.models.helm.points import residual, time_of
from bench.models.helm.rotary import HopeTable, frequencies, rotate

# Tolerances of values and gradients.
PRECISION = {torch.float64: (1e-9, 1e-9), torch.float32: (1e-5, 1e-4)}
both = pytest.mark.parametrize("dtype", PRECISION)
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}


def leaf(tensor, dtype):
    return tensor.to(dtype, copy=True).requires_grad_()


def of_space(gradient, point):
    """A golden gradient, by space and time separately, as that by the space coordinates alone."""
    return gradient[..., 1:] + gradient[..., :1] * point[..., 1:] / point[..., :1]


@both
@pytest.mark.parametrize(("kind", "c"), [("noscale", 1.0), ("fixed", 1.0), ("learned", 1.3)])
def test_the_residual(golden, reference, near, kind, c, dtype):
    a, (values, gradients) = golden(f"lresnet_{kind}"), PRECISION[dtype]
    x, y = leaf(a["in/x"][..., 1:], dtype), leaf(a["in/y"][..., 1:], dtype)
    w = leaf(a["param/w_y"], dtype)
    fixed = torch.tensor(5.0 if kind == "fixed" else 1.0, dtype=torch.float64).log()
    log_gain = leaf(a["param/scale"] if kind == "learned" else fixed, dtype)
    out = reference.lift(residual(x, y, w, log_gain.exp(), c), c)
    near(out, a["out/y"], values)
    (out * a["cot/y"].to(dtype)).sum().backward()
    near(x.grad, of_space(a["grad/in/x"], a["in/x"]), gradients)
    near(y.grad, of_space(a["grad/in/y"], a["in/y"]), gradients)
    near(w.grad, a["grad/param/w_y"], gradients)
    if kind == "learned":
        near(log_gain.grad, a["grad/param/scale"], gradients)


def test_a_negative_residual_weight_gives_finite_numbers():
    """The sum of two points may then be space-like, which an absolute value would hide."""
    x, y = (torch.tensor([s], requires_grad=True) for s in ([3.0, 0.0], [0.0, 3.0]))
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

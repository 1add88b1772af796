"""The other variants: each is its literal definition, the authors' two are the authors' code."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.methods.hyplora import reference
from bench.methods.hyplora.variants import VARIANTS

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "hyplora_authors"

few = settings(derandomize=True, deadline=None, max_examples=25)
seeds = st.integers(0, 2**31)
curvatures = st.floats(-2, 2).map(lambda e: 10.0**e)
norms = st.floats(-6, 3).map(lambda e: 10.0**e)

TOKENS, D, M, R = 7, 24, 17, 5
NAMES = ("x", "A", "B", "K", "s")
EXACT = [(torch.float64, 1e-10), (torch.float32, 1e-5)]


def inputs(variant, seed, K, norm, dtype):
    """x, A, B, K and s that require gradients, and a gradient of the update."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    extra = VARIANTS[variant].time_columns
    x = F.normalize(normal(TOKENS, D), dim=-1) * norm
    x[::2] *= 10
    tensors = (
        x,
        normal(R, extra + D) / math.sqrt(D),
        normal(M, extra + R) / math.sqrt(R),
        torch.tensor([K]),
        torch.tensor([math.sqrt(D)]),
    )
    return [tensor.to(dtype).requires_grad_() for tensor in tensors], normal(TOKENS, M).to(dtype)


def update(variant):
    def delta(x, A, B, K, s):
        return VARIANTS[variant].delta(x, x, A, B, K, s, max_radius=12.0, scaling=1.0)

    return delta


def gradients(function, tensors, grad_y):
    y = function(*tensors)
    grads = torch.autograd.grad(y, tensors, grad_y.to(y.dtype), allow_unused=True)
    pairs = zip(tensors, grads, strict=True)
    return y.detach(), [torch.zeros_like(t) if grad is None else grad for t, grad in pairs]


def errors_against_the_reference(variant, tensors, grad_y):
    """Relative errors of value and gradients; those of K and s relative to what cancels in them."""
    y, grads = gradients(update(variant), tensors, grad_y)
    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    expected, expected_grads = gradients(getattr(reference, variant), wide, grad_y.double())
    x, _, _, K, s = (tensor.detach().double() for tensor in tensors)
    along_x = (x.norm(dim=-1) * expected_grads[0].norm(dim=-1)).sum()
    along_y = (expected.norm(dim=-1) * grad_y.double().norm(dim=-1)).sum()
    scales = {"K": (along_x + along_y) / (2 * K), "s": along_x / s}
    found = {"y": (y.double() - expected).norm() / expected.norm()}
    for name, ours, theirs in zip(NAMES, grads, expected_grads, strict=True):
        scale = scales.get(name, theirs.norm())
        found[name] = (ours.double() - theirs).norm() / scale
    return {name: float(error) for name, error in found.items()}


@pytest.mark.parametrize(("dtype", "tolerance"), EXACT)
@few
@given(seeds, curvatures, norms)
def test_boost_is_its_literal_form(dtype, tolerance, seed, K, norm):
    errors = errors_against_the_reference("boost", *inputs("boost", seed, K, norm, dtype))
    assert max(errors.values()) < tolerance, errors


@pytest.mark.parametrize(("dtype", "tolerance"), EXACT)
@few
@given(seeds, curvatures, st.floats(-3, 1).map(lambda e: 10.0**e))
def test_tangent_is_its_literal_form(dtype, tolerance, seed, K, norm):
    tensors, grad_y = inputs("tangent", seed, K, norm * math.sqrt(K), dtype)
    errors = errors_against_the_reference("tangent", tensors, grad_y)
    assert max(errors.values()) < tolerance, errors


@few
@given(seeds, norms)
def test_tangent_is_lora_of_the_rescaled_token_at_any_length(seed, norm):
    (x, A, B, K, s), _ = inputs("tangent", seed, 0.1, norm, torch.float64)
    expected = x / s @ A.mT @ B.mT
    assert (update("tangent")(x, A, B, K, s) - expected).norm() <= 1e-12 * expected.norm()


@pytest.mark.parametrize("variant", ["authors", "authors_simplified"])
@few
@given(seeds, st.floats(-2, 1).map(lambda e: 10.0**e), st.floats(-2, 1).map(lambda e: 10.0**e))
def test_the_authors_variants_are_their_literal_forms_in_float64(variant, seed, K, norm):
    tensors, grad_y = inputs(variant, seed, K, norm, torch.float64)
    errors = errors_against_the_reference(variant, tensors, grad_y)
    # dL/dK has no such bound: theta leaves the manifold, so K is more than a unit of length.
    del errors["K"]
    assert max(errors.values()) < 1e-8, errors


def test_boost_acts_on_the_time_and_rotation_does_not():
    (x, A, B, K, s), _ = inputs("boost", 0, 1.0, 3.0, torch.float64)
    A_space, B_space = A.detach().clone(), B.detach().clone()
    A_space[:, 0] = B_space[:, 0] = 0.0
    without_time = update("boost")(x, A_space, B_space, K, s)
    rotation = update("rotation")(x, A[:, 1:], B[:, 1:], K, s)
    assert torch.allclose(without_time, rotation, rtol=1e-12)
    assert not torch.allclose(update("boost")(x, A, B, K, s), rotation, rtol=1e-2)


@pytest.mark.parametrize("variant", VARIANTS)
@few
@given(seeds, curvatures, norms)
def test_at_B_zero_every_gradient_is_finite(variant, seed, K, norm):
    tensors, grad_y = inputs(variant, seed, K, norm, torch.float32)
    tensors[2] = torch.zeros_like(tensors[2]).requires_grad_()
    delta, grads = gradients(update(variant), tensors, grad_y)
    assert torch.equal(delta, torch.zeros_like(delta))
    assert all(torch.isfinite(grad).all() for grad in grads)
    assert grads[2].norm() > 0


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rms", [0.0, 100.0, 1000.0])
@pytest.mark.parametrize("scale_of_B", [0.0, 1.0])
def test_outliers_and_zero_tokens_stay_finite_in_bfloat16(variant, rms, scale_of_B):
    (x, A, B, K, s), grad_y = inputs(variant, 0, 0.1, 1.0, torch.float32)
    x = F.normalize(x.detach(), dim=-1) * rms * math.sqrt(D)
    half = [t.detach().bfloat16() for t in (x, A, B * scale_of_B)]
    tensors = [t.requires_grad_() for t in (*half, K.detach(), s.detach())]
    y, grads = gradients(update(variant), tensors, grad_y)
    assert y.dtype == torch.bfloat16
    assert torch.isfinite(y).all() and all(torch.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - {"boost"}))
def test_the_update_is_loras_times_the_gate(variant):
    (x, A, B, K, s), _ = inputs(variant, 1, 0.7, 3.0, torch.float64)
    g = VARIANTS[variant].gate(x, A, B, K, s)
    expected = g[:, None] * (x @ A.mT @ B.mT)
    assert g.shape == (TOKENS,)
    assert torch.allclose(update(variant)(x, A, B, K, s), expected, rtol=1e-12)


def test_the_gate_of_boost_is_that_of_its_space_part():
    (x, A, B, K, s), _ = inputs("boost", 1, 0.7, 3.0, torch.float64)
    with torch.no_grad():
        B[:, 0] = 0
        A[:, 0] = 0
    g = VARIANTS["boost"].gate(x, A, B, K, s)
    assert torch.allclose(g, VARIANTS["rotation"].gate(x, A[:, 1:], B[:, 1:], K, s), rtol=1e-12)


def test_the_configured_number_is_the_authors_raw_parameter():
    authors = VARIANTS["authors"]
    raw = torch.tensor([authors.raw_from_curvature(1.0)], requires_grad=True)
    K = authors.curvature_from_raw(raw)
    assert K.item() == pytest.approx(1.3133, abs=1e-4)
    (K * 1000).sum().backward()
    assert raw.grad.item() == pytest.approx(0.01)


def test_where_the_authors_root_has_no_value_ours_is_finite():
    x, A, B = torch.ones(1, D) * 0.1, torch.full((R, D), 1e-3), torch.full((M, R), 1e-3)
    k = torch.tensor([-0.5], requires_grad=True)
    y = update("authors_simplified")(x, A, B, k, torch.tensor([1.0]))
    y.sum().backward()
    assert torch.isfinite(y).all() and torch.isfinite(k.grad).all()


def cases():
    path = FIXTURES / "layers.json"
    return json.loads(path.read_text())["cases"] if path.is_file() else {}


@pytest.mark.skipif(not cases(), reason="the authors' golden arrays are not beside this checkout")
@pytest.mark.parametrize("case", cases())
def test_the_authors_layers_are_reproduced_to_float32_rounding(case):
    from safetensors.torch import load_file

    facts = cases()[case]
    arrays = load_file(FIXTURES / "layers.safetensors")
    a = {k.removeprefix(f"{case}."): v for k, v in arrays.items() if k.startswith(f"{case}.")}
    variant = VARIANTS["authors" if facts["type"] == "hyplora" else "authors_simplified"]
    x, A, B = (a[name].clone().requires_grad_() for name in ("x", "A", "B"))
    a.setdefault("norm_scale", torch.ones(1))  # the simplified form has none
    k, s = (a[name].reshape(1).clone().requires_grad_() for name in ("k", "norm_scale"))
    delta = variant.delta(
        x, x, A, B, variant.curvature_from_raw(k), s, max_radius=12.0, scaling=facts["scaling"]
    )
    y = F.linear(x, a["base_weight"]) + delta
    y.backward(a["grad_output"])

    def relative(value, expected):
        return float(((value - expected).norm() / expected.norm().clamp_min(1e-30)).detach())

    assert relative(y, a["y"]) <= 1e-5
    assert relative(delta, a["delta"]) <= 1e-4
    for name, value in (("x", x.grad), ("A", A.grad), ("B", B.grad)):
        assert relative(value, a[f"grad_{name}"]) <= 1e-5, name
    assert torch.allclose(k.grad, a["grad_k_clipped"].reshape(1), rtol=1e-5, atol=1e-5)
    if variant.learns_scale:
        bound = 1e-5 * x.norm() * a["grad_x"].norm() / s
        assert abs(s.grad - a["grad_norm_scale"]).item() <= bound.item()

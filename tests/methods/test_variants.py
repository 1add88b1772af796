"""Every variant is its literal definition; the authors' two are the authors' code."""

from __future__ import annotations

import json
import math
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from bench.config import RAW_CURVATURE
from bench.methods.hyplora import gate as gate_module
from bench.methods.hyplora import reference
from bench.methods.hyplora.variants import VARIANTS
from tests.methods.layer_inputs import (
    TOKENS,
    D,
    M,
    R,
    curvatures,
    error,
    few,
    gradients,
    inputs,
    norms,
    scalar_scales,
    seeds,
    update,
)

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "hyplora_authors"


def test_the_settings_know_the_variants_with_a_raw_curvature():
    assert set(RAW_CURVATURE) == {name for name, v in VARIANTS.items() if v.raw_is_configured}


def errors_against_the_reference(variant, tensors, grad_y):
    """Relative errors of value and gradients; those of K and s relative to what cancels in them."""
    y, grads = gradients(update(variant), tensors, grad_y)
    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    expected, expected_grads = gradients(getattr(reference, variant), wide, grad_y.double())
    x, _, _, K, s = wide
    scales = scalar_scales(x, expected_grads[0], expected, grad_y, K, s)
    errors = {"y": error(y, expected)}
    for name, ours, theirs in zip("xABKs", grads, expected_grads, strict=True):
        errors[name] = error(ours, theirs, scales.get(name))
    return errors


@pytest.mark.parametrize(
    ("dtype", "scalars", "tolerance"),
    [
        (torch.float64, torch.float64, 1e-10),
        (torch.float32, torch.float64, 1e-5),
        (torch.float32, torch.float32, 1e-5),  # as on a GPU
    ],
)
@pytest.mark.parametrize("variant", ["rotation", "boost", "tangent"])
@few
@given(seeds, curvatures, norms)
def test_the_gate_form_is_the_literal_form(variant, dtype, scalars, tolerance, seed, K, norm):
    if variant == "tangent":  # whose literal form maps to the hyperboloid and back
        norm = min(norm, 10.0) * math.sqrt(K)
    with patch.object(gate_module, "scalar_dtype", lambda x: scalars):
        errors = errors_against_the_reference(variant, *inputs(seed, K, norm, dtype, variant))
    assert max(errors.values()) < tolerance, errors


@pytest.mark.parametrize("variant", ["authors", "authors_simplified"])
@few
@given(seeds, st.floats(-2, 1).map(lambda e: 10.0**e), st.floats(-2, 1).map(lambda e: 10.0**e))
def test_the_authors_variants_are_their_literal_forms_in_float64(variant, seed, K, norm):
    errors = errors_against_the_reference(variant, *inputs(seed, K, norm, torch.float64, variant))
    # dL/dK has no such bound: theta leaves the manifold, so K is more than a unit of length
    del errors["K"]
    assert max(errors.values()) < 1e-8, errors


@few
@given(seeds, norms)
def test_tangent_at_any_length_and_rotation_at_a_large_K_are_lora_of_the_rescaled_token(seed, norm):
    (x, A, B, K, s), _ = inputs(seed, 0.1, norm, torch.float64)
    expected = x / s @ A.mT @ B.mT
    assert error(update("tangent")(x, A, B, K, s), expected) < 1e-12
    assert error(update("rotation")(x, A, B, torch.tensor([1e12]), s), expected) < 1e-6


def test_boost_acts_on_the_time_and_rotation_does_not():
    (x, A, B, K, s), _ = inputs(0, 1.0, 3.0, torch.float64, "boost")
    A_space, B_space = A.detach().clone(), B.detach().clone()
    A_space[:, 0] = B_space[:, 0] = 0.0
    rotation = update("rotation")(x, A[:, 1:], B[:, 1:], K, s)
    assert torch.allclose(update("boost")(x, A_space, B_space, K, s), rotation, rtol=1e-12)
    assert not torch.allclose(update("boost")(x, A, B, K, s), rotation, rtol=1e-2)
    found = VARIANTS["boost"].gate(x, A_space, B_space, K, s)
    gate = VARIANTS["rotation"].gate(x, A[:, 1:], B[:, 1:], K, s)
    assert torch.allclose(found, gate, rtol=1e-12)


@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - {"boost"}))
@few
@given(seeds, st.floats(0.1, 10), st.floats(0.01, 10))
def test_the_update_is_loras_times_the_gate(variant, seed, K, norm):
    (x, A, B, K_, s), _ = inputs(seed, K, norm, torch.float64, variant)
    g = VARIANTS[variant].gate(x, A, B, K_, s)
    assert g.shape == (TOKENS,)
    assert error(update(variant)(x, A, B, K_, s), g[:, None] * (x @ A.mT @ B.mT)) < 1e-12


@pytest.mark.parametrize("scale_of_A, scale_of_B", [(1.0, 0.0), (1.0, 1.0)])
@pytest.mark.parametrize(
    "variant, dtype, rms",
    [
        *((variant, torch.bfloat16, 1000) for variant in VARIANTS),
        *((variant, torch.float32, 1000) for variant in VARIANTS),
        ("rotation", torch.float16, 1),
    ],
)
def test_outliers_and_zeros_stay_finite(variant, scale_of_A, scale_of_B, dtype, rms):
    (x, A, B, K, s), grad_y = inputs(0, 0.1, 1.0, torch.float32, variant)
    x = F.normalize(x.detach(), dim=-1) * rms * math.sqrt(D)
    x[1] = 0.0
    half = [t.detach().to(dtype) for t in (x, A * scale_of_A, B * scale_of_B)]
    tensors = [t.requires_grad_() for t in (*half, K.detach(), s.detach())]
    y, grads = gradients(update(variant), tensors, grad_y)
    assert y.dtype == dtype
    assert torch.isfinite(y).all() and all(torch.isfinite(grad).all() for grad in grads)
    assert variant == "boost" or torch.equal(y[1], torch.zeros_like(y[1]))
    if scale_of_B == 0:  # as a new adapter
        assert not y.any() and grads[2].any()


def test_the_configured_number_is_the_authors_raw_parameter():
    authors = VARIANTS["authors"]
    raw = torch.tensor([1.0], requires_grad=True)
    K = authors.curvature_from_raw(raw)
    assert authors.raw_is_configured and K.item() == pytest.approx(1.3133, abs=1e-4)
    (K * 1000).sum().backward()
    assert raw.grad.item() == pytest.approx(0.01)


def test_ours_is_finite_if_the_authors_root_has_no_value():
    x, A, B = torch.ones(1, D) * 0.1, torch.full((R, D), 1e-3), torch.full((M, R), 1e-3)
    k = torch.tensor([-0.5], requires_grad=True)
    y = update("authors_simplified")(x, A, B, k, torch.tensor([1.0]))
    y.sum().backward()
    assert torch.isfinite(y).all() and torch.isfinite(k.grad).all()


def cases():
    path = FIXTURES / "layers.json"
    return json.loads(path.read_text())["cases"] if path.is_file() else {}


@pytest.mark.skipif(not cases(), reason="needs the golden arrays of ../shared/fixtures")
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
    base = F.linear(x, a["base_weight"])
    K = variant.curvature_from_raw(k)
    y = variant.update(base, x, x, A, B, K, s, max_radius=12.0, scaling=facts["scaling"])
    y.backward(a["grad_output"])

    def relative(value, expected):
        return error(value, expected, expected.norm().clamp_min(1e-30))

    assert relative(y, a["y"]) <= 1e-5
    assert relative(y - F.linear(x, a["base_weight"]), a["delta"]) <= 1e-4
    for name, value in (("x", x.grad), ("A", A.grad), ("B", B.grad)):
        assert relative(value, a[f"grad_{name}"]) <= 1e-5, name
    assert torch.allclose(k.grad, a["grad_k_clipped"].reshape(1), rtol=1e-5, atol=1e-5)
    if variant.learns_scale:
        bound = 1e-5 * x.norm() * a["grad_x"].norm() / s
        assert abs(s.grad - a["grad_norm_scale"]).item() <= bound.item()

"""The stereographic chart: an isometry of the Lorentz model, and its own formulas."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.geometry import lorentz, stereographic

few = settings(derandomize=True, deadline=None, max_examples=25)
seeds = st.integers(0, 2**31)
curvatures = st.floats(-2, 2).map(lambda e: 10.0**e)
lengths = st.floats(-6, 0.7).map(lambda e: 10.0**e)  # in units of sqrt(K)
DTYPES = {torch.float32: 1e-4, torch.float64: 1e-12}


def tangent(seed, K, length, dtype=torch.float64):
    v = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (v / v.norm(dim=-1, keepdim=True) * length * math.sqrt(K)).to(dtype)


def close(value, expected, rtol):
    value, expected = value.double(), expected.double()
    return bool((value - expected).norm() <= rtol * expected.norm())


@few
@given(seeds, curvatures, lengths)
def test_the_chart_commutes_with_the_exponential_maps(seed, K, length):
    v = tangent(seed, K, length)
    q = stereographic.expmap0(v, K)
    assert close(stereographic.from_lorentz(lorentz.expmap0(v, K), K), q, 1e-12)
    assert close(stereographic.to_lorentz(q, K)[..., 1:], lorentz.expmap0(v, K)[..., 1:], 1e-10)


@few
@given(seeds, seeds, curvatures, lengths, lengths)
def test_the_chart_is_an_isometry(seed, other, K, length, second):
    v, w = tangent(seed, K, length), tangent(other, K, second)
    on_hyperboloid = lorentz.dist(lorentz.expmap0(v, K), lorentz.expmap0(w, K), K)
    in_ball = stereographic.dist(stereographic.expmap0(v, K), stereographic.expmap0(w, K), K)
    assert close(in_ball, on_hyperboloid, 1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@few
@given(seeds, curvatures, lengths)
def test_log_undoes_exp(dtype, seed, K, length):
    v = tangent(seed, K, length, dtype)
    there = stereographic.expmap0(v, K)
    assert (there.norm(dim=-1) < stereographic.radius(K)).all()
    assert close(stereographic.logmap0(there, K), v, DTYPES[dtype])


@few
@given(seeds, curvatures, lengths)
def test_the_exponential_map_is_the_formula_with_tanh(seed, K, length):
    v = tangent(seed, K, length)
    norm = v.norm(dim=-1, keepdim=True)
    expected = 2 * math.sqrt(K) * (norm / (2 * math.sqrt(K))).tanh() * v / norm
    assert close(stereographic.expmap0(v, K), expected, 1e-12)


@few
@given(seeds, lengths)
def test_a_large_K_is_flat_space(seed, length):
    v = tangent(seed, 1.0, length)
    assert close(stereographic.expmap0(v, 1e12), v, 1e-9)
    assert close(stereographic.logmap0(v, 1e12), v, 1e-9)


@few
@given(seeds, curvatures, st.floats(-3, 0.3).map(lambda e: 10.0**e))
def test_the_rotation_in_this_chart_is_the_same_map(seed, K, length):
    """HypLoRA's low-rank map, written with the ball's maps alone."""
    from bench.methods.hyplora import reference

    generator = torch.Generator().manual_seed(seed)
    A, B = (torch.randn(shape, generator=generator).double() / 2 for shape in ((2, 5), (4, 2)))
    x = tangent(seed, K, length)
    q = stereographic.expmap0(x, K)
    for weight in (A, B):
        p = stereographic.to_lorentz(q, K)
        q = stereographic.from_lorentz(lorentz.project(p[..., 1:] @ weight.mT, K), K)
    assert close(stereographic.logmap0(q, K), reference.rotation(x, A, B, K, 1.0), 1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("length", [0.0, 1e-30, 30.0, 1e4])
def test_values_and_gradients_are_finite_at_any_length(dtype, length):
    v = torch.tensor([[0.0, length, 0.0], [0.0, 0.0, -length]], dtype=dtype, requires_grad=True)
    q = stereographic.expmap0(v, 0.5)
    total = stereographic.logmap0(q, 0.5).sum() + stereographic.dist(q[:1], q[1:], 0.5).sum()
    total.backward()
    assert q.dtype == torch.promote_types(dtype, torch.float32)
    assert torch.isfinite(total) and torch.isfinite(v.grad).all()


def test_gradients_agree_with_finite_differences():
    torch.manual_seed(0)
    v, w = (torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    K = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda v, w, K: stereographic.dist(
            stereographic.expmap0(v, K), stereographic.expmap0(w, K), K
        ),
        (v, w, K),
    )
    assert torch.autograd.gradcheck(
        lambda v, K: stereographic.logmap0(stereographic.expmap0(v, K), 2 * K), (v, K)
    )


def test_two_equal_points_have_distance_zero_and_a_gradient():
    v = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    stereographic.dist(v, v.detach(), 1.0).backward()
    assert torch.equal(v.grad, torch.zeros_like(v))


def test_a_K_that_is_not_positive_and_integers_are_refused():
    with pytest.raises(ValueError, match="positive finite"):
        stereographic.expmap0(torch.ones(2), -1.0)
    with pytest.raises(TypeError, match="floating-point"):
        stereographic.logmap0(torch.ones(2, dtype=torch.int64), 1.0)

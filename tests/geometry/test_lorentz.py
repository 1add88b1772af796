"""The Lorentz model: maps, distances, their limits and their gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.geometry.lorentz import (
    asinhc,
    dist,
    expmap0,
    geodesic,
    inner,
    logmap0,
    project,
    sinhc,
)

few = settings(derandomize=True, deadline=None, max_examples=15)
seeds = st.integers(0, 2**31)
curvatures = st.floats(-2, 2).map(lambda e: 10.0**e)
lengths = st.floats(-6, 1).map(lambda e: 10.0**e)  # in units of sqrt(K)

DTYPES = {torch.float32: 1e-5, torch.float64: 1e-12}


def tangent(seed, K, length, dtype=torch.float64, shape=(3, 2, 5)):
    """Random directions of one length in units of sqrt(K)."""
    v = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (v / v.norm(dim=-1, keepdim=True) * length * math.sqrt(K)).to(dtype)


def close(value, expected, rtol):
    value, expected = value.double(), expected.double()
    return bool(((value - expected).norm() <= rtol * expected.norm()).item())


@pytest.mark.parametrize("dtype", DTYPES)
@few
@given(seeds, curvatures, lengths)
def test_exp_lands_on_the_hyperboloid_at_the_distance_that_log_gives_back(dtype, seed, K, length):
    v = tangent(seed, K, length, dtype)
    p = expmap0(v, K)
    assert p.shape == (3, 2, 6) and p.dtype == dtype and (p[..., 0] > 0).all()
    scale = p[..., 0].double().square()  # the size of the two terms that cancel
    assert ((inner(p.double(), p.double()) + K).abs() <= DTYPES[dtype] * scale).all()
    assert close(logmap0(p, K), v, DTYPES[dtype])
    assert close(
        dist(expmap0(torch.zeros_like(v), K), p, K), v.double().norm(dim=-1), DTYPES[dtype]
    )
    p = project(v, K)
    assert close(expmap0(logmap0(p, K), K), p, DTYPES[dtype])


@few
@given(seeds, curvatures, lengths, lengths)
def test_exp_and_the_distance_are_their_definitions(seed, K, length, second):
    v = tangent(seed, K, length)
    R, norm = math.sqrt(K), v.norm(dim=-1, keepdim=True)
    expected = torch.cat([R * (norm / R).cosh(), R * (norm / R).sinh() * v / norm], dim=-1)
    assert close(expmap0(v, K), expected, 1e-13)
    p, q = project(v, K), project(tangent(~seed, K, second), K)
    expected = R * (-inner(p, q) / K).clamp_min(1).acosh()
    # arccosh loses the digits that 1 + eps^2 cannot hold: an error of 1e-16 in z^2/2
    assert torch.allclose(dist(p, q, K), expected, rtol=1e-9, atol=1e-6 * R)
    assert torch.equal(dist(p, q, K), dist(q, p, K)) and (dist(p, p, K) == 0).all()


@few
@given(seeds, curvatures, st.floats(-3, 0.5), st.floats(-9, -1))
def test_the_distance_of_near_points_keeps_its_digits(seed, K, exponent, gap):
    v = tangent(seed, K, 10.0**exponent)
    p, q = expmap0(v, K), expmap0(v * (1 + 10.0**gap), K)
    # the coordinates themselves are rounded: 1e-16 of their length
    assert close(dist(p, q, K), v.norm(dim=-1) * 10.0**gap, 1e-14 / 10.0**gap + 1e-12)


def test_the_maps_are_the_identity_to_first_order_at_the_origin():
    zero = torch.zeros(4, dtype=torch.float64)
    exp = torch.autograd.functional.jacobian(lambda v: expmap0(v, 0.3), zero)
    log = torch.autograd.functional.jacobian(lambda v: logmap0(project(v, 0.3), 0.3), zero)
    assert torch.equal(exp, torch.cat([torch.zeros(1, 4), torch.eye(4)]).double())
    assert torch.equal(log, torch.eye(4, dtype=torch.float64))


def test_the_gradient_of_the_distance_points_away_at_the_origin_and_is_zero_at_equal_points():
    v = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    q = expmap0(torch.tensor([0.3, 0.4, 0.0], dtype=torch.float64), 0.5)
    dist(expmap0(v, 0.5), q, 0.5).backward()
    assert torch.allclose(v.grad, torch.tensor([-0.6, -0.8, 0.0], dtype=torch.float64))
    v = torch.randn(5, 3, requires_grad=True)
    dist(expmap0(v, 2.0), expmap0(v.detach(), 2.0), 2.0).sum().backward()
    assert torch.equal(v.grad, torch.zeros_like(v))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("length", [0.0, 1e-30, 30.0, 1e4])
def test_values_and_gradients_are_finite_at_any_length(dtype, length):
    v = torch.tensor([[0.0, length, 0.0], [0.0, 0.0, -length]], dtype=dtype, requires_grad=True)
    p = expmap0(v, 0.5)
    total = logmap0(p, 0.5).sum() + dist(p[:1], p[1:], 0.5).sum() + inner(p, p).sum()
    total.backward()
    assert torch.isfinite(total) and torch.isfinite(p).all() and torch.isfinite(v.grad).all()


def test_gradients_agree_with_finite_differences():
    torch.manual_seed(0)
    v, w = (torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    K = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda v, w, K: dist(expmap0(v, K), expmap0(w, K), K), (v, w, K)
    )
    assert torch.autograd.gradcheck(lambda v, K: logmap0(project(v, K), 2 * K), (v, K))


@few
@given(st.floats(1e-12, 600))
def test_sinhc_and_asinhc_are_their_formulas(z2):
    z, x = math.sqrt(z2), torch.tensor([z2, 0.0], dtype=torch.float64)
    assert sinhc(x).tolist() == pytest.approx([math.sinh(z) / z, 1], rel=1e-14)
    assert asinhc(x).tolist() == pytest.approx([math.asinh(z) / z, 1], rel=1e-14)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-11)])
@few
@given(st.just(0.0) | st.floats(-9, math.log10(0.5)).map(lambda e: 10.0**e))
def test_the_slopes_near_zero_are_those_of_the_series(dtype, tolerance, square):
    x = torch.tensor(square, dtype=dtype, requires_grad=True)
    z2 = x.item()
    terms = range(1, 80)
    sinhc_slope = sum(n * z2 ** (n - 1) / math.factorial(2 * n + 1) for n in terms)  # 1/6 at 0
    asinhc_slope = sum(
        (-1) ** n * n * z2 ** (n - 1) * math.comb(2 * n, n) / 4**n / (2 * n + 1) for n in terms
    )
    for function, slope in ((sinhc, sinhc_slope), (asinhc, asinhc_slope)):
        (grad,) = torch.autograd.grad(function(x), x)
        assert grad.item() == pytest.approx(slope, rel=tolerance)


def test_first_and_second_derivatives_of_sinhc_and_asinhc():
    # on both sides of the change to the series, and of the limit
    x = torch.tensor([2e-4, 5e-3, 0.3, 2.0, 7.0], dtype=torch.float64, requires_grad=True)
    for function in (sinhc, asinhc, lambda z2: sinhc(z2, 1.0), lambda z2: sinhc(z2, 0.01)):
        assert torch.autograd.gradcheck(function, x, eps=1e-7)
        assert torch.autograd.gradgradcheck(function, x, eps=1e-7)


def test_beyond_its_limit_sinhc_bounds_the_length():
    z = torch.tensor([3.0, 50.0, 1e6], dtype=torch.float64)
    assert torch.allclose(z * sinhc(z.square(), 2.0), torch.full_like(z, math.sinh(2.0)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_and_returned_in_float32(dtype):
    v = tangent(0, 1.0, 0.5, dtype)
    p = expmap0(v, 1.0)
    assert torch.equal(p, expmap0(v.float(), 1.0))
    half = p.to(dtype)
    results = (project(v, 1.0), logmap0(half, 1.0), inner(v, v), dist(half, half, 1.0), sinhc(v))
    assert {result.dtype for result in results} == {torch.float32}


def test_K_may_be_a_number_or_a_tensor_for_each_point():
    v = tangent(3, 1.0, 0.8)
    K = torch.tensor([[0.5, 2.0], [1.0, 3.0], [0.1, 9.0]], dtype=torch.float64)
    p = expmap0(v, K)
    for i, j in ((0, 0), (2, 1)):
        number, point = K[i, j].item(), p[i, j]
        assert torch.allclose(point, expmap0(v[i, j], number))
        assert torch.allclose(logmap0(p, K)[i, j], logmap0(point, number))
        assert torch.allclose(dist(p, p.flip(-1), K)[i, j], dist(point, point.flip(-1), number))
    one = torch.tensor([0.5])  # a parameter of one element adds no axis to a point
    p = expmap0(torch.ones(3), one)
    assert p.shape == (4,) and dist(p, p, one).shape == ()


@pytest.mark.parametrize("K", [0, -1.0, math.nan, math.inf])
def test_a_K_that_is_not_positive_and_integers_are_refused(K):
    with pytest.raises(ValueError, match="positive"):
        expmap0(torch.ones(3), K)
    with pytest.raises(TypeError, match="floating-point"):
        project(torch.ones(3, dtype=torch.long), 1.0)


@few
@given(seeds, curvatures, st.floats(-6, 0.5).map(lambda e: 10.0**e), st.floats(0, 1))
def test_a_point_of_a_geodesic_divides_the_distance(seed, K, length, t):
    p, q = (expmap0(tangent(seed + i, K, length), K) for i in (0, 1))
    between, whole = geodesic(p, q, t, K), dist(p, q, K)
    assert close(dist(p, between, K), t * whole, 1e-8) or t * length < 1e-8
    assert close(dist(between, q, K), (1 - t) * whole, 1e-8) or (1 - t) * length < 1e-8


def test_a_geodesic_takes_many_shares_at_once_and_stays_where_its_ends_meet():
    p, q = (expmap0(tangent(i, 2.0, 1.0, shape=(4, 1, 2)), 2.0) for i in (0, 1))
    path = geodesic(p, q, torch.linspace(0, 1, 5), 2.0)
    assert path.shape == (4, 5, 3)
    assert close(path[:, 0], p[:, 0], 1e-12) and close(path[:, -1], q[:, 0], 1e-12)
    assert close(geodesic(p, p, 0.3, 2.0), p, 1e-12)

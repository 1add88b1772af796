"""The stereographic chart is an isometry of the Lorentz model."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.geometry import lorentz
from bench.geometry.stereographic import from_lorentz, radius

few = settings(derandomize=True, deadline=None, max_examples=15)
seeds = st.integers(0, 2**31)
curvatures = st.floats(-2, 2).map(lambda e: 10.0**e)
lengths = st.floats(-3, 0.5).map(lambda e: 10.0**e)  # in units of sqrt(K)


def tangent(seed, K, length):
    v = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return v / v.norm(dim=-1, keepdim=True) * length * math.sqrt(K)


def to_lorentz(q, K):
    """The inverse chart."""
    inside = 1 - q.square().sum(-1, keepdim=True) / (4 * K)
    return lorentz.project(q / inside.clamp_min(torch.finfo(q.dtype).eps), K)


# The formulas of the ball of radius 2 sqrt(K), from the literature on the unit ball.


def expmap0(v, K):
    norm, R = v.norm(dim=-1, keepdim=True), radius(K)
    return R * (norm / R).tanh() * v / norm


def dist(p, q, K):
    p, q = p / radius(K), q / radius(K)
    outside = (1 - p.square().sum(-1)) * (1 - q.square().sum(-1))
    return math.sqrt(K) * (1 + 2 * (p - q).square().sum(-1) / outside).acosh()


def close(value, expected, rtol):
    return bool((value - expected).norm() <= rtol * expected.norm())


@few
@given(seeds, curvatures, lengths, lengths)
def test_the_chart_commutes_with_the_maps_and_keeps_distances(seed, K, length, second):
    v, w = tangent(seed, K, length), tangent(~seed, K, second)
    p, other = lorentz.expmap0(v, K), lorentz.expmap0(w, K)
    q = from_lorentz(p, K)
    assert (q.norm(dim=-1) < radius(K)).all()
    assert close(q, expmap0(v, K), 1e-12)
    assert close(to_lorentz(q, K), p, 1e-10)
    assert close(dist(q, from_lorentz(other, K), K), lorentz.dist(p, other, K), 1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_are_finite_in_low_precision(dtype):
    v = torch.tensor([[0.0, 0.0], [0.0, 1e-30], [30.0, 0.0]], dtype=dtype, requires_grad=True)
    q = from_lorentz(lorentz.expmap0(v, 0.5), 0.5)
    to_lorentz(q, 0.5).sum().backward()
    assert q.dtype == torch.float32 and torch.isfinite(q).all() and torch.isfinite(v.grad).all()

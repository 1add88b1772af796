"""The Lorentz (hyperboloid) model of hyperbolic space.

A point is a tensor ``(..., n + 1)``, time first, with ``<p, p> = -K`` and ``p_t > 0``, where ``<p,
q> = -p_t q_t + p_s . q_s`` (arXiv 2410.04010, eq. 1). ``K`` is the number that the paper and the
configuration call ``curvature``: the sectional curvature is ``-1/K``, the radius ``sqrt(K)``, the
origin ``(sqrt(K), 0, ..., 0)``. A tangent vector v at the origin is given by its n space
coordinates.

Leading shapes broadcast; ``K`` is a positive number, or a tensor that is a scalar or broadcasts
with them. float16 and bfloat16 are computed *and returned* in float32, since a point rounded to 8
bits is not on the hyperboloid. Gradients at the origin are finite. TypeError: a tensor is not
floating-point. ValueError: a number K is not positive and finite.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bench.geometry.inputs import column, curvature, floating, root

# Replaces a norm of 0 in denominators. Its reciprocal and its square root are finite in float32, so
# neither a value nor a gradient overflows.
_TINY = 1e-30

# Below these squared arguments the derivatives of sinhc and asinhc use their series: the closed
# forms cancel. The relative error is below 1e-5 in float32 and 1e-12 in float64 on either side.
_SERIES_BELOW = {torch.float32: 6e-2, torch.float64: 1e-3}
_TERMS = range(1, 6)
# sinh(z)/z = sum z^2n / (2n+1)!  and  arcsinh(z)/z = sum (-1)^n C(2n, n) z^2n / (4^n (2n+1)),
# differentiated with respect to z^2, highest power first.
_SINHC_SLOPE = [n / math.factorial(2 * n + 1) for n in reversed(_TERMS)]
_ASINHC_SLOPE = [
    (-1) ** n * n * math.comb(2 * n, n) / (4**n * (2 * n + 1)) for n in reversed(_TERMS)
]


def _horner(x: Tensor, coefficients: list[float]) -> Tensor:
    total = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        total = total * x + coefficient
    return total


class _Sinhc(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z2: Tensor, limit: float) -> Tensor:
        # The quotient is accurate for the smallest z; only the derivative needs a series.
        z = z2.clamp_min(_TINY).sqrt()
        return z.clamp_max(limit).sinh() / z

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        z2, ctx.limit = inputs
        ctx.save_for_backward(z2, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        z2, value = ctx.saved_tensors
        threshold, inside = _SERIES_BELOW[z2.dtype], z2 <= ctx.limit**2
        safe = torch.where(inside, z2.clamp_min(threshold), z2)
        # beyond the limit the numerator is constant: only 1/z has a derivative
        top = torch.where(inside, safe.sqrt().clamp_max(ctx.limit).cosh(), 0.0)
        near = _horner(z2.clamp(0.0, threshold), _SINHC_SLOPE)
        slope = torch.where((z2 < threshold) & inside, near, (top - value) / (2 * safe))
        return grad * slope, None


class _Asinhc(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z2: Tensor) -> Tensor:
        z = z2.clamp_min(_TINY).sqrt()
        return z.asinh() / z

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        z2, value = ctx.saved_tensors
        threshold = _SERIES_BELOW[z2.dtype]
        safe = z2.clamp_min(threshold)
        near = _horner(z2.clamp(0.0, threshold), _ASINHC_SLOPE)
        return grad * torch.where(z2 < threshold, near, ((1 + safe).rsqrt() - value) / (2 * safe))


def sinhc(z2: Tensor, limit: float = math.inf) -> Tensor:
    """``sinh(min(z, limit)) / z`` as a function of ``z**2``.

    A function of the square has a finite gradient at a zero vector, where the norm ``z`` has none.
    Negative ``z2`` count as 0, where the value is 1 and the derivative 1/6. The limit bounds the
    length of ``v * sinhc(|v|**2, limit)``; without it float32 overflows at z = 89.
    """
    return _Sinhc.apply(floating(z2), limit)


def asinhc(z2: Tensor) -> Tensor:
    """``arcsinh(z) / z`` as a function of ``z**2``.

    Negative ``z2`` count as 0, where the value is 1 and the derivative -1/6.
    """
    return _Asinhc.apply(floating(z2))


def inner(p: Tensor, q: Tensor) -> Tensor:
    """Lorentz inner product ``<p, q> = -p_t q_t + p_s . q_s``, ``(...)``."""
    p, q = floating(p), floating(q)
    return (p[..., 1:] * q[..., 1:]).sum(-1) - p[..., 0] * q[..., 0]


def project(space: Tensor, K: float | Tensor) -> Tensor:
    """The point with the space coordinates ``(..., n)``: ``p_t = sqrt(|p_s|^2 + K)``."""
    space, K = floating(space), column(curvature(K))
    time = (space.square().sum(-1, keepdim=True) + K).sqrt()
    return torch.cat([time, space.expand(*time.shape[:-1], space.shape[-1])], dim=-1)


def expmap0(v: Tensor, K: float | Tensor) -> Tensor:
    """Exponential map at the origin (arXiv 2410.04010, eq. 12).

    ``exp_o(v) = (sqrt(K) cosh(|v|/sqrt(K)), sqrt(K) sinh(|v|/sqrt(K)) v/|v|)``, with the time
    computed from the space part. Lengths are clamped to 39 ``sqrt(K)`` in float32 (350 in float64),
    beyond which the square of a coordinate overflows.
    """
    v, K = floating(v), curvature(K)
    limit = math.log(torch.finfo(v.dtype).max) / 2 - 5
    z2 = v.square().sum(-1, keepdim=True) / column(K)
    return project(sinhc(z2, limit) * v, K)


def logmap0(p: Tensor, K: float | Tensor) -> Tensor:
    """Logarithmic map at the origin, the inverse of :func:`expmap0`.

    ``log_o(p) = sqrt(K) arcsinh(|p_s|/sqrt(K)) p_s/|p_s|``. On the hyperboloid this equals the form
    with ``arccosh(p_t/sqrt(K))``, which loses all digits near the origin. Only the space
    coordinates are read.
    """
    space, K = floating(p)[..., 1:], column(curvature(K))
    return asinhc(space.square().sum(-1, keepdim=True) / K) * space


def dist(p: Tensor, q: Tensor, K: float | Tensor) -> Tensor:
    """Geodesic distance ``sqrt(K) arccosh(-<p, q>/K)``.

    That formula loses all digits between near points. The hyperbolic law of haversines does not:
    with ``rho = arcsinh(|p_s|/sqrt(K))`` and ``theta`` the angle between the space parts,

        sinh^2(d / 2 sqrt(K)) = sinh^2((rho_p - rho_q)/2) + sinh(rho_p) sinh(rho_q) sin^2(theta/2)

    Both terms are computed from ``p_s - q_s``, which is exact for near points. Only the space
    coordinates are read. If they are equal, the distance and its gradient are exactly 0.
    """
    a, b = floating(p)[..., 1:], floating(q)[..., 1:]
    K = curvature(K)
    step = a - b
    # vector_norm has gradient 0 at 0. In both terms below that drops the part that is not smooth at
    # the origin; the two parts cancel, so the gradient there is right, not only finite.
    norm_a = torch.linalg.vector_norm(a, dim=-1).clamp_min(_TINY)
    norm_b = torch.linalg.vector_norm(b, dim=-1).clamp_min(_TINY)
    difference = (step * (a + b)).sum(-1)  # |a|^2 - |b|^2

    sinh_radial = difference / (
        norm_a * (norm_b.square() + K).sqrt() + norm_b * (norm_a.square() + K).sqrt()
    )
    radial = sinh_radial.square() / (2 * (1 + (1 + sinh_radial.square()).sqrt()))

    total = norm_a + norm_b
    # step minus its part along the bisector of a and b has length total * sin(theta/2)
    unit_sum = a / norm_a.unsqueeze(-1) + b / norm_b.unsqueeze(-1)
    across = step - (difference / total / 2).unsqueeze(-1) * unit_sum
    angular = (norm_a / total) * (norm_b / total) * across.square().sum(-1) / K

    z2 = radial + angular
    apart = z2 > 0
    z = torch.where(apart, z2, 1.0).sqrt() * apart
    return 2 * root(K) * z * asinhc(z2)


def geodesic(p: Tensor, q: Tensor, t: float | Tensor, K: float | Tensor) -> Tensor:
    """The point at fraction ``t`` of the geodesic from p to q.

    ``(sinh((1 - t) d) p + sinh(t d) q) / sinh(d)`` with d the distance in units of ``sqrt(K)``. A
    tensor t broadcasts with the leading shape.
    """
    p, q, K = floating(p), floating(q), curvature(K)
    t = torch.as_tensor(t, dtype=p.dtype, device=p.device)
    d2 = dist(p, q, K).square() / K
    whole = sinhc(d2)
    from_p = (1 - t) * sinhc((1 - t).square() * d2) / whole
    from_q = t * sinhc(t.square() * d2) / whole
    return project(from_p.unsqueeze(-1) * p[..., 1:] + from_q.unsqueeze(-1) * q[..., 1:], K)

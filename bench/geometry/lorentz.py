"""The Lorentz (hyperboloid) model of hyperbolic space.

A point of the n-dimensional space is a tensor ``(..., n + 1)``, its time coordinate first, on

    <p, p> = -K,  p_t > 0,     <p, q> = -p_t q_t + p_s . q_s        (arXiv 2410.04010, eq. 1)

``K`` is the paper's number and what users call ``curvature``: the *sectional* curvature of this
hyperboloid is ``-1/K``, its radius ``sqrt(K)``, and ``K -> inf`` is flat space. The origin is
``(sqrt(K), 0, ..., 0)``; a tangent vector there is written by its n space coordinates, its time
coordinate being 0.

    >>> p = expmap0(torch.tensor([0.3, 0.4]), K=1.0)    # (3,)
    >>> logmap0(p, K=1.0)                               # tensor([0.3000, 0.4000])

Conventions of every function here:

- Tensors may have any leading shape. ``K`` is a positive number, or a tensor that is a scalar or
  broadcasts with that leading shape.
- float32 and float64 are computed and returned as such. float16 and bfloat16 are computed *and
  returned* in float32: a point rounded to 8 bits is not on the hyperboloid.
- Nothing takes the square root of 0 under autograd, so gradients at the origin exist.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bench.geometry.inputs import column, curvature, floating, root

# Stands in for a norm of 0 in a denominator. Its reciprocal and its square root are finite in
# float32, so neither a value nor a gradient overflows.
_TINY = 1e-30

# Below these squared arguments the derivatives of sinhc and asinhc come from their series, since
# the closed forms subtract numbers that agree to z^2/3. On either side the relative error stays
# under 1e-5 in float32 and 1e-12 in float64.
_SERIES_BELOW = {torch.float32: 6e-2, torch.float64: 1e-3}
_TERMS = range(1, 6)
# sinh(z)/z = sum z^2n / (2n+1)!  and  arcsinh(z)/z = sum (-1)^n C(2n, n) z^2n / (4^n (2n+1)),
# differentiated with respect to z^2, the highest power first.
_SINHC_SLOPE = [n / math.factorial(2 * n + 1) for n in reversed(_TERMS)]
_ASINHC_SLOPE = [
    (-1) ** n * n * math.comb(2 * n, n) / (4**n * (2 * n + 1)) for n in reversed(_TERMS)
]


def _horner(x: Tensor, coefficients: list[float]) -> Tensor:
    total = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        total = total * x + coefficient
    return total


def sinhc_value(z2: Tensor, limit: float = math.inf) -> Tensor:
    """:func:`sinhc` without a gradient of its own, for code that writes its own backward."""
    # The quotient is exact for the smallest z: only the derivative needs a series.
    z = z2.clamp_min(_TINY).sqrt()
    return z.clamp_max(limit).sinh() / z


def sinhc_slope(z2: Tensor, value: Tensor, limit: float = math.inf) -> Tensor:
    """Derivative of :func:`sinhc` with respect to ``z2``, given its value there."""
    threshold = _SERIES_BELOW[z2.dtype]
    inside = z2 <= limit**2
    safe = torch.where(inside, z2.clamp_min(threshold), z2)
    # beyond the limit the numerator is constant, and the derivative of 1/z is left
    top = torch.where(inside, safe.sqrt().clamp_max(limit).cosh(), 0.0)
    near = _horner(z2.clamp(0.0, threshold), _SINHC_SLOPE)
    return torch.where((z2 < threshold) & inside, near, (top - value) / (2 * safe))


def asinhc_value(z2: Tensor) -> Tensor:
    """:func:`asinhc` without a gradient of its own, for code that writes its own backward."""
    z = z2.clamp_min(_TINY).sqrt()
    return z.asinh() / z


def asinhc_slope(z2: Tensor, value: Tensor) -> Tensor:
    """Derivative of :func:`asinhc` with respect to ``z2``, given its value there."""
    threshold = _SERIES_BELOW[z2.dtype]
    safe = z2.clamp_min(threshold)
    near = _horner(z2.clamp(0.0, threshold), _ASINHC_SLOPE)
    return torch.where(z2 < threshold, near, ((1 + safe).rsqrt() - value) / (2 * safe))


class _Sinhc(torch.autograd.Function):
    generate_vmap_rule = True
    forward = staticmethod(sinhc_value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        z2, ctx.limit = inputs
        ctx.save_for_backward(z2, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        z2, value = ctx.saved_tensors
        return grad * sinhc_slope(z2, value, ctx.limit), None


class _Asinhc(torch.autograd.Function):
    generate_vmap_rule = True
    forward = staticmethod(asinhc_value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * asinhc_slope(*ctx.saved_tensors)


def sinhc(z2: Tensor, limit: float = math.inf) -> Tensor:
    """``sinh(min(z, limit)) / z`` as a function of ``z**2``.

    Taking the square keeps the gradient at a zero vector finite: ``z`` itself, a norm, has none.

    Args:
        z2: squared arguments, any shape; a negative one counts as 0.
        limit: where the argument of sinh stops growing, so that ``v * sinhc(|v|**2, limit)`` has a
            bounded length. Without it float32 overflows at z = 89.

    Returns:
        The same shape; 1 at ``z2 = 0``, where the derivative is 1/6.

    Raises:
        TypeError: ``z2`` is not floating-point.
    """
    return _Sinhc.apply(floating(z2), limit)


def asinhc(z2: Tensor) -> Tensor:
    """``arcsinh(z) / z`` as a function of ``z**2``.

    Args:
        z2: squared arguments, any shape; a negative one counts as 0.

    Returns:
        The same shape; 1 at ``z2 = 0``, where the derivative is -1/6.

    Raises:
        TypeError: ``z2`` is not floating-point.
    """
    return _Asinhc.apply(floating(z2))


def inner(p: Tensor, q: Tensor) -> Tensor:
    """Lorentz inner product ``<p, q> = -p_t q_t + p_s . q_s`` (arXiv 2410.04010, eq. 1).

    Args:
        p: ``(..., n + 1)``, time first.
        q: ``(..., n + 1)``, broadcasts with ``p``.

    Returns:
        ``(...)``.

    Raises:
        TypeError: a tensor is not floating-point.
    """
    p, q = floating(p), floating(q)
    return (p[..., 1:] * q[..., 1:]).sum(-1) - p[..., 0] * q[..., 0]


def project(space: Tensor, K: float | Tensor) -> Tensor:
    """The point of the hyperboloid with these space coordinates: ``p_t = sqrt(|p_s|^2 + K)``.

    Args:
        space: ``(..., n)``.
        K: curvature parameter.

    Returns:
        ``(..., n + 1)``, time first.

    Raises:
        TypeError: ``space`` is not floating-point.
        ValueError: ``K`` is a number and not positive.
    """
    space, K = floating(space), column(curvature(K))
    time = (space.square().sum(-1, keepdim=True) + K).sqrt()
    return torch.cat([time, space.expand(*time.shape[:-1], space.shape[-1])], dim=-1)


def expmap0(v: Tensor, K: float | Tensor) -> Tensor:
    """Exponential map at the origin (arXiv 2410.04010, eq. 12).

    ``exp_o(v) = (sqrt(K) cosh(|v|/sqrt(K)), sqrt(K) sinh(|v|/sqrt(K)) v/|v|)``; the time coordinate
    is recomputed from the space part, which is the same number and exactly on the hyperboloid.

    A vector longer than 39 ``sqrt(K)`` in float32 (350 in float64) is taken as that long: beyond it
    the square of a coordinate overflows.

    Args:
        v: ``(..., n)``, the space coordinates of a tangent vector at the origin.
        K: curvature parameter.

    Returns:
        ``(..., n + 1)``, time first.

    Raises:
        TypeError: ``v`` is not floating-point.
        ValueError: ``K`` is a number and not positive.
    """
    v, K = floating(v), curvature(K)
    limit = math.log(torch.finfo(v.dtype).max) / 2 - 5
    z2 = v.square().sum(-1, keepdim=True) / column(K)
    return project(sinhc(z2, limit) * v, K)


def logmap0(p: Tensor, K: float | Tensor) -> Tensor:
    """Logarithmic map at the origin, the inverse of :func:`expmap0`.

    ``log_o(p) = sqrt(K) arcsinh(|p_s|/sqrt(K)) p_s/|p_s|``: equal to the form with
    ``arccosh(p_t/sqrt(K))`` on the hyperboloid, but exact near the origin, where that one loses all
    digits, and without a clamp. It reads the space coordinates alone.

    Args:
        p: ``(..., n + 1)``, time first.
        K: curvature parameter.

    Returns:
        ``(..., n)``, the space coordinates of a tangent vector at the origin.

    Raises:
        TypeError: ``p`` is not floating-point.
        ValueError: ``K`` is a number and not positive.
    """
    space, K = floating(p)[..., 1:], column(curvature(K))
    return asinhc(space.square().sum(-1, keepdim=True) / K) * space


def dist(p: Tensor, q: Tensor, K: float | Tensor) -> Tensor:
    """Geodesic distance, the number ``sqrt(K) arccosh(-<p, q>/K)``.

    That formula loses every digit between near points, so the hyperbolic law of haversines is used,
    with ``rho = arcsinh(|p_s|/sqrt(K))`` and ``theta`` the angle between the space parts:

        sinh^2(d / 2 sqrt(K)) = sinh^2((rho_p - rho_q)/2) + sinh(rho_p) sinh(rho_q) sin^2(theta/2)

    Both terms are computed from the difference ``p_s - q_s``, which is exact for near points. The
    space coordinates alone are read; the points are taken to be on the hyperboloid.

    Args:
        p: ``(..., n + 1)``, time first.
        q: ``(..., n + 1)``, broadcasts with ``p``.
        K: curvature parameter.

    Returns:
        ``(...)``, not negative; exactly 0, with gradient 0, where ``p_s == q_s``.

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: ``K`` is a number and not positive.
    """
    a, b = floating(p)[..., 1:], floating(q)[..., 1:]
    K = curvature(K)
    step = a - b
    # vector_norm has gradient 0 at 0. In both terms below that drops the part that is not smooth
    # there, and the two parts cancel: the gradient at the origin is right, not only finite.
    norm_a = torch.linalg.vector_norm(a, dim=-1).clamp_min(_TINY)
    norm_b = torch.linalg.vector_norm(b, dim=-1).clamp_min(_TINY)
    difference = (step * (a + b)).sum(-1)  # |a|^2 - |b|^2

    sinh_radial = difference / (
        norm_a * (norm_b.square() + K).sqrt() + norm_b * (norm_a.square() + K).sqrt()
    )
    radial = sinh_radial.square() / (2 * (1 + (1 + sinh_radial.square()).sqrt()))

    total = norm_a + norm_b
    # step less its part along the bisector of a and b has the length total * sin(theta/2)
    unit_sum = a / norm_a.unsqueeze(-1) + b / norm_b.unsqueeze(-1)
    across = step - (difference / total / 2).unsqueeze(-1) * unit_sum
    angular = (norm_a / total) * (norm_b / total) * across.square().sum(-1) / K

    z2 = radial + angular
    apart = z2 > 0
    z = torch.where(apart, z2, 1.0).sqrt() * apart
    return 2 * root(K) * z * asinhc(z2)


def geodesic(p: Tensor, q: Tensor, t: float | Tensor, K: float | Tensor) -> Tensor:
    """The point at the share ``t`` of the way from p to q.

    With d their distance in ``sqrt(K)``, ``(sinh((1 - t) d) p + sinh(t d) q) / sinh(d)``: the plane
    through p, q and the origin of the ambient space cuts the hyperboloid in the geodesic.

    Args:
        p: ``(..., n + 1)``, time first.
        q: ``(..., n + 1)``, broadcasts with ``p``.
        t: from 0, at p, to 1, at q; a tensor broadcasts with the leading shape.
        K: curvature parameter.

    Returns:
        ``(..., n + 1)``, time first; p itself where p equals q.

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: ``K`` is a number and not positive.
    """
    p, q, K = floating(p), floating(q), curvature(K)
    t = torch.as_tensor(t, dtype=p.dtype, device=p.device)
    d2 = dist(p, q, K).square() / K
    whole = sinhc(d2)
    from_p = (1 - t) * sinhc((1 - t).square() * d2) / whole
    from_q = t * sinhc(t.square() * d2) / whole
    return project(from_p.unsqueeze(-1) * p[..., 1:] + from_q.unsqueeze(-1) * q[..., 1:], K)

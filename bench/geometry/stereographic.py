"""The stereographic (Poincaré ball) chart of the same hyperbolic space as :mod:`.lorentz`.

A point is a tensor ``(..., n)`` in the open ball of radius ``2 sqrt(K)``. It is where the line from
``(-sqrt(K), 0)`` to a point p of the hyperboloid ``<p, p> = -K`` meets the plane ``p_t = sqrt(K)``:

    q = 2 sqrt(K) p_s / (p_t + sqrt(K)),       |q| = 2 sqrt(K) tanh(d / (2 sqrt(K)))

with d the distance from the origin. At the origin the chart is the identity to first order, so
tangent vectors there are the same in both models, and for ``K -> inf`` the ball is flat space. Many
texts use the unit ball instead, which is ``q / (2 sqrt(K))``.

The chart is an isometry: a computation gives the same distances in either model. Conventions as in
:mod:`.lorentz`: K is the paper's curvature parameter (sectional curvature ``-1/K``), any leading
shape, half precision computed and returned in float32, no square root of 0 under autograd.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.geometry.inputs import column, curvature, floating, root
from bench.geometry.lorentz import asinhc, project, sinhc

_LONGEST = 30.0  # a half distance (in sqrt(K)) whose tanh is 1 in float64, too


def from_lorentz(p: Tensor, K: float | Tensor) -> Tensor:
    """The chart: from the hyperboloid to the ball.

    Args:
        p: ``(..., n + 1)``, time first. The space coordinates alone are read.
        K: curvature parameter.

    Returns:
        ``(..., n)``.

    Raises:
        TypeError: ``p`` is not floating-point.
        ValueError: ``K`` is a number and not positive.
    """
    space, K = floating(p)[..., 1:], column(curvature(K))
    time = (space.square().sum(-1, keepdim=True) + K).sqrt()
    return 2 * root(K) / (time + root(K)) * space


def to_lorentz(q: Tensor, K: float | Tensor) -> Tensor:
    """The inverse chart: from the ball to the hyperboloid.

    Args:
        q: ``(..., n)``, inside the ball of radius ``2 sqrt(K)``.
        K: curvature parameter.

    Returns:
        ``(..., n + 1)``, time first.

    Raises:
        TypeError: ``q`` is not floating-point.
        ValueError: ``K`` is a number and not positive.
    """
    q, K = floating(q), curvature(K)
    inside = 1 - q.square().sum(-1, keepdim=True) / (4 * column(K))
    return project(q / inside.clamp_min(torch.finfo(q.dtype).eps), K)


def expmap0(v: Tensor, K: float | Tensor) -> Tensor:
    """Exponential map at the origin: ``2 sqrt(K) tanh(|v| / (2 sqrt(K))) v/|v|``.

    Args:
        v: ``(..., n)``, a tangent vector at the origin.
        K: curvature parameter.

    Returns:
        ``(..., n)``, in the ball; rounding may put a long one on its boundary.

    Raises:
        TypeError: ``v`` is not floating-point.
        ValueError: ``K`` is a number and not positive.
    """
    v, K = floating(v), column(curvature(K))
    z2 = v.square().sum(-1, keepdim=True) / (4 * K)
    ratio = sinhc(z2, _LONGEST)
    # tanh(z)/z by cosh^2 = 1 + sinh^2, with both bounded where tanh is 1 to rounding
    return ratio * (1 + z2 * ratio.square()).rsqrt() * v


def logmap0(q: Tensor, K: float | Tensor) -> Tensor:
    """Logarithmic map at the origin, the inverse of :func:`expmap0`.

    ``2 sqrt(K) artanh(z) q/|q|`` with ``z = |q| / (2 sqrt(K))``, as ``arcsinh(z / sqrt(1 - z^2))``.

    Args:
        q: ``(..., n)``, inside the ball of radius ``2 sqrt(K)``.
        K: curvature parameter.

    Returns:
        ``(..., n)``, a tangent vector at the origin.

    Raises:
        TypeError: ``q`` is not floating-point.
        ValueError: ``K`` is a number and not positive.
    """
    q, K = floating(q), column(curvature(K))
    z2 = q.square().sum(-1, keepdim=True) / (4 * K)
    inside = (1 - z2).clamp_min(torch.finfo(q.dtype).eps)
    return asinhc(z2 / inside) * inside.rsqrt() * q


def dist(p: Tensor, q: Tensor, K: float | Tensor) -> Tensor:
    """Geodesic distance of two points of the ball, as on the hyperboloid.

    ``sinh^2(d / (2 sqrt(K))) = |p - q|^2 / (4 K (1 - |p|^2/4K) (1 - |q|^2/4K))``, which keeps its
    digits between near points.

    Args:
        p: ``(..., n)``, inside the ball of radius ``2 sqrt(K)``.
        q: ``(..., n)``, broadcasts with ``p``.
        K: curvature parameter.

    Returns:
        ``(...)``.

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: ``K`` is a number and not positive.
    """
    p, q, K = floating(p), floating(q), curvature(K)
    eps = torch.finfo(p.dtype).eps
    inside = [(1 - t.square().sum(-1) / (4 * K)).clamp_min(eps) for t in (p, q)]
    step = (p - q).square().sum(-1) / (4 * K * inside[0] * inside[1])
    apart = step > 0
    z = torch.where(apart, step, 1.0).sqrt() * apart
    return 2 * root(K) * z * asinhc(step)


def radius(K: float | Tensor) -> float | Tensor:
    """The radius ``2 sqrt(K)`` of the ball."""
    return 2 * root(curvature(K))

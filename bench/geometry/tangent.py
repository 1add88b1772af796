"""Maps of the Lorentz model at any point: tangent spaces, and averages.

`bench/geometry/lorentz.py` has the maps at the origin and says what a point, K and the shapes are.
Here a tangent vector at p is an ambient one, `(..., n + 1)` with its time first, and <p, v> = 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.geometry.inputs import column, curvature, floating, root
from bench.geometry.lorentz import dist, inner, project, sinhc


def time_flipped(v: Tensor) -> Tensor:
    """The vector whose ordinary product with another is the Lorentz product, `(..., n + 1)`."""
    return torch.cat([-v[..., :1], v[..., 1:]], dim=-1)


def pairwise_inner(p: Tensor, q: Tensor) -> Tensor:
    """Lorentz products of all pairs: `(..., m, n + 1)` and `(..., k, n + 1)` give `(..., m, k)`."""
    return time_flipped(floating(p)) @ floating(q).transpose(-1, -2)


def squared_distance(p: Tensor, q: Tensor) -> Tensor:
    """The squared Lorentz distance `<p - q, p - q> = -2 K - 2 <p, q>`, `(...)`; no geodesic one."""
    step = floating(p) - floating(q)
    return inner(step, step)


def to_tangent(p: Tensor, v: Tensor, K: float | Tensor) -> Tensor:
    """An ambient vector less its part across the hyperboloid: `v + <p, v> p / K`.

    Args:
        p: `(..., n + 1)`, a point.
        v: `(..., n + 1)`.
        K: curvature parameter.

    Returns:
        `(..., n + 1)`, tangent at p.
    """
    p, v, K = floating(p), floating(v), column(curvature(K))
    return v + inner(p, v).unsqueeze(-1) / K * p


def expmap(p: Tensor, v: Tensor, K: float | Tensor) -> Tensor:
    """The point that the geodesic from p with the velocity v reaches after a time of 1.

    `cosh(|v|/sqrt(K)) p + sqrt(K) sinh(|v|/sqrt(K)) v/|v|`, v taken to the tangent space first and
    the time recomputed from the space coordinates.

    Args:
        p: `(..., n + 1)`, a point.
        v: `(..., n + 1)`.
        K: curvature parameter.

    Returns:
        `(..., n + 1)`.
    """
    p, K = floating(p), curvature(K)
    v = to_tangent(p, v, K)
    z2 = (inner(v, v) / K).clamp_min(0).unsqueeze(-1)
    across = sinhc(z2)
    # cosh^2 = 1 + sinh^2
    along = (1 + z2 * across.square()).sqrt()
    return project((along * p + across * v)[..., 1:], K)


def logmap(p: Tensor, q: Tensor, K: float | Tensor) -> Tensor:
    """The velocity at p of the geodesic that is at q after a time of 1; the inverse of `expmap`.

    Args:
        p: `(..., n + 1)`, a point.
        q: `(..., n + 1)`, a point.
        K: curvature parameter.

    Returns:
        `(..., n + 1)`, tangent at p; its length is their distance.
    """
    p, q, K = floating(p), floating(q), curvature(K)
    length = dist(p, q, K)
    toward = to_tangent(p, q, K)
    return toward / (sinhc(length.square() / K)).unsqueeze(-1)


def transport(p: Tensor, q: Tensor, v: Tensor, K: float | Tensor) -> Tensor:
    """Parallel transport along the geodesic from p to q: `v + <q, v> / (K - <p, q>) (p + q)`.

    Args:
        p: `(..., n + 1)`, a point.
        q: `(..., n + 1)`, a point.
        v: `(..., n + 1)`, tangent at p.
        K: curvature parameter.

    Returns:
        `(..., n + 1)`, tangent at q, of the same length.
    """
    p, q, v, K = floating(p), floating(q), floating(v), curvature(K)
    return v + (inner(q, v) / (K - inner(p, q))).unsqueeze(-1) * (p + q)


def centroid(points: Tensor, K: float | Tensor, weights: Tensor | None = None) -> Tensor:
    """The weighted Lorentz centroid: the mean, scaled back onto the hyperboloid.

    Args:
        points: `(..., m, n + 1)`.
        K: curvature parameter.
        weights: `(..., k, m)`, not negative, each row adding up to 1; None for the plain mean.

    Returns:
        `(..., k, n + 1)`; without weights `(..., n + 1)`.
    """
    points, K = floating(points), curvature(K)
    mean = points.mean(-2) if weights is None else weights.to(points.dtype) @ points
    # A mean of points lies inside: -<a, a> >= K, and less comes of rounding.
    squared = torch.maximum(-inner(mean, mean), torch.as_tensor(K).to(mean))
    return mean * (root(K) * squared.rsqrt()).unsqueeze(-1)

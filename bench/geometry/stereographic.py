"""The stereographic (Poincaré ball) chart of the same hyperbolic space as :mod:`.lorentz`.

A point p of the hyperboloid is ``q = 2 sqrt(K) p_s / (p_t + sqrt(K))`` in the open ball of radius
``2 sqrt(K)``; at the origin the chart is the identity to first order. Texts that use the unit ball
have ``q / (2 sqrt(K))``. Conventions and errors are those of :mod:`.lorentz`.
"""

from __future__ import annotations

from torch import Tensor

from bench.geometry.inputs import column, curvature, floating, root


def from_lorentz(p: Tensor, K: float | Tensor) -> Tensor:
    """The chart, from the hyperboloid to the ball; only the space coordinates are read."""
    space, K = floating(p)[..., 1:], column(curvature(K))
    time = (space.square().sum(-1, keepdim=True) + K).sqrt()
    return 2 * root(K) / (time + root(K)) * space


def radius(K: float | Tensor) -> float | Tensor:
    """The radius ``2 sqrt(K)`` of the ball."""
    return 2 * root(curvature(K))

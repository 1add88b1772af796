"""Maps of the Lorentz model at any point; :mod:`.lorentz` has those at the origin.

A tangent vector at p is an ambient vector ``(..., n + 1)``, time first, with ``<p, v> = 0``.
Conventions and errors are those of :mod:`.lorentz`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.geometry.inputs import column, curvature, floating
from bench.geometry.lorentz import inner, project, sinhc


def time_flipped(v: Tensor) -> Tensor:
    """``(-v_t, v_s)``, whose Euclidean product with another vector is the Lorentz product."""
    return torch.cat([-v[..., :1], v[..., 1:]], dim=-1)


def to_tangent(p: Tensor, v: Tensor, K: float | Tensor) -> Tensor:
    """Project an ambient vector to the tangent space at p: ``v + <p, v> p / K``."""
    p, v, K = floating(p), floating(v), column(curvature(K))
    return v + inner(p, v).unsqueeze(-1) / K * p


def expmap(p: Tensor, v: Tensor, K: float | Tensor) -> Tensor:
    """Exponential map at p: ``cosh(|v|/sqrt(K)) p + sqrt(K) sinh(|v|/sqrt(K)) v/|v|``.

    v is projected to the tangent space first; the time is computed from the space coordinates.
    """
    p, K = floating(p), curvature(K)
    v = to_tangent(p, v, K)
    z2 = (inner(v, v) / K).clamp_min(0).unsqueeze(-1)
    sinh_part = sinhc(z2)
    cosh_part = (1 + z2 * sinh_part.square()).sqrt()
    return project((cosh_part * p + sinh_part * v)[..., 1:], K)


def transport(p: Tensor, q: Tensor, v: Tensor, K: float | Tensor) -> Tensor:
    """Parallel transport along the geodesic from p to q: ``v + <q, v> / (K - <p, q>) (p + q)``."""
    p, q, v, K = floating(p), floating(q), floating(v), curvature(K)
    return v + (inner(q, v) / (K - inner(p, q))).unsqueeze(-1) * (p + q)

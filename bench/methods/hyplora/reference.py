"""The literal definitions of HypLoRA's variants, with points on the hyperboloid, in float64.

Tests compare the fast forms with them. All have the arguments and the result of :func:`rotation`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.geometry.lorentz import expmap0, logmap0, project

Number = Tensor | float


def rotation(
    x: Tensor, A: Tensor, B: Tensor, K: Number, s: Number, max_radius: float = 12.0
) -> Tensor:
    """``log_o(LLR(exp_o(x/s)))`` with the LLR that transforms the space part (arXiv 2410.04010).

    Equations 9 (the adapter), 12 (the exponential map), 10 and 18-20 (the transformation). The norm
    scale s and the clamp of the radius are from the authors' code.

    Args:
        x: ``(..., d)``.
        A: ``(r, d)``.
        B: ``(m, r)``.
        K: curvature parameter, ``<p, p> = -K``.
        s: norm scale.
        max_radius: upper bound of a token's distance from the origin, in units of sqrt(K).

    Returns:
        ``(..., m)`` in float64, without the factor alpha/r.
    """
    x, A, B, K, s = _float64(x, A, B, K, s)
    p = expmap0(_tangent(x / s, K, max_radius), K)
    y = project(p[..., 1:] @ A.mT, K)
    z = project(y[..., 1:] @ B.mT, K)
    return logmap0(z, K)


def boost(
    x: Tensor, A: Tensor, B: Tensor, K: Number, s: Number, max_radius: float = 12.0
) -> Tensor:
    """The LLR that transforms time and space: A is ``(r, 1 + d)``, B is ``(m, 1 + r)``."""
    x, A, B, K, s = _float64(x, A, B, K, s)
    p = expmap0(_tangent(x / s, K, max_radius), K)
    y = project(p @ A.mT, K)
    z = project(y @ B.mT, K)
    return logmap0(z, K)


def tangent(
    x: Tensor, A: Tensor, B: Tensor, K: Number, s: Number, max_radius: float = 12.0
) -> Tensor:
    """The update in the tangent space, mapped to the hyperboloid and back; max_radius is unused."""
    x, A, B, K, s = _float64(x, A, B, K, s)
    return logmap0(expmap0(x / s @ A.mT @ B.mT, K), K)


def authors(
    x: Tensor, A: Tensor, B: Tensor, K: Number, s: Number, max_radius: float = 12.0
) -> Tensor:
    """The authors' public code; K is ``softplus(k) + 1e-6`` of its raw parameter k."""
    x, A, B, K, s = _float64(x, A, B, K, s)
    p_s = expmap0(_tangent(x / s, K, max_radius), K)[..., 1:]
    u = p_s @ A.mT @ B.mT
    length = torch.linalg.vector_norm(u, dim=-1, keepdim=True)
    theta = (length.square() + 1 / K).sqrt() / K.sqrt()
    near = (2 * (theta - 1).clamp_min(1e-6)).sqrt()
    a = torch.where(theta >= 1.01, theta.clamp_min(1.01).arccosh(), near)
    return K.sqrt() * a * u / length.clamp_min(1e-7)


def authors_simplified(
    x: Tensor, A: Tensor, B: Tensor, K: Number, s: Number, max_radius: float = 12.0
) -> Tensor:
    """Their stereographic form; K is their k, and s and max_radius are unused."""
    x, A, B, k, _ = _float64(x, A, B, K, s)
    q = 2 * x / (1 + k * x.square().sum(-1, keepdim=True))
    u = q @ A.mT @ B.mT
    xi = (u.square().sum(-1, keepdim=True) + k).sqrt()
    return u / (1 + k.abs().sqrt() * xi)


def _float64(*values: Tensor | float) -> tuple[Tensor, ...]:
    return tuple(torch.as_tensor(value, dtype=torch.float64) for value in values)


def _tangent(v: Tensor, K: Tensor, max_radius: float) -> Tensor:
    """v with its length clamped to ``max_radius sqrt(K)``."""
    longest = max_radius * K.sqrt()
    length = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    return v * longest / torch.maximum(length, longest)

"""The literal definition of HypLoRA, in float64: points on the hyperboloid, maps, times and all.

Short and obvious on purpose: the tests hold the fast form of ``gate.py`` against it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.geometry.lorentz import expmap0, logmap0, project


def rotation(
    x: Tensor,
    A: Tensor,
    B: Tensor,
    K: Tensor | float,
    s: Tensor | float,
    max_radius: float = 12.0,
) -> Tensor:
    """``log_o(LLR(exp_o(x/s)))`` with the LLR that transforms the space part (arXiv 2410.04010).

    Equations 9 (the adapter), 12 (the exponential map), 10 and 18-20 (the transformation). The norm
    scale s and the clamp of the radius are the authors' code's, not in the paper.

    Args:
        x: ``(..., d)``.
        A: ``(r, d)``.
        B: ``(m, r)``.
        K: curvature parameter, ``<p, p> = -K``.
        s: norm scale.
        max_radius: the largest distance from the origin that a token may have, in units of sqrt(K).

    Returns:
        ``(..., m)`` in float64, without the factor alpha/r.
    """
    x, A, B, K, s = (torch.as_tensor(t).to(torch.float64) for t in (x, A, B, K, s))

    v = x / s
    longest = max_radius * K.sqrt()
    length = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    v = v * longest / torch.maximum(length, longest)

    p = expmap0(v, K)
    y = project(p[..., 1:] @ A.mT, K)
    z = project(y[..., 1:] @ B.mT, K)
    return logmap0(z, K)

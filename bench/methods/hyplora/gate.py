"""The gate form of HypLoRA: LoRA times one scalar per token.

HypLoRA adds ``log_o(LLR(exp_o(x/s)))`` to a linear layer (arXiv 2410.04010, eq. 9). Both maps scale
a token by a scalar, and the rotation variant (eq. 10, 18-20) is linear between them. With ``h = A
x``:

    c     = sqrt(K) sinh(|x| / (s sqrt(K))) / |x|   the scalar of exp_o
    n     = c |B h| = c sqrt(h^T (B^T B) h)         from the r x r Gram matrix, not the output
    psi   = sqrt(K) arcsinh(n / sqrt(K)) / n        the scalar of log_o
    delta = B (c psi h)                             the two products of LoRA

``c psi`` is the **gate**: O(d + r^2) per token, and nothing of size (..., d) or (..., m) is stored.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from bench.geometry.lorentz import asinhc_slope, asinhc_value, sinhc, sinhc_slope, sinhc_value

FEW = 4  # up to this many tokens, gates are computed one by one on a CPU


def scalar_dtype(x: Tensor) -> torch.dtype:
    """The dtype of the per-token scalars and of the Gram matrix: float64 on a CPU, else float32.

    The Gram matrix squares the condition number of B. Along B's smallest singular direction the
    gate has an error of 3e-5 at condition 1e2 and 0.1 at 1e4 in float32, 5e-6 and 5e-4 in float64.
    Ordinary tokens are accurate to 1e-6 in float32. float64 tensors are computed in float64.
    """
    wide = torch.float64 if x.device.type == "cpu" else torch.float32
    return torch.promote_types(x.dtype, wide)


def autocasting(device: torch.device) -> bool:
    """Whether autocast is enabled for this device."""
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


def full_precision(device: torch.device) -> AbstractContextManager:
    """A context without autocast, which would round the small products to bfloat16.

    Entering autocast costs more than the products, so this is a null context if it is off.
    """
    return torch.autocast(device.type, enabled=False) if autocasting(device) else nullcontext()


def gram(B: Tensor) -> Tensor:
    """``B^T B``, ``(r, r)`` in :func:`scalar_dtype`."""
    with full_precision(B.device):
        wide = B.to(scalar_dtype(B))
        return wide.mT @ wide


def token_norm(x: Tensor) -> Tensor:
    """``|x|`` of each token, ``(..., 1)`` in float32 at least, without a copy of x in that dtype.

    The gradient at a zero token is 0.
    """
    return torch.linalg.vector_norm(
        x, dim=-1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32)
    )


def exp_factor(
    norm: Tensor, K: Tensor | float, s: Tensor | float, max_radius: float = 12.0
) -> Tensor:
    """``c = sqrt(K) sinh(|x| / (s sqrt(K))) / |x|``, the gate of a new adapter (B = 0).

    Args:
        norm: ``|x|`` of each token, any shape.
        K: curvature parameter, a number or a tensor of one element.
        s: norm scale, likewise.
        max_radius: upper bound of ``|x| / (s sqrt(K))``.
    """
    return sinhc((norm / s).square() / K, max_radius) / s


class _TokenGate(torch.autograd.Function):
    """``c psi`` with an explicit backward pass.

    With ``u = |x|^2/(s^2 K)``, ``q = h^T (B^T B) h`` and ``w = n^2/K = S^2 q/(s^2 K)`` the gate is
    ``S(u) P(w) / s``, where S is sinhc and P asinhc. As functions of squares they have finite
    gradients if B or a token is 0. One node instead of about forty saves kernel launches and a
    float32 copy of x.
    """

    @staticmethod
    def forward(ctx: Any, x, h, B, gram_B, K, s, max_radius: float) -> Tensor:
        # once, instead of in every operation with mixed dtypes
        wide_K, wide_s = K.to(gram_B.dtype), s.to(gram_B.dtype)
        value, *parts = _gate_parts(x, h, gram_B, wide_K, wide_s, max_radius)
        ctx.save_for_backward(x, h, B, gram_B, wide_K, wide_s, *parts)
        ctx.max_radius, ctx.dtypes = max_radius, (K.dtype, s.dtype)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, h, B, gram_B, K, s, S, P, u, w = ctx.saved_tensors
        dS = sinhc_slope(u, S, ctx.max_radius)
        dP = asinhc_slope(w, P)

        grad = grad / s
        by_w = grad * S * dP
        by_u = grad * torch.addcmul(P, w, dP, value=2) * dS
        grad_x = grad_h = grad_B = grad_K = grad_s = None
        twice_scale = 2 / (s * s * K)
        if ctx.needs_input_grad[0]:
            grad_x = x * (by_u * twice_scale).to(x.dtype)
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            twice_by_q = by_w * S * S * twice_scale
            with full_precision(x.device):
                wide = h.to(gram_B.dtype)
                weighted = wide * twice_by_q
                if ctx.needs_input_grad[1]:
                    grad_h = (weighted @ gram_B).to(h.dtype)
                if ctx.needs_input_grad[2]:
                    moment = weighted.flatten(0, -2).mT @ wide.flatten(0, -2)
                    grad_B = (B.to(moment.dtype) @ moment).to(B.dtype)
        if ctx.needs_input_grad[4] or ctx.needs_input_grad[5]:
            along = (u * by_u + w * by_w).sum()
            grad_K = (-along / K).to(ctx.dtypes[0])
            grad_s = (-(2 * along + (grad * S * P).sum()) / s).to(ctx.dtypes[1])
        return grad_x, grad_h, grad_B, None, grad_K, grad_s, None


def _gate_parts(
    x: Tensor, h: Tensor, gram_B: Tensor, K: Tensor, s: Tensor, max_radius: float
) -> tuple[Tensor, ...]:
    """The gate, S, P, u and w, each ``(..., 1)``."""
    with full_precision(x.device):
        wide = h.to(gram_B.dtype)
        q = ((wide @ gram_B) * wide).sum(-1, keepdim=True)
    radius = token_norm(x).to(gram_B.dtype) / s
    u = radius * radius / K
    S = sinhc_value(u, max_radius)
    c = S / s
    w = c * c * q / K
    P = asinhc_value(w)
    return c * P, S, P, u, w


def _few_gates(
    x: Tensor, h: Tensor, gram_B: Tensor, K: Tensor, s: Tensor, max_radius: float
) -> Tensor:
    """The gate of a few tokens, ``(..., 1)``, by Python's scalar functions."""
    with full_precision(x.device):
        wide = h.to(gram_B.dtype)
        q = ((wide @ gram_B) * wide).sum(-1)
    unit = float(s) * math.sqrt(float(K))
    gates = []
    for norm, square in zip(token_norm(x).flatten().tolist(), q.flatten().tolist(), strict=True):
        radius = norm / unit
        S = math.sinh(min(radius, max_radius)) / radius if radius else 1.0
        n = S * math.sqrt(max(square, 0.0)) / unit
        P = math.asinh(n) / n if n else 1.0
        gates.append(S * P / float(s))
    return torch.tensor(gates, dtype=gram_B.dtype).view(*h.shape[:-1], 1)


def _token_gate(
    x: Tensor,
    h: Tensor,
    B: Tensor,
    K: Tensor,
    s: Tensor,
    max_radius: float,
    gram_B: Tensor | None = None,
) -> Tensor:
    """``c psi`` as ``(..., 1)`` in :func:`scalar_dtype`, differentiable in x, h, B, K and s."""
    if gram_B is None:
        gram_B = gram(B.detach())
    if torch.is_grad_enabled():
        return _TokenGate.apply(x, h, B, gram_B, K, s, max_radius)
    # on a CPU a small kernel costs more than the arithmetic of a token in Python
    tokens = h.numel() // h.shape[-1]
    if tokens <= FEW and x.device.type == "cpu" and not torch.compiler.is_compiling():
        return _few_gates(x, h, gram_B, K, s, max_radius)
    K, s = K.to(gram_B.dtype), s.to(gram_B.dtype)
    return _gate_parts(x, h, gram_B, K, s, max_radius)[0]


def gate(
    x: Tensor,
    A: Tensor,
    B: Tensor,
    K: Tensor | float,
    s: Tensor | float,
    max_radius: float = 12.0,
) -> Tensor:
    """The gate ``c psi`` of each token, the factor of LoRA's update ``B A x``.

    At ``B = 0`` and for a token of norm ``s`` it is ``sqrt(K) sinh(1/sqrt(K)) / s``.

    Args:
        x: ``(..., d)``, one token per row, without dropout.
        A: ``(r, d)``.
        B: ``(m, r)``.
        K: curvature parameter (not the raw one), a number or a tensor of one element.
        s: norm scale, likewise.
        max_radius: upper bound of ``|x| / (s sqrt(K))``.

    Returns:
        ``(...)``; float32, or float64 if ``x`` is.
    """
    K, s = (
        number
        if isinstance(number, Tensor)
        else torch.tensor(number, dtype=scalar_dtype(x), device=x.device)
        for number in (K, s)
    )
    value = _token_gate(x, F.linear(x.to(A.dtype), A), B, K, s, max_radius)
    return value.squeeze(-1).to(torch.promote_types(x.dtype, torch.float32))


def rotation_delta(
    x: Tensor,
    dropped: Tensor,
    A: Tensor,
    B: Tensor,
    K: Tensor,
    s: Tensor,
    *,
    max_radius: float,
    scaling: float,
    gram_B: Tensor | None = None,
) -> Tensor:
    """``(alpha/r) B (c psi A x)``, the update of the rotation variant.

    Args:
        x: ``(..., d)``, the layer's input, of which the norms are taken.
        dropped: ``(..., d)``, ``x`` after dropout, the input of A, in the dtype of A and B.
        A: ``(r, d)``.
        B: ``(m, r)``.
        K: curvature parameter, one element.
        s: norm scale, one element.
        max_radius: upper bound of ``|x| / (s sqrt(K))``.
        scaling: ``alpha / r``, applied to the gate, which saves LoRA's pass over the output.
        gram_B: ``gram(B)``, if it is known.

    Returns:
        ``(..., m)`` in the dtype of the products.
    """
    h = F.linear(dropped, A)
    factor = _token_gate(x, h, B, K, s, max_radius, gram_B) * scaling
    return F.linear(h * factor.to(h.dtype), B)


class GramCache:
    """Caches ``B^T B`` while B is the same parameter with the same storage and version counter.

    The counter changes with optimiser steps, ``copy_`` and ``load_state_dict``, but not with writes
    through ``B.data``, so the layer also clears the cache in ``train()`` and ``eval()``.
    """

    def __init__(self) -> None:
        self._entry: tuple[Tensor, tuple[int, int], Tensor] | None = None

    def __reduce__(self):
        # copies and pickles of a model start with an empty cache
        return GramCache, ()

    def clear(self) -> None:
        """Empty the cache."""
        self._entry = None

    def get(self, B: Tensor) -> Tensor | None:
        """``gram(B)`` without a gradient, or None if it cannot be cached."""
        if (
            torch.compiler.is_compiling()
            or type(B) not in (Tensor, torch.nn.Parameter)  # a sharded B has no own storage
            or B.is_inference()  # no version counter
        ):
            return None
        key = (B.data_ptr(), B._version)
        # the entry holds B itself, so that its id and address cannot be reused by another tensor
        if self._entry is None or self._entry[0] is not B or self._entry[1] != key:
            # an inference tensor could not be used in a later pass with gradients
            with torch.inference_mode(False), torch.no_grad():
                self._entry = (B, key, gram(B))
        return self._entry[2]

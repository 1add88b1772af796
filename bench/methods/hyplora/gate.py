"""The gate form: HypLoRA is LoRA times one number per token.

HypLoRA adds ``log_o(LLR(exp_o(x/s)))`` to a linear layer (arXiv 2410.04010, eq. 9). ``exp_o`` and
``log_o`` scale a token by a number each, and between them the rotation variant (eq. 10, 18-20) is
linear in the space part, so with ``|x|`` the token's norm and ``h = A x``:

    c     = sqrt(K) sinh(|x| / (s sqrt(K))) / |x|   what exp_o does to the space part of x
    n     = c |B h| = c sqrt(h^T (B^T B) h)         by the r x r Gram matrix, not over the output
    psi   = sqrt(K) arcsinh(n / sqrt(K)) / n        what log_o does to a space part of length n
    delta = B (c psi h)                             the same two products as LoRA's

which equals the literal form of ``reference.py`` to rounding. Beyond LoRA it costs one norm of each
token, a quadratic form in r numbers and a few scalars: O(d + r^2) beside LoRA's O(r (d + m)), and
nothing of size (..., d) or (..., m) is stored. ``c psi`` is the **gate**.

Outlier tokens would overflow sinh, so the radius ``|x| / (s sqrt(K))`` is clamped to ``max_radius``
(12, as in the authors' code) in its numerator. ``K`` is the paper's: sectional curvature ``-1/K``.

``variants.py`` says how the other variants differ.
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

FEW = 4  # tokens, up to which gates are computed one by one on a processor


def scalar_dtype(x: Tensor) -> torch.dtype:
    """The dtype of the per-token scalars and of the Gram matrix, for activations on x's device.

    float64 on a CPU, where it costs nothing at this size. The Gram matrix squares the condition
    number of B: in float32 a token along B's smallest singular direction gets a gate that is wrong
    by 3e-5 at condition 1e2 and by 0.1 at 1e4, in float64 by 5e-6 and 5e-4. Elsewhere float32
    (float64 for float64 tensors), where ordinary tokens are right to 1e-6.
    """
    wide = torch.float64 if x.device.type == "cpu" else torch.float32
    return torch.promote_types(x.dtype, wide)


def autocasting(device: torch.device) -> bool:
    """Whether autocast is on for tensors of this device."""
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


def full_precision(device: torch.device) -> AbstractContextManager:
    """A context in which autocast does not round the small products to bfloat16.

    Entering one costs more than they do, so autocast is switched off only where it is on.
    """
    return torch.autocast(device.type, enabled=False) if autocasting(device) else nullcontext()


def gram(B: Tensor) -> Tensor:
    """``B^T B``.

    Args:
        B: ``(m, r)``.

    Returns:
        ``(r, r)`` in :func:`scalar_dtype`.
    """
    with full_precision(B.device):
        wide = B.to(scalar_dtype(B))
        return wide.mT @ wide


def token_norm(x: Tensor) -> Tensor:
    """``|x|`` of each token, accumulated in float32 at least, without a copy of x.

    Args:
        x: ``(..., d)``.

    Returns:
        ``(..., 1)``; float32, or float64 if ``x`` is. Its gradient at a zero token is 0.
    """
    return torch.linalg.vector_norm(
        x, dim=-1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32)
    )


def exp_factor(
    norm: Tensor, K: Tensor | float, s: Tensor | float, max_radius: float = 12.0
) -> Tensor:
    """``c = sqrt(K) sinh(|x| / (s sqrt(K))) / |x|``: what a new adapter's gate is, where B = 0.

    Args:
        norm: ``|x|`` of each token, any shape.
        K: curvature parameter, a number or a tensor of one element.
        s: norm scale, likewise.
        max_radius: where the radius ``|x| / (s sqrt(K))`` is clamped.
    """
    return sinhc((norm / s).square() / K, max_radius) / s


class _TokenGate(torch.autograd.Function):
    """``c psi`` and its derivatives by the chain rule, written out.

    With ``u = |x|^2/(s^2 K)``, ``w = n^2/K = S^2 q/(s^2 K)`` and ``q = h^T (B^T B) h`` the gate is
    ``S(u) P(w) / s``, where S is sinhc and P asinhc: functions of squares, so that no square root
    of 0 has to be differentiated where B or a token is 0. One node instead of some forty keeps the
    small kernels few, and no float32 copy of x is built for its gradient.
    """

    @staticmethod
    def forward(ctx: Any, x, h, B, gram_B, K, s, max_radius: float) -> Tensor:
        # mixed dtypes would be converted again in every operation
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
    """The gate and the S, P, u and w that it is made of, each ``(..., 1)``."""
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
    """The gate of a few tokens, ``(..., 1)``, with the scalar functions of Python."""
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
    # On a processor a small kernel costs more than the arithmetic of a token in plain Python.
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
    """The gate ``c psi`` of each token: what HypLoRA multiplies LoRA's update ``B A x`` by.

    At ``B = 0`` and for a token of norm ``s`` it is ``sqrt(K) sinh(1/sqrt(K)) / s``.

    Args:
        x: ``(..., d)``, one token per row, before any dropout.
        A: ``(r, d)``.
        B: ``(m, r)``.
        K: curvature parameter (not the raw one), a number or a tensor of one element.
        s: norm scale, likewise.
        max_radius: where the radius ``|x| / (s sqrt(K))`` is clamped.

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
        x: ``(..., d)``, the layer's input. Norms are taken of it.
        dropped: ``(..., d)``, the same after dropout; A sees this one. Its dtype, with A's and B's,
            is the dtype of the products.
        A: ``(r, d)``.
        B: ``(m, r)``.
        K: curvature parameter, one element.
        s: norm scale, one element.
        max_radius: where the radius is clamped.
        scaling: ``alpha / r``; it rides on the gate, which saves LoRA's pass over the output.
        gram_B: ``gram(B)``, where it is known already.

    Returns:
        ``(..., m)`` in the dtype of the products.
    """
    h = F.linear(dropped, A)
    factor = _token_gate(x, h, B, K, s, max_radius, gram_B) * scaling
    return F.linear(h * factor.to(h.dtype), B)


class GramCache:
    """Keeps ``B^T B`` of one B between forward passes in which B does not change.

    A kept matrix is used while B is the same parameter with the same storage and version counter.
    That sees optimiser steps, ``copy_`` and ``load_state_dict``, but not a write through
    ``B.data``, which bumps no counter: the layer also clears the cache in ``train()``, ``eval()``.
    """

    def __init__(self) -> None:
        self._entry: tuple[Tensor, tuple[int, int], Tensor] | None = None

    def __reduce__(self):
        # copies and pickles of a model start empty instead of carrying another model's B
        return GramCache, ()

    def clear(self) -> None:
        """Forget what is kept."""
        self._entry = None

    def get(self, B: Tensor) -> Tensor | None:
        """``gram(B)``, or None where it cannot be kept.

        Args:
            B: ``(m, r)``; no gradient flows to it through the result.
        """
        if (
            torch.compiler.is_compiling()
            or type(B) not in (Tensor, torch.nn.Parameter)  # a sharded B has no storage of its own
            or B.is_inference()  # and no version counter
        ):
            return None
        key = (B.data_ptr(), B._version)
        # the entry holds B itself: its id and its address cannot come back as another tensor's
        if self._entry is None or self._entry[0] is not B or self._entry[1] != key:
            # made under inference_mode it could not serve a later pass that has gradients
            with torch.inference_mode(False), torch.no_grad():
                self._entry = (B, key, gram(B))
        return self._entry[2]

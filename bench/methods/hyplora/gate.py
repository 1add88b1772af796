"""The gate form of HypLoRA: LoRA times one scalar per token.

HypLoRA adds ``log_o(LLR(exp_o(x/s)))`` to a linear layer (arXiv 2410.04010, eq. 9). ``exp_o`` and
``log_o`` scale a token by a scalar, and the rotation variant (eq. 10, 18-20) is linear in the space
part between them. With ``h = A x`` and ``rho = |x| / (s sqrt(K))``:

    c     = S / s,  S = sinh(rho) / rho              the scalar of exp_o
    n     = c |B h| / sqrt(K)                        from the r x r Gram matrix, not the output
    psi   = P = arcsinh(n) / n                       the scalar of log_o
    delta = B (c psi h)                              the two products of LoRA

which equals the literal form in ``reference.py`` up to rounding. ``c psi`` is the **gate**. It
costs O(d + r^2) per token, compared with O(r (d + m)) for LoRA, and stores nothing of size (..., d)
or (..., m).

Since sinh of an outlier token overflows, rho is clamped to ``max_radius`` (12, as in the authors'
code) inside of sinh. ``variants.py`` has the other variants.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from bench.geometry.lorentz import sinhc

FEW = 4  # up to this many tokens, gates are computed one by one on a CPU
_CHUNK = 2**17  # numbers whose norms are taken at once in float32
_TINY = 1e-15  # replaces rho and n of 0; its square is a normal float32 number


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
    """``|x|`` of each token, ``(..., 1)`` in float32 at least; the gradient at a zero token is 0.

    On a CPU ``vector_norm`` with a dtype copies all of x, so without a gradient a low-precision x
    is converted in chunks.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    small = x.numel() <= _CHUNK or torch.compiler.is_compiling()
    if dtype == x.dtype or x.device.type != "cpu" or small or torch.is_grad_enabled():
        return torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=dtype)
    rows = x.flatten(0, -2)
    norms = x.new_empty(len(rows), 1, dtype=dtype)
    buffer = x.new_empty(max(1, _CHUNK // x.shape[-1]), x.shape[-1], dtype=dtype)
    for part, out in zip(rows.split(len(buffer)), norms.split(len(buffer)), strict=True):
        wide = buffer[: len(part)].copy_(part)
        torch.linalg.vector_norm(wide, dim=-1, keepdim=True, out=out)
    return norms.view(*x.shape[:-1], 1)


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


def product_dtype(x: Tensor, A: Tensor) -> torch.dtype:
    """The dtype of the products with A and B."""
    return torch.get_autocast_dtype(x.device.type) if autocasting(x.device) else A.dtype


def _length(h: Tensor, gram_B: Tensor) -> Tensor:
    """``|B h|`` of each token, ``(..., 1)``, from the Gram matrix."""
    return ((h @ gram_B) * h).sum(-1, keepdim=True).clamp_min(0).sqrt()


def _scalars(
    norm: Tensor, length: Tensor, unit: Tensor | float, max_radius: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """rho, S, n and P from ``|x|``, ``|B h|`` and ``unit = s sqrt(K)``."""
    rho = (norm / unit).clamp_min(_TINY)
    S = rho.clamp_max(max_radius).sinh() / rho
    n = (S * length / unit).clamp_min(_TINY)
    return rho, S, n, n.asinh() / n


class _Update(torch.autograd.Function):
    """``result + scaling B (c psi h)``, in place if possible, as one node with its own backward.

    With ``T = 1/sqrt(1 + n^2)`` and ``C = cosh(rho)``, or 0 beyond the clamp, the gate
    ``g = S P / s`` has the derivatives

        dg / d ln|x|   =  (C - S) T / s           dg / d ln s = -C T / s
        dg / d ln|B h| =  S (T - P) / s           dg / d ln K = -(C T - S P) / (2 s)

    It stores what LoRA stores, the Gram matrix, and four numbers per token.
    """

    @staticmethod
    def forward(
        ctx: Any, result, x, dropped, A, B, K, s, max_radius: float, scaling: float
    ) -> Tensor:
        dtype = product_dtype(x, A)
        with full_precision(x.device):
            norm = token_norm(x)
            tokens = (x if dropped is None else dropped).to(dtype)
            h = tokens @ A.to(dtype).mT
            gram_B = gram(B)
            wide = gram_B.dtype
            wide_s, wide_K = s.to(wide), K.to(wide)
            lengths = _length(h.to(wide), gram_B)
            rho, S, n, P = _scalars(norm.to(wide), lengths, wide_s * wide_K.sqrt(), max_radius)
            factor = S * P * (scaling / wide_s)
            scaled = h * factor.to(dtype)
            in_place = _can_add_in_place(result)
            if in_place:
                ctx.mark_dirty(result)
            result = _add_product(result, scaled, B.to(dtype), in_place)
        ctx.save_for_backward(
            tokens, None if dropped is None else x, A, B, K, s, h, scaled, gram_B, rho, S, n, P
        )
        ctx.max_radius, ctx.scaling, ctx.dtypes = max_radius, scaling, (x.dtype, dtype)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tokens, x, A, B, K, s, h, scaled, gram_B, rho, S, n, P = ctx.saved_tensors
        need_x, need_dropped, need_A, need_B, need_K, need_s = ctx.needs_input_grad[1:7]
        x_dtype, dtype = ctx.dtypes
        wide = gram_B.dtype
        with full_precision(tokens.device):
            wide_s, wide_K = s.to(wide), K.to(wide)
            grad_y = grad.to(dtype)
            by_scaled = grad_y @ B.to(dtype)
            wide_h = h.to(wide)
            by_gate = (by_scaled.to(wide) * wide_h).sum(-1, keepdim=True) * (ctx.scaling / wide_s)
            T = (1 + n * n).rsqrt()
            C = torch.where(rho <= ctx.max_radius, rho.clamp_max(ctx.max_radius).cosh(), 0.0)
            unit2 = wide_s * wide_s * wide_K
            weighted = wide_h * (by_gate * (T - P) * S / (n * n) * (S * S / unit2))
            grad_x = grad_dropped = grad_A = grad_B = grad_K = grad_s = None
            if need_x or need_dropped or need_A:
                factor = S * P * (ctx.scaling / wide_s)
                by_h = torch.addcmul(weighted @ gram_B, by_scaled.to(wide), factor).to(dtype)
                along = by_gate * (C - S) * T / (rho * rho * unit2)
                if need_A:
                    grad_A = (by_h.flatten(0, -2).mT @ tokens.flatten(0, -2)).to(A.dtype)
                if x is not None:
                    grad_x = x * along.to(x_dtype)
                    grad_dropped = (by_h @ A.to(dtype)).to(x_dtype)
                elif need_x:
                    grad_x = (by_h @ A.to(dtype)).addcmul_(tokens, along.to(dtype)).to(x_dtype)
            if need_B:
                moment = (weighted.flatten(0, -2).mT @ wide_h.flatten(0, -2)).to(B.dtype)
                product = grad_y.flatten(0, -2).mT @ scaled.flatten(0, -2)
                grad_B = torch.addmm(product.to(B.dtype), B, moment)
            if need_K:
                grad_K = (by_gate * (S * P - C * T)).sum().div(2 * wide_K).to(K.dtype)
            if need_s:
                grad_s = (by_gate * C * T).sum().div(-wide_s).to(s.dtype)
        return grad, grad_x, grad_dropped, grad_A, grad_B, grad_K, grad_s, None, None


def _can_add_in_place(result: Tensor) -> bool:
    """Whether the base layer's output can be overwritten."""
    return (
        result.is_contiguous()
        and not result._is_view()  # autograd would copy it
        and not (result.is_leaf and result.requires_grad)
        and not torch.compiler.is_compiling()  # which fuses the sum
    )


def _add_product(
    result: Tensor, h: Tensor, B: Tensor, in_place: bool, scale: float = 1.0
) -> Tensor:
    """``result + scale h B^T`` in the dtype of ``result``."""
    if result.dtype != h.dtype:
        result = result if in_place else result.clone()
        return result.add_(F.linear(h, B), alpha=scale)
    rows, h = result.reshape(-1, result.shape[-1]), h.reshape(-1, h.shape[-1])
    if in_place:
        rows.addmm_(h, B.mT, alpha=scale)
        return result
    return torch.addmm(rows, h, B.mT, alpha=scale).view_as(result)


def _plain_gates(
    x: Tensor, h: Tensor, gram_B: Tensor, K: Tensor, s: Tensor, max_radius: float
) -> Tensor:
    """The gate ``(..., 1)``, in the dtype of ``gram_B``, not differentiable."""
    wide = gram_B.dtype
    s, K = s.to(wide), K.to(wide)
    _, S, _, P = _scalars(
        token_norm(x).to(wide), _length(h.to(wide), gram_B), s * K.sqrt(), max_radius
    )
    return S * P / s


@dataclass(frozen=True)
class Frozen:
    """What an update needs besides x, A and B, as long as B, K and s do not change.

    Attributes:
        gram: ``B^T B``, ``(r, r)`` in :func:`scalar_dtype`.
        root: ``(r, r)`` with ``|root h| = |B h|``: R of B's QR decomposition. Unlike the Gram
            matrix it does not square B's condition number.
        K: curvature parameter, one element.
        s: norm scale.
        unit: ``s sqrt(K)``.
    """

    gram: Tensor
    root: Tensor
    K: Tensor
    s: float
    unit: float

    def gates(self, x: Tensor, h: Tensor, max_radius: float) -> Tensor:
        """The gate ``(..., 1)``."""
        wide = self.root.dtype
        lengths = torch.linalg.vector_norm(h.to(wide) @ self.root.mT, dim=-1, keepdim=True)
        _, S, _, P = _scalars(token_norm(x).to(wide), lengths, self.unit, max_radius)
        return S * P / self.s

    def few_gates(self, x: Tensor, h: Tensor, max_radius: float) -> list[float]:
        """The gates as numbers, by Python's scalar functions.

        On a CPU a small kernel costs more than the arithmetic of a token in Python.
        """
        lengths = torch.linalg.vector_norm(h.to(self.root.dtype) @ self.root.mT, dim=-1)
        gates = []
        for norm, length in zip(
            token_norm(x).flatten().tolist(), lengths.flatten().tolist(), strict=True
        ):
            rho = max(norm / self.unit, _TINY)
            S = math.sinh(min(rho, max_radius)) / rho
            n = max(S * length / self.unit, _TINY)
            gates.append(S * math.asinh(n) / (n * self.s))
        return gates


class FrozenCache:
    """Caches :class:`Frozen` while B, K and s are the same tensors, unchanged.

    A version counter changes with optimiser steps, ``copy_`` and ``load_state_dict``, but not with
    writes through ``.data``, so the layer also clears the cache in ``train()`` and ``eval()``.
    """

    def __init__(self) -> None:
        self._entry: tuple[tuple[Tensor, ...], tuple[tuple[int, int], ...], Frozen] | None = None

    def __reduce__(self):
        # copies and pickles of a model start with an empty cache
        return FrozenCache, ()

    def clear(self) -> None:
        """Empty the cache."""
        self._entry = None

    def get(
        self, B: Tensor, raw: Tensor, s: Tensor, curvature: Callable[[Tensor], Tensor]
    ) -> Frozen | None:
        """The values of ``B (m, r)``, ``K = curvature(raw)`` and ``s``; None if not cacheable."""
        tensors = (B, raw, s)
        if torch.compiler.is_compiling() or any(
            # a sharded tensor has no own storage, an inference tensor no version counter
            type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.is_inference()
            for tensor in tensors
        ):
            return None
        key = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)
        # the entry holds the tensors, so that no other tensor can have their addresses
        if (
            self._entry is None
            or self._entry[1] != key
            or any(ours is not theirs for ours, theirs in zip(self._entry[0], tensors, strict=True))
        ):
            # an inference tensor could not be used in a later pass with gradients
            with torch.inference_mode(False), torch.no_grad(), full_precision(B.device):
                root = torch.linalg.qr(B.to(scalar_dtype(B)), mode="r").R
                K, scale = curvature(raw), s.item()
                frozen = Frozen(gram(B), root, K, scale, scale * math.sqrt(max(K.item(), 0.0)))
            self._entry = (tensors, key, frozen)
        return self._entry[2]


def rotation_update(
    result: Tensor,
    x: Tensor,
    dropped: Tensor,
    A: Tensor,
    B: Tensor,
    K: Tensor,
    s: Tensor,
    *,
    max_radius: float,
    scaling: float,
    frozen: Frozen | None = None,
) -> Tensor:
    """``result + (alpha/r) B (c psi A x)``, the rotation variant, in place if possible.

    Args:
        result: ``(..., m)``, the base layer's output.
        x: ``(..., d)``, the layer's input, of which the norms are taken.
        dropped: ``(..., d)``, ``x`` after dropout, the input of A; ``x`` itself without dropout.
        A: ``(r, d)``.
        B: ``(m, r)``.
        K: curvature parameter, one element.
        s: norm scale, one element.
        max_radius: upper bound of ``|x| / (s sqrt(K))``.
        scaling: ``alpha / r``.
        frozen: values of B, K and s, if these are known and have no gradient.

    Returns:
        ``(..., m)`` in the dtype of ``result``.
    """
    if frozen is None and torch.is_grad_enabled():
        rest = None if dropped is x else dropped
        return _Update.apply(result, x, rest, A, B, K, s, max_radius, scaling)
    dtype = product_dtype(x, A)
    with full_precision(x.device):
        h = F.linear(dropped.to(dtype), A.to(dtype))
        scale = scaling
        tokens = h.numel() // h.shape[-1]
        if frozen is None:
            h = h * (_plain_gates(x, h, gram(B), K, s, max_radius) * scaling).to(dtype)
            scale = 1.0
        elif tokens == 1 and x.device.type == "cpu":
            scale *= frozen.few_gates(x, h, max_radius)[0]
        elif tokens <= FEW and x.device.type == "cpu":
            gates = torch.tensor(frozen.few_gates(x, h, max_radius), dtype=dtype)
            h = h * gates.view(*h.shape[:-1], 1)
        else:
            h = h * frozen.gates(x, h, max_radius).to(dtype)
        return _add_product(result, h, B.to(dtype), _can_add_in_place(result), scale)


def gate(
    x: Tensor,
    A: Tensor,
    B: Tensor,
    K: Tensor | float,
    s: Tensor | float,
    max_radius: float = 12.0,
) -> Tensor:
    """The gate ``c psi`` of each token, the factor of LoRA's update ``B A x``.

    At ``B = 0`` and for a token of norm ``s`` it is ``sqrt(K) sinh(1/sqrt(K)) / s``. Not
    differentiable.

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
    wide = scalar_dtype(x)
    K, s = (torch.as_tensor(number, dtype=wide, device=x.device) for number in (K, s))
    with torch.no_grad(), full_precision(x.device):
        h = F.linear(x.to(A.dtype), A)
        value = _plain_gates(x, h, gram(B), K, s, max_radius)
    return value.squeeze(-1).to(torch.promote_types(x.dtype, torch.float32))

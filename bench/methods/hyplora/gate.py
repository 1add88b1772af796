"""The gate form of HypLoRA: LoRA times one scalar per token.

HypLoRA adds ``log_o(LLR(exp_o(x/s)))`` to a linear layer (arXiv 2410.04010, eq. 9). Both maps scale
a token by a scalar, and the rotation variant (eq. 10, 18-20) is linear between them. With ``h = A
x`` and ``rho = |x| / (|s| sqrt(K))``:

    c     = S / s,  S = sinh(rho) / rho              the scalar of exp_o
    n     = c |B h| / sqrt(K)                        from the r x r Gram matrix, not the output
    psi   = P = arcsinh(n) / n                       the scalar of log_o
    delta = B (c psi h)                              the two products of LoRA

``c psi`` is the **gate**; it takes O(d + r^2) per token. As in LoRA, A's input is the only tensor
of size (..., d) or (..., m) that is stored for the backward pass; with dropout, so is x.
Since sinh of an outlier token overflows, its argument is at most ``max_radius`` (12, as in the
authors' code). ``reference.py`` has the literal form, ``variants.py`` the other variants.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.geometry.lorentz import sinhc

_CHUNK = 2**17  # numbers whose norms are taken at once in float32
TINY = 1e-15  # replaces rho and n of 0; its square is a normal float32 number


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


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x.to(dtype)``, which takes a microsecond even where it changes nothing."""
    return x if x.dtype == dtype else x.to(dtype)


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
    whole = dtype == x.dtype or not x.is_cpu or x.numel() <= _CHUNK
    if whole or torch.compiler.is_compiling() or torch.is_grad_enabled():
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


def quadratic(h: Tensor, gram_B: Tensor) -> Tensor:
    """``|B h|^2 = h^T (B^T B) h`` of each token, ``(..., 1)``, clamped at 0 against rounding."""
    with full_precision(h.device):
        return ((h @ gram_B) * h).sum(-1, keepdim=True).clamp_min(0)


def scalars(rho: Tensor, ratio: Tensor, max_radius: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """rho, S, n and P from ``|x|`` and ``|B h|`` over ``|s| sqrt(K)``, which are overwritten."""
    rho = rho.clamp_min_(TINY)
    S = rho.clamp_max(max_radius).sinh_().div_(rho)
    n = ratio.mul_(S).clamp_min_(TINY)
    return rho, S, n, n.asinh().div_(n)


def scale_tokens(
    x: Tensor,
    h: Tensor,
    gram_B: Tensor,
    K: Tensor,
    s: Tensor,
    scaling: float,
    max_radius: float,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """``scaling g h`` with the gate ``g``, and what :func:`scale_tokens_backward` needs of it.

    Args:
        x: ``(..., d)``, whose norms are taken.
        h: ``(..., r)``, in the dtype of the products.
        gram_B: ``(r, r)``, in the dtype of the scalars.
        K: curvature parameter, one element.
        s: norm scale, one element.
        scaling: ``alpha / r``.
        max_radius: upper bound of rho inside sinh.

    Returns:
        ``(..., r)`` in the dtype of h, and a few numbers per token besides ``G h``, which has the
        size of h.
    """
    wide = gram_B.dtype
    K, s = _numbers(K, s, wide)
    wide_h = cast(h, wide)
    gram_h = wide_h @ gram_B
    length = (gram_h * wide_h).sum(-1, keepdim=True).clamp_min_(0).sqrt_()
    unit = abs(s) * K**0.5
    parts = scalars(cast(token_norm(x), wide) / unit, length.div_(unit), max_radius)
    _, S, _, P = parts
    gram_h = cast(gram_h, torch.promote_types(h.dtype, torch.float32))
    return h * cast((S * P).mul_(scaling / s), h.dtype), (*parts, gram_h)


class GateGradients(NamedTuple):
    """Gradients through :func:`scale_tokens`.

    Attributes:
        by_h: ``(..., r)`` in the dtype of h.
        along_x: ``(..., 1)``; the gradient of x is ``along_x x``.
        weighted: ``(..., r)``; that of B is ``B weighted^T h``.
        by_K: ``(1,)``; None if not needed, like by_s.
        by_s: ``(1,)``.
    """

    by_h: Tensor
    along_x: Tensor
    weighted: Tensor
    by_K: Tensor | None
    by_s: Tensor | None


def scale_tokens_backward(
    grad: Tensor,
    h: Tensor,
    gram_B: Tensor,
    K: Tensor,
    s: Tensor,
    parts: tuple[Tensor, ...],
    scaling: float,
    max_radius: float,
    needed: tuple[bool, bool],
) -> GateGradients:
    """The gradients from that of ``scaling g h``, ``grad (..., r)``.

    With ``T = 1/sqrt(1 + n^2)`` and ``C = cosh(rho)``, or 0 beyond the clamp, ``g = S P / s`` has
    the derivatives

        dg / d ln|x|   =  (C - S) T / s           dg / d ln s = -C T / s
        dg / d ln|B h| =  S (T - P) / s           dg / d ln K = -(C T - S P) / (2 s)

    ``needed`` says whether the gradients of K and s are needed; the other arguments are those of
    :func:`scale_tokens`.
    """
    wide, (rho, S, n, P, gram_h) = gram_B.dtype, parts
    K, s = _numbers(K, s, wide)
    h, scale, unit2 = cast(h, gram_h.dtype), scaling / s, s * s * K
    by_g = cast((grad * h).sum(-1, keepdim=True), wide).mul_(scale / unit2)  # and by unit2 / s
    T = (n * n).add_(1).rsqrt_()
    C = rho.clamp_max(max_radius).cosh_().mul_(rho <= max_radius)
    SP, CT, ratio = S * P, C * T, S / n
    weight = cast((T - P).mul_(S).mul_(ratio).mul_(ratio).mul_(by_g), h.dtype)
    by_K, by_s = needed
    return GateGradients(
        cast((gram_h * weight).addcmul_(grad, cast(SP * scale, h.dtype)), grad.dtype),
        C.sub_(S).mul_(T).mul_(by_g).div_(rho).div_(rho),
        h * weight,
        (by_g * (SP - CT)).sum() * (unit2 / (2 * K)) if by_K else None,
        (by_g * CT).sum() * (-unit2 / s) if by_s else None,
    )


def _numbers(K: Tensor, s: Tensor, wide: torch.dtype) -> tuple[Any, Any]:
    """K and s as Python numbers on a CPU, where operations on tensors of one element are expensive.

    On a GPU, reading them would synchronise with the device.
    """
    plain = all(type(number) in (Tensor, torch.nn.Parameter) for number in (K, s))
    if plain and K.device.type == "cpu" and not torch.compiler.is_compiling():
        return K.item(), s.item()
    return K.to(wide), s.to(wide)


def gate(
    x: Tensor,
    A: Tensor,
    B: Tensor,
    K: Tensor | float,
    s: Tensor | float,
    max_radius: float = 12.0,
) -> Tensor:
    """The gate ``c psi`` of each token, which multiplies LoRA's update ``B A x``.

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
        length, unit = quadratic(h.to(wide), gram(B)).sqrt(), s.abs() * K.sqrt()
        _, S, _, P = scalars(token_norm(x).to(wide) / unit, length / unit, max_radius)
        value = S * P / s
    return value.squeeze(-1).to(torch.promote_types(x.dtype, torch.float32))

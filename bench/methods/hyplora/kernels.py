"""Triton kernels of the gate, one program per token; see ``scale_tokens`` in gate.py."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from bench.methods.hyplora.gate import TINY, GateGradients

_BLOCK = 1024  # numbers of a token that are loaded at once
_SERIES_BELOW = tl.constexpr(6e-2)  # squared arguments below use series: closed forms cancel


@triton.jit
def _sinhc(rho):
    u = rho * rho
    series = 1 + u / 6 * (1 + u / 20 * (1 + u / 42 * (1 + u / 72)))
    grown = tl.exp(rho)
    return tl.where(u < 0.25, series, (grown - 1 / grown) / (2 * rho))


@triton.jit
def _asinhc(n):
    # log1p(z) = log(1 + z) z / ((1 + z) - 1) keeps the digits of a small z
    z = n + n * n / (1 + tl.sqrt(1 + n * n))
    one_more = 1 + z
    rounded = one_more - 1
    log1p = tl.where(rounded == 0, z, tl.log(one_more) * z / tl.where(rounded == 0, 1.0, rounded))
    return log1p / n


@triton.jit
def _row(pointer, token, columns, width):
    return tl.load(pointer + token * width + columns, columns < width, 0.0).to(tl.float32)


@triton.jit
def _product(row, pointer, columns, r):
    """The product of a row and a matrix (r, r)."""
    inside = (columns[:, None] < r) & (columns[None, :] < r)
    matrix = tl.load(pointer + columns[:, None] * r + columns[None, :], inside, 0.0)
    return tl.sum(row[:, None] * matrix, 0)


@triton.jit
def _forward(
    x, h, matrix, K, s, scaled, parts, tokens, d, r, scaling, max_radius,
    tiny: tl.constexpr, block: tl.constexpr, columns_of_h: tl.constexpr, trained: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    squares = tl.zeros((block,), tl.float32)
    for start in range(0, d, block):
        values = _row(x, token, start + tl.arange(0, block), d)
        squares += values * values
    norm = tl.sqrt(tl.sum(squares, 0))

    columns = tl.arange(0, columns_of_h)
    row = _row(h, token, columns, r)
    product = _product(row, matrix, columns, r)
    if trained:  # with the Gram matrix; else with a root of it
        length = tl.sqrt(tl.maximum(tl.sum(row * product, 0), 0.0))
    else:
        length = tl.sqrt(tl.sum(product * product, 0))

    scale = tl.load(s)
    unit = tl.abs(scale) * tl.sqrt(tl.load(K))
    rho = tl.maximum(norm / unit, tiny)
    clamped = tl.minimum(rho, max_radius)
    S = _sinhc(clamped) * (clamped / rho)
    n = tl.maximum(S * length / unit, tiny)
    P = _asinhc(n)
    if trained:
        tl.store(parts + token, rho)
        tl.store(parts + tokens + token, S)
        tl.store(parts + 2 * tokens + token, n)
        tl.store(parts + 3 * tokens + token, P)
    gated = row * (S * P * scaling / scale)
    tl.store(scaled + token * r + columns, gated, columns < r)


@triton.jit
def _backward(
    grad, h, gram, K, s, parts, by_h, weighted, numbers, tokens, r, scaling, max_radius,
    columns_of_h: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, columns_of_h)
    row, by_scaled = _row(h, token, columns, r), _row(grad, token, columns, r)
    scale, curvature = tl.load(s), tl.load(K)
    rho, S = tl.load(parts + token), tl.load(parts + tokens + token)
    n, P = tl.load(parts + 2 * tokens + token), tl.load(parts + 3 * tokens + token)

    by_g = tl.sum(by_scaled * row, 0) * scaling / scale
    unit2 = scale * scale * curvature
    w, u = n * n, rho * rho
    T = 1 / tl.sqrt(1 + w)
    # (T - P) / n^2 and (C - S) / rho^2
    series = -1 / 3 + w * (3 / 10 - w * (15 / 56 - w * (35 / 144 - w * 315 / 1408)))
    dP = tl.where(w < _SERIES_BELOW, series, (T - P) / w)
    grown = tl.exp(tl.minimum(rho, max_radius))
    inside = rho <= max_radius
    C = tl.where(inside, (grown + 1 / grown) / 2, 0.0)
    series = 1 / 3 + u * (1 / 30 + u * (1 / 840 + u / 45360))
    dS = tl.where((u < _SERIES_BELOW) & inside, series, (C - S) / u)

    heavy = row * (by_g * S * dP * (S * S / unit2))
    from_gate = _product(heavy, gram, columns, r)
    tl.store(
        by_h + token * r + columns, from_gate + by_scaled * (S * P * scaling / scale), columns < r
    )
    tl.store(weighted + token * r + columns, heavy, columns < r)
    tl.store(numbers + token, by_g * dS * T / unit2)
    tl.store(numbers + tokens + token, -by_g * (u * dS * T + w * dP * S) / (2 * curvature))
    tl.store(numbers + 2 * tokens + token, -by_g * C * T / scale)


def scale_tokens(
    x: Tensor,
    h: Tensor,
    gram_B: Tensor,
    K: Tensor,
    s: Tensor,
    scaling: float,
    max_radius: float,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """As ``gate.scale_tokens``, in float32."""
    parts = h.new_empty(4, h.numel() // h.shape[-1], dtype=torch.float32)
    return _scaled(x, h, gram_B, K, s, scaling, max_radius, parts), (parts,)


def scale_frozen(
    x: Tensor, h: Tensor, root: Tensor, K: Tensor, s: Tensor, scaling: float, max_radius: float
) -> Tensor:
    """``scaling g h`` in one launch that stores nothing for backward; ``root`` as in ``Frozen``."""
    # LAPACK's matrices are column-major, so the transpose of the root is not copied.
    return _scaled(x, h, root.mT.contiguous(), K, s, scaling, max_radius)


def _scaled(
    x: Tensor,
    h: Tensor,
    matrix: Tensor,
    K: Tensor,
    s: Tensor,
    scaling: float,
    max_radius: float,
    parts: Tensor | None = None,
) -> Tensor:
    x, h = x.contiguous(), h.contiguous()
    scaled, tokens = torch.empty_like(h), h.numel() // h.shape[-1]
    with torch.cuda.device_of(x):  # Triton launches on the current device
        _forward[(tokens,)](
            x, h, matrix, K, s, scaled, parts, tokens, x.shape[-1], h.shape[-1],
            scaling, max_radius, TINY, min(_BLOCK, triton.next_power_of_2(x.shape[-1])), _width(h),
            parts is not None,
        )  # fmt: skip
    return scaled


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
    """As ``gate.scale_tokens_backward``, in float32."""
    grad, h = grad.contiguous(), h.contiguous()
    (saved,) = parts
    tokens = saved.shape[1]
    by_h, weighted = torch.empty_like(h), torch.empty_like(h, dtype=torch.float32)
    numbers = h.new_empty(3, tokens, dtype=torch.float32)
    with torch.cuda.device_of(h):
        _backward[(tokens,)](
            grad, h, gram_B, K, s, saved, by_h, weighted, numbers, tokens, h.shape[-1], scaling,
            max_radius, _width(h),
        )  # fmt: skip
    along_x = numbers[0].view(*h.shape[:-1], 1)
    by_K, by_s = (
        numbers[row].sum() if need else None for row, need in zip((1, 2), needed, strict=True)
    )
    return GateGradients(by_h, along_x, weighted, by_K, by_s)


def _width(h: Tensor) -> int:
    """Columns of h in a program, a power of 2."""
    return triton.next_power_of_2(h.shape[-1])

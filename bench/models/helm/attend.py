"""Attention between points of the Lorentz model by scaled_dot_product_attention.

Scores are negative squared Lorentz distances over a temperature tau, of which the softmax leaves
`2/tau <q, k>`. The output is the Lorentz centroid of the values.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.models.helm.points import row_dot, time_of


class _Centroid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, space: Tensor, time: Tensor, K: float) -> Tensor:
        squared = time.square() - row_dot(space, space)
        # -<a, a> >= K for a weighted mean of points: anything less is a rounding error.
        n = squared.clamp_min(K)
        ratio = K**0.5 * n.rsqrt()
        ctx.save_for_backward(space, time, ratio, n, squared >= K)
        return torch.cat([(time * ratio).to(space.dtype), space * ratio.to(space.dtype)], dim=-1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        space, time, ratio, n, free = ctx.saved_tensors
        grad_time, grad_space = grad[..., :1].to(time.dtype), grad[..., 1:]
        radial = (row_dot(grad_space, space) + grad_time * time) * ratio / n * free
        total = torch.addcmul(grad_space * ratio.to(grad.dtype), space, radial.to(grad.dtype))
        return total, grad_time * ratio - radial * time, None


def centroid_of_mean(space: Tensor, time: Tensor, K: float) -> Tensor:
    """The Lorentz centroid for the weighted mean of points, with weights that add up to 1.

    The mean is given by its space coordinates `(..., n)` and its time `(..., 1)`, in float32 at
    least. The result is `(..., n + 1)`, time first, in the dtype of `space`.
    """
    return _Centroid.apply(space, time, K)


def _split(time: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """High and low part of a number in two numbers of half precision."""
    high = time.to(dtype)
    return high, (time - high.to(time.dtype)).to(dtype)


def _factors(q: Tensor, k: Tensor, factor: Tensor, K: float) -> tuple[Tensor, Tensor]:
    """Vectors whose dot product is the score of a query and a key: the query's time is negated."""
    q_time, k_time = time_of(q, K), time_of(k, K)
    # The mean over keys cancels in the softmax, too; without it, rounding errors are smaller.
    k_time = k_time - k_time.detach().mean(dim=-2, keepdim=True)
    if q.dtype.itemsize >= 4:
        query = torch.cat([-q_time, q], dim=-1) * factor.to(q.dtype)
        return query, torch.cat([k_time, k], dim=-1)
    # The products of times and of space coordinates nearly cancel, for which 8 bits are too few:
    # each time is the sum of two numbers, and the product of the two low parts is left out.
    scale = factor.to(q_time.dtype)
    high, low = _split(-q_time * scale, q.dtype)
    query = torch.cat([high, high, low, (q * scale).to(q.dtype)], dim=-1)
    high, low = _split(k_time, k.dtype)
    return query, torch.cat([high, low, high, k], dim=-1)


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax of scores `(batch, heads, queries, keys)`; a mask of None allows all keys."""
    if mask is not None:
        allowed = mask if mask.dtype == torch.bool else mask >= 0
        scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    temperature: Tensor,
    K: float,
    mask: Tensor | None,
    in_float32: bool = False,
) -> Tensor:
    """Attention over points given by their space coordinates.

    Args:
        q: Queries, `(batch, heads, queries, n)`.
        k: Keys, `(batch, heads, keys, n)`.
        v: Values, `(batch, heads, keys, m)`.
        temperature: tau, `(1,)`; the scores are `(2 K + 2 <q, k>) / tau`.
        K: The curvature parameter.
        mask: `(batch, 1, queries, keys)`, boolean with True for allowed keys, or added to the
            scores. None is causal, or allows all keys to a single query.
        in_float32: Whether to compute in float32 for points in half precision.

    Returns:
        `(batch, queries, heads * (m + 1))`: the heads' centroids with their times, concatenated.
    """
    dtype = q.dtype
    single = q.shape[-2] == 1
    if (in_float32 or single) and dtype.itemsize < 4:
        q, k, v = q.float(), k.float(), v.float()
    if single:
        # In decoding, concatenating times would copy all cached keys and values.
        with torch.autocast(q.device.type, enabled=False):
            scores = (q @ k.mT - time_of(q, K) * time_of(k, K).mT) * (2 / temperature)
            weights = masked_softmax(scores, mask)
            points = centroid_of_mean(weights @ v, weights @ time_of(v, K), K)
        return points.transpose(1, 2).flatten(-2).to(dtype)
    query, key = _factors(q, k, 2 / temperature, K)
    # The centroid is a difference of squares, for which a rounded time is too coarse. The mean
    # over keys is subtracted, and added back exactly, since weights add up to 1.
    v_time = time_of(v, K)
    level = v_time.detach().mean(dim=-2, keepdim=True)
    value = torch.cat([v, (v_time - level).to(v.dtype)], dim=-1)
    width = value.shape[-1]
    # Padding with zeros is cheaper than the kernel for unequal widths.
    if query.shape[-1] > width:
        value = F.pad(value, (0, query.shape[-1] - width))
    elif query.shape[-1] < width:
        query, key = (F.pad(x, (0, width - x.shape[-1])) for x in (query, key))
    with torch.autocast(q.device.type, enabled=False):  # it would round float32 to half precision
        mean = F.scaled_dot_product_attention(
            query, key, value, mask, is_causal=mask is None, scale=1
        )
    mean_time = mean[..., width - 1 : width].to(level.dtype) + level
    points = centroid_of_mean(mean[..., : width - 1], mean_time, K)
    return points.transpose(1, 2).flatten(-2).to(dtype)

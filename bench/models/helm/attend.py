"""Attention between points of the hyperboloid, as one call of scaled_dot_product_attention.

The scores are minus the squared Lorentz distances, over a temperature; their constant parts drop
out of the softmax, and `2/tau <q, k>` is an ordinary product once the query's time has changed its
sign. Values are averaged by the Lorentz centroid: an ordinary average, put back on the hyperboloid
by one number for each head and token.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.models.helm.points import row_dot, time_of


class _OnHyperboloid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, space: Tensor, time: Tensor, K: float) -> Tensor:
        squared = time.square() - row_dot(space, space)
        # A weighted mean of points has -<a, a> >= K; less comes of rounding alone.
        n = squared.clamp_min(K)
        ratio = K**0.5 * n.rsqrt()
        ctx.save_for_backward(space, time, ratio, n, squared >= K)
        return torch.cat([(time * ratio).to(space.dtype), space * ratio.to(space.dtype)], dim=-1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        space, time, ratio, n, free = ctx.saved_tensors
        for_time, for_space = grad[..., :1].to(time.dtype), grad[..., 1:]
        turn = (row_dot(for_space, space) + for_time * time) * ratio / n * free
        turned = torch.addcmul(for_space * ratio.to(grad.dtype), space, turn.to(grad.dtype))
        return turned, for_time * ratio - turn * time, None


def centroid_of_mean(space: Tensor, time: Tensor, K: float) -> Tensor:
    """The Lorentz centroid, of the ordinary weighted mean of points; weights add up to 1.

    Args:
        space: `(..., n)`, the mean's space coordinates.
        time: `(..., 1)`, its time, in float32 at least.
        K: curvature parameter.

    Returns:
        `(..., n + 1)`, time first, in the dtype of `space`.
    """
    return _OnHyperboloid.apply(space, time, K)


def _halves(time: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    high = time.to(dtype)
    return high, (time - high.to(time.dtype)).to(dtype)


def _factors(q: Tensor, k: Tensor, factor: Tensor, K: float) -> tuple[Tensor, Tensor]:
    """Vectors whose ordinary product is the score of a query and a key."""
    q_time, k_time = time_of(q, K), time_of(k, K)
    # A number that is the same for all keys drops out of the softmax as well: without their mean,
    # the times of keys are small, and so is what is lost of them by rounding.
    k_time = k_time - k_time.detach().mean(dim=-2, keepdim=True)
    if q.dtype.itemsize >= 4:
        query = torch.cat([-q_time, q], dim=-1) * factor.to(q.dtype)
        return query, torch.cat([k_time, k], dim=-1)
    # The time's share and the space's nearly cancel, and a time of 8 bits is too coarse for that:
    # it is given as two numbers, and the product of the two low ones is left out.
    scale = factor.to(q_time.dtype)
    high, low = _halves(-q_time * scale, q.dtype)
    query = torch.cat([high, high, low, (q * scale).to(q.dtype)], dim=-1)
    high, low = _halves(k_time, k.dtype)
    return query, torch.cat([high, low, high, k], dim=-1)


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Weights of scores that were written out.

    Args:
        scores: `(batch, heads, queries, keys)`.
        mask: as of `attend`, but that None forbids nothing.
    """
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

    For a single query, as in decoding, the products are written out: the keys and values of a cache
    would be copied to put their times beside them.

    Args:
        q: `(batch, heads, queries, n)`.
        k: `(batch, heads, keys, n)`.
        v: `(batch, heads, keys, m)`.
        temperature: tau, `(1,)`; the scores are `(2 K + 2 <q, k>) / tau`.
        K: curvature parameter.
        mask: boolean, True where a query may look, or added to the scores; `(batch, 1, queries,
            keys)`. None is causal, or free where there is one query.
        in_float32: compute in float32 where the points are in half precision.

    Returns:
        `(batch, queries, heads * (m + 1))`: each head's centroid with its time, heads side by side.
    """
    dtype = q.dtype
    one = q.shape[-2] == 1
    if (in_float32 or one) and dtype.itemsize < 4:
        q, k, v = q.float(), k.float(), v.float()
    if one:
        with torch.autocast(q.device.type, enabled=False):
            scores = (q @ k.mT - time_of(q, K) * time_of(k, K).mT) * (2 / temperature)
            weights = masked_softmax(scores, mask)
            points = centroid_of_mean(weights @ v, weights @ time_of(v, K), K)
        return points.transpose(1, 2).flatten(-2).to(dtype)
    query, key = _factors(q, k, 2 / temperature, K)
    # The centroid takes a difference of squares, for which a rounded time is too coarse. Weights
    # add up to 1: what is left without the mean time is small, and the mean is added back exactly.
    v_time = time_of(v, K)
    level = v_time.detach().mean(dim=-2, keepdim=True)
    value = torch.cat([v, (v_time - level).to(v.dtype)], dim=-1)
    width = value.shape[-1]
    if query.shape[-1] > width:
        # Kernels want one width; columns of zeros are cheaper than the kernel for unequal ones.
        value = F.pad(value, (0, query.shape[-1] - width))
    elif query.shape[-1] < width:
        query, key = (F.pad(x, (0, width - x.shape[-1])) for x in (query, key))
    causal = mask is None and q.shape[-2] > 1
    mean = F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal, scale=1.0)
    mean_time = mean[..., width - 1 : width].to(level.dtype) + level
    points = centroid_of_mean(mean[..., : width - 1], mean_time, K)
    return points.transpose(1, 2).flatten(-2).to(dtype)

"""Points by their space coordinates: the time coordinate, a number for each token.

The stream of a HELM keeps the space coordinates `s` alone, since the time is `sqrt(|s|^2 + K)`. In
arXiv 2505.24722 the layers are written on the whole point.

Numbers for each token are computed and returned in float32 where the stream is in half precision.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def accurate(dtype: torch.dtype) -> torch.dtype:
    """The dtype for numbers of which there is one for each token: float32 at least."""
    return torch.float32 if dtype.itemsize < 4 else dtype


def row_dot(x: Tensor, y: Tensor) -> Tensor:
    """Inner products of rows, `(..., n) -> (..., 1)`, in float32 at least."""
    dtype = accurate(x.dtype)
    return (x.to(dtype) * y.to(dtype)).sum(-1, keepdim=True)


def time_value(space: Tensor, K: float | Tensor) -> Tensor:
    """:func:`time_of` without a gradient of its own, for code that writes its own backward."""
    norm = torch.linalg.vector_norm(space, dim=-1, keepdim=True, dtype=accurate(space.dtype))
    return norm.square_().add_(K).sqrt_()


class _Time(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, space: Tensor, K: float | Tensor) -> Tensor:
        time = time_value(space, K)
        ctx.save_for_backward(space, time)
        ctx.shape_of_K = K.shape if isinstance(K, Tensor) else None
        return time

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        space, time = ctx.saved_tensors
        share = grad / time
        for_space = share.to(space.dtype) * space if ctx.needs_input_grad[0] else None
        if ctx.shape_of_K is None or not ctx.needs_input_grad[1]:
            return for_space, None
        return for_space, (share / 2).sum_to_size(ctx.shape_of_K)


def time_of(space: Tensor, K: float | Tensor) -> Tensor:
    """The time coordinate `sqrt(|s|^2 + K)`.

    Args:
        space: `(..., n)`.
        K: a number, or a tensor that broadcasts with `(..., 1)`.

    Returns:
        `(..., 1)`, in float32 at least.
    """
    # An autograd function costs as much as a few small operations, of which decoding has many.
    return _Time.apply(space, K) if torch.is_grad_enabled() else time_value(space, K)


def lift(space: Tensor, K: float | Tensor) -> Tensor:
    """The point with these space coordinates, `(..., n) -> (..., n + 1)`, in their dtype."""
    return torch.cat([time_of(space, K).to(space.dtype), space], dim=-1)

"""Points of the Lorentz model by their space coordinates `s`; the time is `sqrt(|s|^2 + K)`.

One number per token is computed and returned in float32 if the stream is in half precision.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The dtype of numbers of which there is one per token."""
    return torch.float32 if dtype.itemsize < 4 else dtype


def row_dot(x: Tensor, y: Tensor) -> Tensor:
    """Inner products of rows, `(..., n) -> (..., 1)`, in float32 at least."""
    dtype = at_least_float32(x.dtype)
    return (x.to(dtype) * y.to(dtype)).sum(-1, keepdim=True)


def time_without_grad(space: Tensor, K: float | Tensor) -> Tensor:
    """:func:`time_of` in place, for autograd functions with their own backward."""
    dtype = at_least_float32(space.dtype)
    norm = torch.linalg.vector_norm(space, dim=-1, keepdim=True, dtype=dtype)
    return norm.square_().add_(K).sqrt_()


class _Time(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, space: Tensor, K: float | Tensor) -> Tensor:
        time = time_without_grad(space, K)
        ctx.save_for_backward(space, time)
        ctx.shape_of_K = K.shape if isinstance(K, Tensor) else None
        return time

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        space, time = ctx.saved_tensors
        ratio = grad / time
        grad_space = ratio.to(space.dtype) * space if ctx.needs_input_grad[0] else None
        if ctx.shape_of_K is None or not ctx.needs_input_grad[1]:
            return grad_space, None
        return grad_space, (ratio / 2).sum_to_size(ctx.shape_of_K)


def time_of(space: Tensor, K: float | Tensor) -> Tensor:
    """The time coordinate, `(..., n) -> (..., 1)`, in float32 at least.

    Args:
        space: Space coordinates.
        K: A number, or a tensor that broadcasts with `(..., 1)`.
    """
    # In decoding, the overhead of an autograd function would matter.
    return _Time.apply(space, K) if torch.is_grad_enabled() else time_without_grad(space, K)


class SpaceRMSNorm(nn.RMSNorm):
    """`g s / sqrt(mean(s^2) + eps)`, on space coordinates `(..., n)`."""

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.RMSNorm`, in the dtype of the input."""
        # Under autocast the dtypes may differ, for which there is no fused kernel.
        weight = self.weight.to(x.dtype)
        return F.rms_norm(x, weight.shape, weight, self.eps)

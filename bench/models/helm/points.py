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
    """The time coordinate, `(..., n) -> (..., 1)`, in float32 at least; K broadcasts with it."""
    # In decoding, the overhead of an autograd function would matter.
    return _Time.apply(space, K) if torch.is_grad_enabled() else time_without_grad(space, K)


class SpaceRMSNorm(nn.RMSNorm):
    """`g s / sqrt(mean(s^2) + eps)`, on space coordinates `(..., n)`."""

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.RMSNorm`, in the dtype of the input."""
        # Under autocast the dtypes may differ, for which there is no fused kernel.
        weight = self.weight.to(x.dtype)
        return F.rms_norm(x, weight.shape, weight, self.eps)


class _Residual(torch.autograd.Function):
    """See `residual`. With p = -<x, y>, the squared length of the sum is n = K (1 + w^2) + 2 w p.

    The backward takes two inner products and two combinations per token, instead of a dozen passes
    over the stream by autograd.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, weight: Tensor, gain: Tensor, K: float) -> Tensor:
        w = weight.to(at_least_float32(x.dtype))
        x_time, y_time = time_without_grad(x, K), time_without_grad(y, K)
        p = x_time * y_time - row_dot(x, y)
        # p >= K on the hyperboloid, so that n >= K (1 + w)^2 for w >= 0. For w < 0 the sum may be
        # space-like, and the floor only keeps the result finite.
        one_more = 1 + w
        floor = (K * one_more * one_more).clamp_min(torch.finfo(w.dtype).tiny ** 0.25)
        squared = torch.addcmul(K + K * w * w, w, p, value=2)
        n = torch.maximum(squared, floor)
        gamma = n.rsqrt() * (gain.to(w.dtype) * K**0.5)
        ctx.save_for_backward(x, y, weight, gain, x_time, y_time, p, n, gamma, squared >= floor)
        ctx.K = K
        return torch.addcmul(x * gamma.to(x.dtype), y, (gamma * w).to(x.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, gain, x_time, y_time, p, n, gamma, free = ctx.saved_tensors
        w, K = weight.to(gamma.dtype), ctx.K
        along_y = row_dot(grad, y)
        q = row_dot(grad, x) + w * along_y
        cross = gamma * q * w / n * free
        dx = dy = dw = dgain = None
        if ctx.needs_input_grad[0]:
            dx = torch.addcmul(grad * gamma.to(x.dtype), y, cross.to(x.dtype))
            dx.addcmul_(x, (-cross * y_time / x_time).to(x.dtype))
        if ctx.needs_input_grad[1]:
            dy = torch.addcmul(grad * (gamma * w).to(x.dtype), x, cross.to(x.dtype))
            dy.addcmul_(y, (-cross * x_time / y_time).to(x.dtype))
        if ctx.needs_input_grad[2]:
            half_dn = torch.where(free, p + w * K, K * (1 + w))
            dw = (gamma * (along_y - q / n * half_dn)).sum_to_size(weight.shape).to(weight.dtype)
        if ctx.needs_input_grad[3]:
            dgain = (gamma * q / gain).sum_to_size(gain.shape).to(gain.dtype)
        return dx, dy, dw, dgain, None


def residual(x: Tensor, y: Tensor, weight: Tensor, gain: Tensor, K: float) -> Tensor:
    """LResNet: the sum `a = x + w y` of points, of which `gain sqrt(K / -<a, a>) a_s` is returned.

    `x` and `y` are space coordinates `(..., n)`, as is the result; `weight` and the positive `gain`
    are scalars, `(1,)`, or one number per token, `(..., 1)`; K is the curvature parameter.
    """
    return _Residual.apply(x, y, weight, gain, K)


class LorentzResidual(nn.Module):
    """A residual with a learned weight and a fixed gain."""

    def __init__(self, gain: float, K: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.gain, self.K = gain, K

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The stream `x` with a branch `y` added, `(..., n)`."""
        gain = torch.full((), self.gain, dtype=at_least_float32(x.dtype), device=x.device)
        return residual(x, y, self.weight, gain, self.K)

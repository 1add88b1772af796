"""The Lorentzian residual: a weighted sum of two points, scaled onto the hyperboloid."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.models.helm.points import at_least_float32, row_dot, time_without_grad


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

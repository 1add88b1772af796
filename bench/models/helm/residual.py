"""The Lorentzian residual: two points added, and put back on the hyperboloid."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.models.helm.points import accurate, row_dot, time_value


class _Residual(torch.autograd.Function):
    """`gamma (x + w y)` on space coordinates; see `residual`.

    With p = -<x, y>, the sum's squared length is n = K (1 + w^2) + 2 w p. Written by itself, the
    gradient takes two inner products a token and two combinations, where the recorded forward pass
    takes a dozen passes over the stream.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, weight: Tensor, gain: Tensor, K: float) -> Tensor:
        w = weight.to(accurate(x.dtype))
        x_time, y_time = time_value(x, K), time_value(y, K)
        p = x_time * y_time - row_dot(x, y)
        # p >= K on the hyperboloid, so that for w >= 0 this bound is exact. A negative w can make
        # the sum space-like, which has no point; there it holds the gate finite.
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
        turn = gamma * q * w / n * free
        first = gamma.to(x.dtype)
        dx = dy = dw = dgain = None
        if ctx.needs_input_grad[0]:
            dx = torch.addcmul(grad * first, y, turn.to(x.dtype))
            dx.addcmul_(x, (-turn * y_time / x_time).to(x.dtype))
        if ctx.needs_input_grad[1]:
            dy = torch.addcmul(grad * (gamma * w).to(x.dtype), x, turn.to(x.dtype))
            dy.addcmul_(y, (-turn * x_time / y_time).to(x.dtype))
        if ctx.needs_input_grad[2]:
            fall = torch.where(free, p + w * K, K * (1 + w))
            dw = (gamma * (along_y - q / n * fall)).sum_to_size(weight.shape).to(weight.dtype)
        if ctx.needs_input_grad[3]:
            dgain = (gamma * q / gain).sum_to_size(gain.shape).to(gain.dtype)
        return dx, dy, dw, dgain, None


def residual(x: Tensor, y: Tensor, weight: Tensor, gain: Tensor, K: float) -> Tensor:
    """LResNet on space coordinates: `x + w y`, scaled onto the hyperboloid, times a gain.

    On whole points `a = x + w y`, and the result has the space coordinates `gamma a_s` with
    `gamma = gain sqrt(K) / sqrt(-<a, a>)`: one number for each token.

    Args:
        x: `(..., n)`, space coordinates.
        y: `(..., n)`.
        weight: w, a scalar, `(1,)`, or one for each token, `(..., 1)`.
        gain: positive; as `weight`.
        K: curvature parameter of the points.

    Returns:
        `(..., n)`.
    """
    return _Residual.apply(x, y, weight, gain, K)


class LorentzResidual(nn.Module):
    """A residual with a learned weight and a fixed gain.

    Args:
        gain: fixed.
        K: curvature parameter of the stream.
    """

    def __init__(self, gain: float, K: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.gain, self.K = gain, K

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The stream `x` with a branch `y` added, `(..., n)`."""
        gain = torch.full((), self.gain, dtype=accurate(x.dtype), device=x.device)
        return residual(x, y, self.weight, gain, self.K)

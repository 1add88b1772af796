"""Linear layers on points: `W s + b + t w` with the time `t` and its column of weights `w`.

Also their initialization: the distributions of the public code, or the same with `w = 0`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init


def _add_time(projected: Tensor, time: Tensor, column: Tensor) -> Tensor:
    dtype = projected.dtype
    return torch.addcmul(projected, time.to(dtype), column.to(dtype))


class _AddTime(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projected: Tensor, time: Tensor, column: Tensor) -> Tensor:
        ctx.save_for_backward(time, column)
        return _add_time(projected, time, column)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        time, column = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])
        grad_time = grad_column = None
        if ctx.needs_input_grad[1]:
            grad_time = (rows @ column.to(grad.dtype)).view(time.shape).to(time.dtype)
        if ctx.needs_input_grad[2]:
            grad_column = (time.reshape(-1).to(grad.dtype) @ rows).to(column.dtype)
        return grad, grad_time, grad_column


def _fused(space: Tensor, time: Tensor, weight: Tensor, bias: Tensor, column: Tensor) -> Tensor:
    out = torch.addcmul(bias, time.to(bias.dtype), column)
    out.view(-1, out.shape[-1]).addmm_(space.reshape(-1, space.shape[-1]), weight.t())
    return out


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, space: Tensor, time: Tensor, weight: Tensor, bias: Tensor, column: Tensor
    ) -> Tensor:
        ctx.save_for_backward(space, time, weight, column)
        return _fused(space, time, weight, bias, column)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        space, time, weight, column = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])
        needs_space, needs_time, needs_weight, needs_bias, needs_column = ctx.needs_input_grad
        grad_space = (rows @ weight).view(space.shape) if needs_space else None
        grad_time = (rows @ column).view(time.shape).to(time.dtype) if needs_time else None
        grad_weight = rows.t() @ space.reshape(-1, space.shape[-1]) if needs_weight else None
        grad_bias = rows.sum(0) if needs_bias else None
        grad_column = time.reshape(-1).to(grad.dtype) @ rows if needs_column else None
        return grad_space, grad_time, grad_weight, grad_bias, grad_column


def on_point(linear: nn.Module, space: Tensor, time: Tensor, column: Tensor) -> Tensor:
    """Apply a linear layer to points: `W s + b + t w`, `(..., m)`.

    `linear` holds `W` and `b` and may be wrapped by an adapter; space coordinates are `(..., n)`,
    times `(..., 1)`, the column `w` is `(m,)`.
    """
    if not _can_fuse(linear, space):
        add_time = _AddTime.apply if torch.is_grad_enabled() else _add_time
        return add_time(linear(space), time, column)
    assert isinstance(linear, nn.Linear)
    fused = _Fused.apply if torch.is_grad_enabled() else _fused
    return fused(space, time, linear.weight, linear.bias, column)


def _can_fuse(linear: nn.Module, space: Tensor) -> bool:
    """Whether to bypass the layer's forward and add `t w` to the bias, which is faster on a CPU."""
    return (
        space.device.type == "cpu"
        and type(linear) is nn.Linear
        and linear.bias is not None
        and linear.weight.dtype == space.dtype
        and not torch.is_autocast_enabled("cpu")
        and not (linear._forward_hooks or linear._forward_pre_hooks or linear._backward_hooks)
    )


def xavier(inputs: int, outputs: int, gain: float = math.sqrt(2)) -> float:
    """The bound of Xavier's uniform distribution; `inputs` includes the time coordinate."""
    return gain * math.sqrt(6 / (inputs + outputs))


def init_linear(
    linear: nn.Linear, column: Tensor, bound: float, bias: float, balanced: bool
) -> None:
    """Draw weights within `bound` and biases within `bias`; a `balanced` time column is zero."""
    init.uniform_(linear.weight, -bound, bound)
    init.uniform_(linear.bias, -bias, bias)
    init_column(column, bound, balanced)


def init_column(column: Tensor, bound: float, balanced: bool) -> None:
    """Draw a time column like the other weights, or set it to zero."""
    if balanced:
        init.zeros_(column)
    else:
        init.uniform_(column, -bound, bound)

"""Linear layers on whole points, given by their space coordinates and their time.

Of weights on the whole point those on the time coordinate stand apart, as a column: the layer is a
product with the space coordinates and a term of rank one, `W s + b + t w`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


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
        for_time = for_column = None
        if ctx.needs_input_grad[1]:
            for_time = (rows @ column.to(grad.dtype)).view(time.shape).to(time.dtype)
        if ctx.needs_input_grad[2]:
            for_column = (time.reshape(-1).to(grad.dtype) @ rows).to(column.dtype)
        return grad, for_time, for_column


def with_time(projected: Tensor, time: Tensor, column: Tensor) -> Tensor:
    """What a linear layer on the whole point gives: `W s + b + t w`.

    Args:
        projected: `(..., m)`, the layer's product with the space coordinates, `W s + b`.
        time: `(..., 1)`.
        column: `(m,)`, the layer's weights on the time coordinate.

    Returns:
        `(..., m)`, in the dtype of `projected`.
    """
    added = _AddTime.apply if torch.is_grad_enabled() else _add_time
    return added(projected, time, column)


def _in_one_piece(
    space: Tensor, time: Tensor, weight: Tensor, bias: Tensor, column: Tensor
) -> Tensor:
    out = torch.addcmul(bias, time.to(bias.dtype), column)
    out.view(-1, out.shape[-1]).addmm_(space.reshape(-1, space.shape[-1]), weight.t())
    return out


class _OnPoint(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, space: Tensor, time: Tensor, weight: Tensor, bias: Tensor, column: Tensor
    ) -> Tensor:
        ctx.save_for_backward(space, time, weight, column)
        return _in_one_piece(space, time, weight, bias, column)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        space, time, weight, column = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])
        needs_space, needs_time, needs_weight, needs_bias, needs_column = ctx.needs_input_grad
        for_space = (rows @ weight).view(space.shape) if needs_space else None
        for_time = (rows @ column).view(time.shape).to(time.dtype) if needs_time else None
        for_weight = rows.t() @ space.reshape(-1, space.shape[-1]) if needs_weight else None
        for_bias = rows.sum(0) if needs_bias else None
        for_column = time.reshape(-1).to(grad.dtype) @ rows if needs_column else None
        return for_space, for_time, for_weight, for_bias, for_column


def on_point(linear: nn.Module, space: Tensor, time: Tensor, column: Tensor) -> Tensor:
    """A linear layer on points: `W s + b + t w`.

    Args:
        linear: `W` and `b`; an adapter may stand around it.
        space: `(..., n)`.
        time: `(..., 1)`.
        column: `w`, `(m,)`.

    Returns:
        `(..., m)`.
    """
    if not _is_plain(linear, space):
        return with_time(linear(space), time, column)
    assert isinstance(linear, nn.Linear)
    made = _OnPoint.apply if torch.is_grad_enabled() else _in_one_piece
    return made(space, time, linear.weight, linear.bias, column)


def _is_plain(linear: nn.Module, space: Tensor) -> bool:
    """Whether the layer is its weights alone, where that spares something.

    On a processor a product with a bias begins with a copy of the bias into each row, which may as
    well be the bias with the time's share. Whoever has put a hook on the layer is to see it called.
    """
    return (
        space.device.type == "cpu"
        and type(linear) is nn.Linear
        and linear.bias is not None
        and linear.weight.dtype == space.dtype
        and not torch.is_autocast_enabled("cpu")
        and not (linear._forward_hooks or linear._forward_pre_hooks or linear._backward_hooks)
    )

"""Linear layers, embedding and feed-forward layer on points, and their initialization.

The distributions are those of the public code, or the same with time columns of zero.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from bench.models.helm.config import HelmConfig
from bench.models.helm.points import time_of


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


class LorentzEmbedding(nn.Embedding):
    """A table of points, `(entries, width + 1)`, time first.

    An ordinary optimiser would move the points off the hyperboloid, with the curvature parameter K:
    use :class:`bench.training.riemannian_adam.RiemannianAdam`.
    """

    def __init__(self, entries: int, width: int, K: float) -> None:
        super().__init__(entries, width + 1)
        self.K = K

    @property
    def space(self) -> Tensor:
        """The points' space coordinates, `(entries, width)`, for studies of embeddings."""
        return self.weight[:, 1:]

    def initialize(self) -> None:
        """Draw points in random directions; for K = 1 at distance 1 from the origin."""
        if getattr(self.weight, "_is_hf_initialized", False):
            return
        with torch.no_grad():
            space = torch.empty_like(self.weight[:, 1:])
            init.normal_(space)
            space = F.normalize(space, dim=-1) * (self.K**0.5) * torch.sinh(space.new_ones(1))
            time = (space.square().sum(-1, keepdim=True) + self.K).sqrt()
            self.weight.copy_(torch.cat([time, space], dim=-1))

    def forward(self, input: Tensor) -> Tensor:
        """Space coordinates, `(..., width)`, of token ids `(...)`."""
        return F.embedding(input, self.weight)[..., 1:]


class LorentzFeedForward(nn.Module):
    """`down(silu(gate(x)) * up(x))`; the product is a point with `inner` space coordinates."""

    def __init__(self, config: HelmConfig, inner: int) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.gate_proj = nn.Linear(width, inner)
        self.up_proj = nn.Linear(width, inner)
        self.down_proj = nn.Linear(inner, width)
        self.gate_time = nn.Parameter(torch.empty(inner))
        self.up_time = nn.Parameter(torch.empty(inner))
        self.down_time = nn.Parameter(torch.empty(width))

    def initialize(self) -> None:
        """Draw the weights."""
        balanced = self.config.initialization == "balanced"
        for name in ("gate", "up", "down"):
            linear, column = getattr(self, f"{name}_proj"), getattr(self, f"{name}_time")
            bound = xavier(linear.in_features + 1, linear.out_features)
            init_linear(linear, column, bound, 0.0, balanced)

    def forward(self, space: Tensor, time: Tensor) -> Tensor:
        """Space coordinates `(..., hidden_size)`, of the normed stream and its time `(..., 1)`."""
        gate = on_point(self.gate_proj, space, time, self.gate_time)
        inner = F.silu(gate) * on_point(self.up_proj, space, time, self.up_time)
        inner_time = time_of(inner, self.config.curvature)
        return on_point(self.down_proj, inner, inner_time, self.down_time)

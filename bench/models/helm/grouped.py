"""One matrix product for all experts, over rows that are sorted by expert."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _PerExpert(torch.autograd.Function):
    """One product per expert; reads the offsets on the host."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        ctx.ends = ends = offsets.tolist()
        out = rows.new_empty(rows.shape[0], weight.shape[1])
        for e, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
            torch.mm(rows[begin:end], weight[e].t(), out=out[begin:end])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rows, weight = ctx.saved_tensors
        grad = grad.contiguous()
        needs_rows, needs_weight, _ = ctx.needs_input_grad
        grad_rows = torch.empty_like(rows) if needs_rows else None
        grad_weight = torch.empty_like(weight) if needs_weight else None
        for e, (begin, end) in enumerate(zip([0, *ctx.ends], ctx.ends, strict=False)):
            if grad_rows is not None:
                torch.mm(grad[begin:end], weight[e], out=grad_rows[begin:end])
            if grad_weight is not None:
                torch.mm(grad[begin:end].t(), rows[begin:end], out=grad_weight[e])
        return grad_rows, grad_weight, None


def grouped_linear(rows: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """`rows @ weight[e].T` with the expert e of each row.

    One kernel without a host sync on a GPU, if strides are multiples of 16 bytes; otherwise, and on
    a CPU, one product per expert.

    `rows` are `(rows, inputs)`, sorted by expert; `weight` is `(experts, outputs, inputs)`;
    `offsets` are the ends of each expert's rows, int32. The dtype is that of weights or autocast.
    """
    device = rows.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    rows, weight = rows.to(dtype), weight.to(dtype)
    aligned = all(size * dtype.itemsize % 16 == 0 for size in weight.shape[1:])
    if device == "cuda" and aligned and dtype.itemsize < 8:
        return F.grouped_mm(rows, weight.transpose(1, 2), offs=offsets)
    return _PerExpert.apply(rows, weight, offsets)

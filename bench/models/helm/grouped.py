"""One product for all experts: rows that are sorted by expert, each with its expert's weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _BySlices(torch.autograd.Function):
    """A product for each expert, written into one result; reads the offsets on the host."""

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
        need_rows, need_weight, _ = ctx.needs_input_grad
        for_rows = torch.empty_like(rows) if need_rows else None
        for_weight = torch.empty_like(weight) if need_weight else None
        for e, (begin, end) in enumerate(zip([0, *ctx.ends], ctx.ends, strict=False)):
            if for_rows is not None:
                torch.mm(grad[begin:end], weight[e], out=for_rows[begin:end])
            if for_weight is not None:
                torch.mm(grad[begin:end].t(), rows[begin:end], out=for_weight[e])
        return for_rows, for_weight, None


def grouped_linear(rows: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """`rows @ weight[e].T`, e the expert of a row.

    On a GPU it is one kernel, and nothing waits for the host; where its strides are no multiples of
    16 bytes, as there, and on a processor, a product for each expert.

    Args:
        rows: `(rows, inputs)`, sorted by expert.
        weight: `(experts, outputs, inputs)`.
        offsets: `(experts,)`, int32, where each expert's rows end.

    Returns:
        `(rows, outputs)`, in the dtype of the weights, or autocast's.
    """
    device = rows.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    rows, weight = rows.to(dtype), weight.to(dtype)
    aligned = all(size * dtype.itemsize % 16 == 0 for size in weight.shape[1:])
    if device == "cuda" and aligned and dtype.itemsize < 8:
        return F.grouped_mm(rows, weight.transpose(1, 2), offs=offsets)
    return _BySlices.apply(rows, weight, offsets)

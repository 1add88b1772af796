"""Adds the update of the rotation variant to the base layer's output, as cheaply as LoRA's."""

from __future__ import annotations

import logging
from functools import cache
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from bench.errors import reason
from bench.methods.hyplora import gate
from bench.methods.hyplora.frozen import Frozen
from bench.methods.hyplora.gate import cast, full_precision, gram, product_dtype

_log = logging.getLogger(__name__)

# Of the kernels, which keep a matrix (rank, rank) in registers, where a larger one does not fit.
LARGEST_RANK = 128


@cache
def _triton(device: torch.device) -> ModuleType | None:
    """The kernels, if they run on a device: Triton also needs a C compiler."""
    try:
        from bench.methods.hyplora import kernels

        ones = torch.ones(16, 16, device=device)
        kernels.scale_tokens(ones, ones, ones, ones, ones, 1.0, 1.0)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of Triton, or of what it calls
        _log.warning("HypLoRA runs without its Triton kernels, which is slower: %s", reason(error))
        return None
    return kernels


def gate_kernels(x: Tensor, rank: int) -> ModuleType:
    """The module whose ``scale_tokens`` is used for x: on CUDA Triton's, if its kernels run."""
    able = x.is_cuda and x.dtype != torch.float64 and rank <= LARGEST_RANK
    if able and not torch.compiler.is_compiling():
        return _triton(x.device) or gate
    return gate


class _Update(torch.autograd.Function):
    """``result + scaling B (c psi h)``, in place if possible, as one node with its own backward.

    It stores what LoRA stores, the result of A scaled by the gate and times the Gram matrix, that
    matrix, and four numbers per token; with dropout, also x.
    """

    @staticmethod
    def forward(
        ctx: Any, result, x, dropped, A, B, K, s, max_radius: float, scaling: float
    ) -> Tensor:
        dtype = product_dtype(x, A)
        with full_precision(x.device):
            tokens = cast(x if dropped is None else dropped, dtype)
            h = F.linear(tokens, cast(A, dtype))
            gram_B = gram(B)
            kernel = gate_kernels(x, len(gram_B))
            scaled, parts = kernel.scale_tokens(x, h, gram_B, K, s, scaling, max_radius)
            in_place = _can_add_in_place(result)
            if in_place:
                ctx.mark_dirty(result)
            result = _add_product(result, scaled, cast(B, dtype), in_place)
        ctx.save_for_backward(
            tokens, None if dropped is None else x, A, B, K, s, h, scaled, gram_B, *parts
        )
        ctx.options, ctx.kernel = (scaling, max_radius), kernel
        ctx.dtypes = x.dtype, dtype
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tokens, x, A, B, K, s, h, scaled, gram_B, *parts = ctx.saved_tensors
        need_x, need_dropped, need_A, need_B, *need_scalars = ctx.needs_input_grad[1:7]
        x_dtype, dtype = ctx.dtypes
        grad_x = grad_dropped = grad_A = grad_B = None
        with full_precision(tokens.device):
            grad_y = cast(grad, dtype)
            by_h, along_x, weighted, grad_K, grad_s = ctx.kernel.scale_tokens_backward(
                grad_y @ cast(B, dtype), h, gram_B, K, s, parts, *ctx.options, need_scalars
            )
            if need_A:
                grad_A = cast(_rows(by_h).mT @ _rows(tokens), A.dtype)
            if x is not None:
                grad_x = x * cast(along_x, x_dtype)
                grad_dropped = cast(by_h @ cast(A, dtype), x_dtype) if need_dropped else None
            elif need_x:
                by_tokens = by_h @ cast(A, dtype)
                grad_x = cast(by_tokens.addcmul_(tokens, cast(along_x, dtype)), x_dtype)
            if need_B:
                moment = _rows(weighted).mT @ cast(_rows(h), weighted.dtype)
                product = cast(_rows(grad_y).mT @ _rows(scaled), B.dtype)
                grad_B = torch.addmm(product, B, cast(moment, B.dtype))
        grad_K, grad_s = (
            None if grad is None else grad.view(1).to(number.dtype)
            for grad, number in ((grad_K, K), (grad_s, s))
        )
        return grad, grad_x, grad_dropped, grad_A, grad_B, grad_K, grad_s, None, None


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _can_add_in_place(result: Tensor) -> bool:
    """Whether the base layer's output can be overwritten."""
    if torch.compiler.is_compiling():  # the compiler fuses the sum
        return False
    changeable = not (result.is_leaf and result.requires_grad)
    return changeable and result.is_contiguous() and not result._is_view()  # a view is copied


def _add_product(
    result: Tensor, h: Tensor, B: Tensor, in_place: bool, scale: float = 1.0
) -> Tensor:
    """``result + scale h B^T`` in the dtype of ``result``."""
    if result.dtype != h.dtype:
        result = result if in_place else result.clone()
        return result.add_(F.linear(h, B), alpha=scale)
    rows, h = _rows(result), _rows(h)
    if in_place:
        rows.addmm_(h, B.mT, alpha=scale)
        return result
    return torch.addmm(rows, h, B.mT, alpha=scale).view_as(result)


def rotation_update(
    result: Tensor,
    x: Tensor,
    dropped: Tensor,
    A: Tensor,
    B: Tensor,
    K: Tensor,
    s: Tensor,
    *,
    max_radius: float,
    scaling: float,
    frozen: Frozen | None = None,
) -> Tensor:
    """``result + (alpha/r) B (c psi A x)``, the rotation variant, in place if possible.

    Args:
        result: ``(..., m)``, the base layer's output.
        x: ``(..., d)``, the layer's input, whose norms are taken.
        dropped: ``(..., d)``, ``x`` after dropout, the input of A; ``x`` itself without dropout.
        A: ``(r, d)``.
        B: ``(m, r)``.
        K: curvature parameter, one element.
        s: norm scale, one element.
        max_radius: upper bound of ``|x| / (s sqrt(K))``.
        scaling: ``alpha / r``.
        frozen: values of B, K and s, if these are known; only without gradients.

    Returns:
        ``(..., m)`` in the dtype of ``result``.
    """
    if frozen is None and torch.is_grad_enabled():
        rest = None if dropped is x else dropped
        return _Update.apply(result, x, rest, A, B, K, s, max_radius, scaling)
    if frozen is not None and x.is_cpu and x.numel() == x.shape[-1]:  # one token
        plain = x.dtype == A.dtype == B.dtype == result.dtype and dropped is x
        in_place = x.is_contiguous() and _can_add_in_place(result)
        if plain and in_place and not torch.is_autocast_enabled("cpu"):
            return frozen.add_to_token(result, x, A, scaling, max_radius)
    dtype, scale = product_dtype(x, A), 1.0
    with full_precision(x.device):
        h = F.linear(cast(dropped, dtype), cast(A, dtype))
        kernel = gate_kernels(x, h.shape[-1])
        if frozen is None:
            h, _ = kernel.scale_tokens(x, h, gram(B), K, s, scaling, max_radius)
        elif kernel is not gate:  # one launch instead of twenty
            h = kernel.scale_frozen(x, h, frozen.root, K, s, scaling, max_radius)
        else:
            scale = scaling
            h.mul_(frozen.gates(x, h, max_radius))
        return _add_product(result, h, cast(B, dtype), _can_add_in_place(result), scale)

"""Random arguments of HypLoRA's variants, and gradients with respect to them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from hypothesis import settings
from hypothesis import strategies as st

from bench.methods.hyplora.gate import product_dtype
from bench.methods.hyplora.variants import VARIANTS

few = settings(derandomize=True, deadline=None, max_examples=15)
seeds = st.integers(0, 2**31)
curvatures = st.floats(-2, 2).map(lambda e: 10.0**e)
norms = st.floats(-6, 3).map(lambda e: 10.0**e)

TOKENS, D, M, R = 7, 24, 17, 5


def inputs(seed, K, norm, dtype, variant="rotation"):
    """x, A, B, K and s that require gradients, and a gradient of the update.

    Every second token is ten times longer.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    extra = VARIANTS[variant].time_columns
    x = F.normalize(normal(TOKENS, D), dim=-1) * norm
    x[::2] *= 10
    tensors = (
        x,
        normal(R, extra + D) / math.sqrt(D),
        normal(M, extra + R) / math.sqrt(R),
        torch.tensor([K]),
        torch.tensor([math.sqrt(D)]),
    )
    return [tensor.to(dtype).requires_grad_() for tensor in tensors], normal(TOKENS, M).to(dtype)


def update(variant, max_radius=12.0):
    def delta(x, A, B, K, s):
        start = torch.zeros(*x.shape[:-1], len(B), dtype=product_dtype(x, A))
        return VARIANTS[variant].update(start, x, x, A, B, K, s, max_radius=max_radius, scaling=1.0)

    return delta


def gradients(function, tensors, grad_y):
    """The value and its gradients, zero for tensors that are not used."""
    y = function(*tensors)
    grads = torch.autograd.grad(y, tensors, grad_y.to(y.dtype), allow_unused=True)
    pairs = zip(tensors, grads, strict=True)
    return y.detach(), [torch.zeros_like(t) if grad is None else grad for t, grad in pairs]


def error(value, expected, scale=None):
    value, expected = value.detach().double(), expected.detach().double()
    return float((value - expected).norm() / (expected.norm() if scale is None else scale))


def inputs_of(model, name, prompts):
    """The inputs of a layer for each prompt, (tokens, d)."""
    seen = []
    hook = model.get_submodule(name).register_forward_pre_hook(lambda _, x: seen.append(x[0][0]))
    with torch.no_grad():
        for prompt in prompts:
            model(input_ids=torch.tensor([prompt]))
    hook.remove()
    return seen


def scalar_scales(x, grad_x, delta, grad_y, K, s):
    """The sizes of the terms that cancel in dL/dK and dL/ds."""
    x, grad_x, delta, grad_y, K, s = (t.detach().double() for t in (x, grad_x, delta, grad_y, K, s))
    along_x = (x.norm(dim=-1) * grad_x.norm(dim=-1)).sum()
    along_y = (delta.norm(dim=-1) * grad_y.norm(dim=-1)).sum()
    return {"K": (along_x + along_y) / (2 * K), "s": along_x / s}

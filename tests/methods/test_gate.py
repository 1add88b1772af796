"""HypLoRA's gate: its gradients, precision, dropout, and the cached Gram matrix."""

from __future__ import annotations

import copy
import math
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given

from bench.methods.hyplora import gate as gate_module
from bench.methods.hyplora import reference
from bench.methods.hyplora.gate import GramCache, gate, gram, rotation_delta
from tests.methods.layer_inputs import (
    TOKENS,
    D,
    M,
    R,
    curvatures,
    error,
    few,
    gradients,
    inputs,
    norms,
    scalar_scales,
    seeds,
    update,
)

fast = update("rotation")


@few
@given(seeds, curvatures, norms)
def test_the_gradients_of_s_and_K_are_those_of_scaling_tokens_and_lengths(seed, K, norm):
    tensors, grad_y = inputs(seed, K, norm, torch.float64)
    delta, (grad_x, _, _, grad_K, grad_s) = gradients(fast, tensors, grad_y)
    x, _, _, K_, s = tensors
    scales = scalar_scales(x, grad_x, delta, grad_y, K_, s)
    along_x = (x * grad_x).sum()
    assert error(grad_s, -along_x / s, scales["s"]) < 1e-12
    assert error(grad_K, ((delta * grad_y).sum() - along_x) / (2 * K_), scales["K"]) < 1e-12


@few
@given(seeds, curvatures, norms)
def test_at_B_zero_the_gradient_is_loras_times_the_gate_of_each_token(seed, K, norm):
    (x, A, _, K_, s), grad_y = inputs(seed, K, norm, torch.float64)
    B = torch.zeros(M, R, dtype=torch.float64, requires_grad=True)
    delta, grads = gradients(fast, (x, A, B, K_, s), grad_y)
    assert torch.equal(delta, torch.zeros_like(delta))
    loras = (grad_y * gate(x, A, B, K_, s)[:, None]).mT @ (x @ A.mT)
    assert error(grads[2], loras) < 1e-12
    # the gate of a token of unit RMS
    known = math.sqrt(K) * math.sinh(min(1 / math.sqrt(K), 12.0)) / math.sqrt(D)
    x = torch.ones(1, D, dtype=torch.float64)
    assert gate(x, A, B, K, math.sqrt(D)).item() == pytest.approx(known, rel=1e-12)
    assert all(torch.equal(grad, torch.zeros_like(grad)) for grad in (*grads[:2], *grads[3:]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@few
@given(seeds, curvatures, norms)
def test_a_few_tokens_without_a_gradient_have_the_same_update(dtype, seed, K, norm):
    (x, A, B, K_, s), _ = inputs(seed, K, norm, torch.float64)
    x = torch.cat([x[:2], torch.zeros(1, D)])
    few_tokens = [x.to(dtype), A.to(dtype), B.to(dtype), K_.float(), s.float()]
    with torch.no_grad():
        one_by_one = fast(*few_tokens)
        with patch.object(gate_module, "FEW", 0):
            together = fast(*few_tokens)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    assert error(one_by_one, together) < tolerance
    assert torch.equal(one_by_one[2], torch.zeros_like(one_by_one[2]))


@few
@given(seeds, curvatures)
def test_beyond_the_clamp_only_the_direction_of_a_token_counts(seed, K):
    (x, A, B, K_, s), _ = inputs(seed, K, 3.1 * math.sqrt(D * K), torch.float64)
    clamped = update("rotation", max_radius=3.0)
    assert error(clamped(2 * x, A, B, K_, s), clamped(x, A, B, K_, s)) < 1e-12


def test_bfloat16_is_float32_to_the_rounding_of_its_products():
    (x, A, B, K, s), _ = inputs(1, 0.5, math.sqrt(D), torch.float32)
    expected = fast(*(tensor.bfloat16().float() for tensor in (x, A, B)), K, s)
    assert error(fast(x.bfloat16(), A.bfloat16(), B.bfloat16(), K, s), expected) < 1e-2


def literal_gate(x, u, K, s):
    """c psi, from a token x that is not 0 and u = B A x."""
    root, norm = K.sqrt(), x.norm(dim=-1)
    c = root * (norm / (s * root)).sinh() / norm
    n = c * u.norm(dim=-1)
    return c * root * (n / root).asinh() / n


def test_the_norm_is_taken_of_the_token_without_dropout():
    (x, A, B, K, s), _ = inputs(2, 0.5, 0.5 * math.sqrt(D), torch.float64)
    dropped = x * (torch.arange(D) % 2)
    u = dropped @ A.mT @ B.mT
    delta = rotation_delta(x, dropped, A, B, K, s, max_radius=12.0, scaling=3.0)
    assert error(delta, 3.0 * literal_gate(x, u, K, s)[:, None] * u) < 1e-12


@pytest.mark.parametrize(("condition", "tolerance"), [(1e2, 1e-5), (1e4, 1e-3)])
def test_the_gate_keeps_its_digits_along_a_small_direction_of_B(condition, tolerance):
    torch.manual_seed(0)
    left, right = torch.linalg.qr(torch.randn(64, 8))[0], torch.linalg.qr(torch.randn(8, 8))[0]
    B = left @ torch.diag(torch.logspace(0, -math.log10(condition), 8)) @ right.mT
    A = torch.linalg.qr(torch.randn(32, 8))[0].mT
    x = (right[:, -1] @ A)[None] * 20  # A x is B's smallest direction
    K, s = torch.tensor([0.1]), torch.tensor([math.sqrt(32)])
    assert error(fast(x, A, B, K, s), reference.rotation(x, A, B, K, s)) < tolerance


@pytest.mark.parametrize("scalars", [torch.float32, torch.float64])
def test_autocast_rounds_the_products_and_not_the_gate(scalars):
    (x, A, B, K, s), _ = inputs(3, 0.5, 0.5 * math.sqrt(D), torch.float32)
    h = F.linear(x.bfloat16(), A.bfloat16())
    with (
        patch.object(gate_module, "scalar_dtype", lambda x: scalars),
        torch.autocast("cpu", dtype=torch.bfloat16),
    ):
        y, g = fast(x, A, B, K, s), gate(x, A, B, K, s)
        inside = torch.autograd.grad(g.sum(), (x, A, B, K, s), retain_graph=True)
    outside = torch.autograd.grad(g.sum(), (x, A, B, K, s))
    assert y.dtype == torch.bfloat16
    assert error(g, literal_gate(x, h.float() @ B.mT, K, s)) < 1e-6
    assert all(error(one, other) < 1e-6 for one, other in zip(inside, outside, strict=True))


def test_the_gate_of_a_token_does_not_depend_on_its_batch():
    (x, A, B, K, s), _ = inputs(4, 0.3, 3.0, torch.float64)
    batched = fast(x.reshape(1, TOKENS, 1, D).expand(2, TOKENS, 1, D), A, B, K, s)
    assert batched.shape == (2, TOKENS, 1, M)
    assert torch.allclose(batched[1, :, 0], fast(x, A, B, K, s), rtol=1e-12)


# The cached Gram matrix


@pytest.mark.parametrize(
    "change",
    [
        lambda B: torch.optim.SGD([B], lr=1.0).step(),
        lambda B: B.detach().mul_(2),
        lambda B: setattr(B, "data", B.data * 2),
        lambda B: torch.nn.Module.load_state_dict(
            torch.nn.ParameterList([B]), {"0": torch.ones_like(B)}
        ),
    ],
    ids=["optimiser", "in place", "new data", "load_state_dict"],
)
def test_the_cache_keeps_a_gram_matrix_until_B_changes(change):
    cache, B = GramCache(), torch.nn.Parameter(torch.randn(M, R))
    B.grad = torch.ones_like(B)
    first = cache.get(B)
    assert cache.get(B) is first and torch.equal(first, gram(B.detach()))
    assert copy.deepcopy(cache).get(B) is not first
    change(B)
    assert torch.equal(cache.get(B), gram(B.detach()))


def test_the_cache_does_not_take_another_tensor_for_B():
    cache = GramCache()
    for _ in range(20):  # freed memory, and so addresses, come back
        B = torch.nn.Parameter(torch.randn(M, R))
        assert torch.equal(cache.get(B), gram(B.detach()))
    B.data.mul_(2)  # does not change the version counter
    again = torch.nn.Parameter(B.data)
    assert torch.equal(cache.get(again), gram(again.detach()))


def test_a_gram_matrix_made_in_inference_mode_serves_a_later_pass_with_gradients():
    (x, A, B, K, s), _ = inputs(5, 1.0, 1.0, torch.float32)
    cache = GramCache()
    with torch.inference_mode():
        kept = cache.get(B)
    options = {"max_radius": 12.0, "scaling": 1.0, "gram_B": kept}
    rotation_delta(x, x, A, B.detach(), K, s, **options).sum().backward()
    assert torch.isfinite(x.grad).all()

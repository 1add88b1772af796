"""The gate form of HypLoRA: it is the literal definition, at any scale, dtype and start."""

from __future__ import annotations

import copy
import math
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.methods.hyplora import gate as gate_module
from bench.methods.hyplora import reference
from bench.methods.hyplora.gate import GramCache, gate, gram, rotation_delta
from bench.methods.hyplora.variants import raw_from_curvature

few = settings(derandomize=True, deadline=None, max_examples=30)
seeds = st.integers(0, 2**31)
curvatures = st.floats(-2, 2).map(lambda e: 10.0**e)
norms = st.floats(-6, 3).map(lambda e: 10.0**e)

TOKENS, D, M, R = 7, 24, 17, 5
NAMES = ("x", "A", "B", "K", "s")


def inputs(seed, K, norm, dtype):
    """x, A, B, K and s that require gradients; every second token is ten times longer."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x = F.normalize(normal(TOKENS, D), dim=-1) * norm
    x[::2] *= 10
    tensors = (
        x,
        normal(R, D) / math.sqrt(D),
        normal(M, R) / math.sqrt(R),
        torch.tensor([K]),
        torch.tensor([math.sqrt(D)]),
    )
    return [tensor.to(dtype).requires_grad_() for tensor in tensors], normal(TOKENS, M).to(dtype)


def fast(x, A, B, K, s, max_radius=12.0):
    return rotation_delta(x, x, A, B, K, s, max_radius=max_radius, scaling=1.0)


def gradients(function, tensors, grad_y):
    y = function(*tensors)
    return y, torch.autograd.grad(y, tensors, grad_y.to(y.dtype))


def error(value, expected, scale=None):
    value, expected = value.detach().double(), expected.detach().double()
    return ((value - expected).norm() / (expected.norm() if scale is None else scale)).item()


def scalar_scales(x, grad_x, delta, grad_y, K, s):
    """The sizes of the terms that cancel in dL/dK and dL/ds."""
    along_x = (x.norm(dim=-1) * grad_x.norm(dim=-1)).sum()
    along_y = (delta.norm(dim=-1) * grad_y.norm(dim=-1)).sum()
    return (along_x + along_y) / (2 * K), along_x / s


def worst_error_against_the_reference(tensors, grad_y):
    y, grads = gradients(fast, tensors, grad_y)
    expected, expected_grads = gradients(reference.rotation, tensors, grad_y)
    x, _, _, K, s = (tensor.detach().double() for tensor in tensors)
    scales = scalar_scales(x, expected_grads[0].double(), expected, grad_y.double(), K, s)
    scales = dict(zip("Ks", scales, strict=True))
    errors = {
        name: error(ours, theirs, scales.get(name))
        for name, ours, theirs in zip(NAMES, grads, expected_grads, strict=True)
    }
    return max(error(y, expected), *errors.values())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@few
@given(seeds, curvatures, norms)
def test_the_gate_form_is_the_literal_form(dtype, tolerance, seed, K, norm):
    assert worst_error_against_the_reference(*inputs(seed, K, norm, dtype)) < tolerance


@few
@given(seeds, curvatures, norms)
def test_scalars_in_float32_as_on_a_gpu_are_good_to_1e_5_too(seed, K, norm):
    with patch.object(gate_module, "scalar_dtype", lambda x: torch.float32):
        assert worst_error_against_the_reference(*inputs(seed, K, norm, torch.float32)) < 1e-5


@few
@given(seeds, curvatures, norms)
def test_the_update_is_loras_times_the_gate(seed, K, norm):
    (x, A, B, K_, s), _ = inputs(seed, K, norm, torch.float64)
    g = gate(x, A, B, K_, s)
    assert g.shape == (TOKENS,)
    assert error(fast(x, A, B, K_, s), g[:, None] * (x @ A.mT @ B.mT)) < 1e-12


@few
@given(seeds, curvatures, norms)
def test_scaling_a_token_and_s_together_changes_nothing_so_s_has_the_radial_gradient(seed, K, norm):
    tensors, grad_y = inputs(seed, K, norm, torch.float64)
    delta, (grad_x, _, _, _, grad_s) = gradients(fast, tensors, grad_y)
    x, _, _, K_, s = tensors
    _, scale = scalar_scales(x, grad_x, delta, grad_y, K_, s)
    assert error(grad_s, -(x * grad_x).sum() / s, scale) < 1e-12


@few
@given(seeds, curvatures, norms)
def test_K_has_the_gradient_of_the_unit_of_length(seed, K, norm):
    tensors, grad_y = inputs(seed, K, norm, torch.float64)
    delta, (grad_x, _, _, grad_K, _) = gradients(fast, tensors, grad_y)
    x, _, _, K_, s = tensors
    scale, _ = scalar_scales(x, grad_x, delta, grad_y, K_, s)
    identity = ((delta * grad_y).sum() - (x * grad_x).sum()) / (2 * K_)
    assert error(grad_K, identity, scale) < 1e-12


@few
@given(seeds, curvatures, norms)
def test_at_B_zero_the_gradient_is_loras_times_the_gate_of_each_token(seed, K, norm):
    (x, A, _, K_, s), grad_y = inputs(seed, K, norm, torch.float64)
    B = torch.zeros(M, R, dtype=torch.float64, requires_grad=True)
    delta, grads = gradients(fast, (x, A, B, K_, s), grad_y)
    assert torch.equal(delta, torch.zeros_like(delta))
    g = gate(x, A, B, K_, s)
    loras = (grad_y * g[:, None]).mT @ (x @ A.mT)
    assert error(grads[2], loras) < 1e-12
    assert all(torch.equal(grad, torch.zeros_like(grad)) for grad in (*grads[:2], *grads[3:]))


@few
@given(curvatures)
def test_at_B_zero_the_gate_of_a_token_of_unit_rms_is_known(K):
    x = F.normalize(torch.ones(1, D, dtype=torch.float64), dim=-1) * math.sqrt(D)
    A, B = torch.ones(R, D).double(), torch.zeros(M, R).double()
    radius = min(1 / math.sqrt(K), 12.0)
    expected = math.sqrt(K) * math.sinh(radius) / math.sqrt(D)
    assert gate(x, A, B, K, math.sqrt(D)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@few
@given(seeds, curvatures, norms)
def test_a_few_tokens_without_a_gradient_have_the_same_update(dtype, seed, K, norm):
    (x, A, B, K_, s), _ = inputs(seed, K, norm, torch.float64)
    few_tokens = [x[:3].to(dtype), A.to(dtype), B.to(dtype), K_.float(), s.float()]
    with torch.no_grad():
        one_by_one = fast(*few_tokens)
        with patch.object(gate_module, "FEW", 0):
            together = fast(*few_tokens)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    assert error(one_by_one, together) < tolerance


def test_zero_tokens_without_a_gradient_have_no_update():
    x, A, B = torch.zeros(2, D), torch.ones(R, D), torch.ones(M, R)
    with torch.no_grad():
        y = fast(x, A, B, torch.tensor([0.5]), torch.tensor([2.0]))
    assert torch.equal(y, torch.zeros(2, M))


def test_the_second_order_term_has_both_maps_in_it():
    (x, A, B, _, s), _ = inputs(0, 1.0, 1e-2, torch.float64)
    K = torch.tensor([1.0], dtype=torch.float64)
    v = x / s
    flat = v @ A.mT @ B.mT
    bend = v.square().sum(-1, keepdim=True) - flat.square().sum(-1, keepdim=True)
    assert error(fast(x, A, B, K, s) - flat, bend / (6 * K) * flat) < 1e-3


@few
@given(seeds, norms)
def test_a_large_K_is_lora_of_the_rescaled_token(seed, norm):
    (x, A, B, K, s), _ = inputs(seed, 1e12, norm, torch.float64)
    assert error(fast(x, A, B, K, s), (x / s) @ A.mT @ B.mT) < 1e-6


@few
@given(seeds, curvatures)
def test_beyond_the_clamp_only_the_direction_of_a_token_counts(seed, K):
    (x, A, B, K_, s), _ = inputs(seed, K, 3.1 * math.sqrt(D * K), torch.float64)
    assert error(fast(2 * x, A, B, K_, s, 3.0), fast(x, A, B, K_, s, 3.0)) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_zero_tokens_and_zero_weights_have_finite_gradients(dtype):
    x = torch.zeros(2, D, dtype=dtype)
    x[1] = 1.0
    for weights in ((torch.zeros(R, D), torch.zeros(M, R)), (torch.ones(R, D), torch.ones(M, R))):
        scalars = (torch.tensor([0.5]), torch.tensor([2.0]))
        tensors = [x.clone(), *(weight.to(dtype) for weight in weights), *scalars]
        tensors = [tensor.requires_grad_() for tensor in tensors]
        y, grads = gradients(fast, tensors, torch.ones(2, M))
        assert torch.isfinite(y).all() and all(torch.isfinite(grad).all() for grad in grads)
        assert torch.equal(y[0], torch.zeros_like(y[0]))


@pytest.mark.parametrize("scale_of_B", [0.0, 1.0])
def test_an_outlier_of_rms_1000_stays_finite_in_bfloat16(scale_of_B):
    (x, A, B, _, s), grad_y = inputs(0, 0.1, 1.0, torch.float32)
    x = (F.normalize(x.detach(), dim=-1) * 1000 * math.sqrt(D)).bfloat16()
    A, B = A.detach().bfloat16(), (B.detach() * scale_of_B).bfloat16()
    K, s = torch.tensor([0.1]), s.detach()
    tensors = [tensor.requires_grad_() for tensor in (x, A, B, K, s)]
    y, grads = gradients(fast, tensors, grad_y)
    assert y.dtype == torch.bfloat16
    assert torch.isfinite(y).all() and all(torch.isfinite(grad).all() for grad in grads)


def test_bfloat16_is_float32_to_the_rounding_of_its_products():
    (x, A, B, K, s), _ = inputs(1, 0.5, math.sqrt(D), torch.float32)
    expected = fast(*(tensor.bfloat16().float() for tensor in (x, A, B)), K, s)
    assert error(fast(x.bfloat16(), A.bfloat16(), B.bfloat16(), K, s), expected) < 1e-2


def literal_gate(x, u, K, s):
    """c psi, from a token x that is not 0 and u = B A x."""
    R, norm = K.sqrt(), x.norm(dim=-1)
    c = R * (norm / (s * R)).sinh() / norm
    n = c * u.norm(dim=-1)
    return c * R * (n / R).asinh() / n


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


def test_a_token_has_one_gate_whatever_batch_it_stands_in():
    (x, A, B, K, s), _ = inputs(4, 0.3, 3.0, torch.float64)
    batched = fast(x.reshape(1, TOKENS, 1, D).expand(2, TOKENS, 1, D), A, B, K, s)
    assert batched.shape == (2, TOKENS, 1, M)
    assert torch.allclose(batched[1, :, 0], fast(x, A, B, K, s), rtol=1e-12)


@few
@given(st.floats(-4, 4))
def test_softplus_of_the_raw_curvature_is_the_curvature(exponent):
    K = 10.0**exponent
    raw = torch.tensor(raw_from_curvature(K), dtype=torch.float64)
    assert F.softplus(raw).item() == pytest.approx(K, rel=1e-8)
    assert F.softplus(raw.float()).item() == pytest.approx(K, rel=1e-5)


def test_the_cache_keeps_a_gram_matrix_while_B_stays():
    cache, B = GramCache(), torch.nn.Parameter(torch.randn(M, R))
    first = cache.get(B)
    assert cache.get(B) is first
    assert torch.equal(first, gram(B.detach()))


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
def test_the_cache_sees_a_change_of_B(change):
    cache, B = GramCache(), torch.nn.Parameter(torch.randn(M, R))
    B.grad = torch.ones_like(B)
    cache.get(B)
    change(B)
    assert torch.equal(cache.get(B), gram(B.detach()))


def test_the_cache_does_not_take_another_tensor_for_B():
    cache = GramCache()
    for _ in range(20):  # freed memory, and so addresses, come back
        B = torch.nn.Parameter(torch.randn(M, R))
        assert torch.equal(cache.get(B), gram(B.detach()))
        del B


def test_the_cache_does_not_take_a_new_parameter_on_the_same_memory_for_B():
    cache, B = GramCache(), torch.nn.Parameter(torch.randn(M, R))
    cache.get(B)
    B.data.mul_(2)  # bumps no version counter
    again = torch.nn.Parameter(B.data)
    assert torch.equal(cache.get(again), gram(again.detach()))


def test_a_copy_of_the_cache_is_empty():
    cache, B = GramCache(), torch.nn.Parameter(torch.randn(M, R))
    kept = cache.get(B)
    assert copy.deepcopy(cache).get(B) is not kept


def test_a_gram_matrix_made_in_inference_mode_serves_a_later_pass_with_gradients():
    (x, A, B, K, s), _ = inputs(5, 1.0, 1.0, torch.float32)
    cache = GramCache()
    with torch.inference_mode():
        kept = cache.get(B)
    options = {"max_radius": 12.0, "scaling": 1.0, "gram_B": kept}
    rotation_delta(x, x, A, B.detach(), K, s, **options).sum().backward()
    assert torch.isfinite(x.grad).all()

"""HypLoRA's gate: its gradients, precision, dropout, and the cached Gram matrix."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given

from bench.methods.hyplora import gate as gate_module
from bench.methods.hyplora import reference
from bench.methods.hyplora.frozen import FrozenCache
from bench.methods.hyplora.gate import gate, gram
from bench.methods.hyplora.update import _triton, gate_kernels, rotation_update
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


def frozen(B, K, s):
    """What a layer caches for inference."""
    return FrozenCache().get(B, K, s, lambda raw: raw)


@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@few
@given(seeds, curvatures, norms)
def test_the_update_with_cached_values_is_the_update_in_training(count, dtype, seed, K, norm):
    (x, A, B, K_, s), _ = inputs(seed, K, norm, torch.float64)
    x = torch.cat([x[: count - 1], x.new_zeros(1, D)]) if count > 1 else x[:1]
    x, A, B, K_, s = (
        t.detach() for t in (x.to(dtype), A.to(dtype), B.to(dtype), K_.float(), s.float())
    )
    expected = fast(x, A, B, K_, s)
    start = torch.zeros(count, M, dtype=dtype)
    cached = frozen(B, K_, s)
    with torch.no_grad():
        found = rotation_update(
            start, x, x, A, B, K_, s, max_radius=12.0, scaling=1.0, frozen=cached
        )
    assert found is start and "gram" not in vars(cached)  # which this variant does not read
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    assert error(found, expected) < tolerance


def test_float16_does_not_overflow_with_cached_values():
    (x, A, B, K, s), _ = inputs(0, 1.0, 30 * math.sqrt(D), torch.float32)
    x, A, B = (tensor.detach().half() for tensor in (x, A * 20, B * 1e-3))
    start = torch.zeros(TOKENS, M, dtype=torch.float16)
    options = {"max_radius": 12.0, "scaling": 1.0}
    with torch.no_grad():
        expected = rotation_update(start.clone(), x, x, A, B, K, s, **options)
        cached = frozen(B, K.detach(), s.detach())
        found = rotation_update(start, x, x, A, B, K, s, **options, frozen=cached)
    assert expected.isfinite().all() and error(found, expected) < 1e-2


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
    start = torch.zeros(TOKENS, M, dtype=torch.float64)
    delta = rotation_update(start, x, dropped, A, B, K, s, max_radius=12.0, scaling=3.0)
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
    tensors, grad_y = inputs(3, 0.5, 0.5 * math.sqrt(D), torch.float32)
    x, A, B, K, s = tensors
    h = F.linear(x.bfloat16(), A.bfloat16())
    with (
        patch.object(gate_module, "scalar_dtype", lambda x: scalars),
        torch.autocast("cpu", dtype=torch.bfloat16),
    ):
        y, grads = gradients(fast, tensors, grad_y)
        g = gate(x, A, B, K, s)
    assert y.dtype == torch.bfloat16 and all(grad.dtype == torch.float32 for grad in grads)
    assert error(g, literal_gate(x, F.linear(x, A) @ B.mT, K, s)) < 1e-6
    expected = literal_gate(x, h.float() @ B.mT, K, s)[:, None] * (h.float() @ B.mT)
    assert error(y, expected) < 1e-2
    delta, exact = gradients(fast, tensors, grad_y)
    scales = scalar_scales(x, exact[0], delta, grad_y, K, s)
    for name, ours, theirs in zip("xABKs", grads, exact, strict=True):
        assert error(ours, theirs, scales.get(name)) < 1e-2, name


def test_the_update_is_added_in_place_to_what_is_not_a_view():
    (x, A, B, K, s), grad_y = inputs(6, 0.5, 3.0, torch.float64)
    weight = torch.randn(M, D, dtype=torch.float64)
    options = {"max_radius": 12.0, "scaling": 1.0}
    results = []
    for base in (x @ weight.mT, (x @ weight.mT).view(TOKENS, M)):
        y = rotation_update(base, x, x, A, B, K, s, **options)
        assert (y.data_ptr() == base.data_ptr()) == (not base._is_view())
        results.append((y, *torch.autograd.grad(y, (x, A, B, s), grad_y)))
    assert all(torch.allclose(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("sign", [1, -1])
def test_gradcheck(sign):
    (x, A, B, K, s), _ = inputs(7, 0.5, 3.0, torch.float64)
    s = (sign * s.detach()).requires_grad_()
    dropped = (x.detach() * 0.5).requires_grad_()

    def function(x, dropped, A, B, K, s):
        start = torch.ones(TOKENS, M, dtype=torch.float64)
        return rotation_update(start, x, dropped, A, B, K, s, max_radius=0.5, scaling=2.0)

    assert torch.autograd.gradcheck(function, (x, dropped, A, B, K, s))


def test_the_update_is_odd_in_the_norm_scale():
    (x, A, B, K, s), _ = inputs(4, 0.5, 3.0, torch.float64)
    expected = -fast(x, A, B, K, s)
    assert error(fast(x, A, B, K, -s), expected) < 1e-12
    assert torch.equal(gate(x, A, B, K, -s), -gate(x, A, B, K, s))
    for count in (1, 3, 5):
        given = (x[:count], x[:count], A, B, K, -s)
        with torch.no_grad():
            start = torch.zeros(count, M, dtype=torch.float64)
            own = {"max_radius": 12.0, "scaling": 1.0, "frozen": frozen(B, K, -s)}
            assert error(rotation_update(start, *given, **own), expected[:count]) < 1e-12


def test_without_working_kernels_the_plain_form_is_used(caplog):
    # Triton is not installed, or finds no GPU.
    x = SimpleNamespace(is_cuda=True, dtype=torch.bfloat16, device=torch.device("cpu"))
    _triton.cache_clear()
    for _ in range(2):
        assert gate_kernels(x, 8) is gate_module
    assert len(caplog.records) == 1 and "without its Triton kernels" in caplog.text


# The cached values


@pytest.mark.parametrize("which", [0, 1, 2], ids=["B", "K", "s"])
@pytest.mark.parametrize(
    "change",
    [
        lambda p: torch.optim.SGD([p], lr=1.0).step(),
        lambda p: p.detach().mul_(2),
        lambda p: setattr(p, "data", p.data * 2),
        lambda p: torch.nn.Module.load_state_dict(
            torch.nn.ParameterList([p]), {"0": torch.ones_like(p)}
        ),
    ],
    ids=["optimiser", "in place", "new data", "load_state_dict"],
)
def test_the_cache_keeps_its_values_until_a_tensor_changes(change, which):
    cache = FrozenCache()
    tensors = [torch.nn.Parameter(torch.rand(shape) + 1) for shape in ((M, R), (1,), (1,))]
    changed = tensors[which]
    changed.grad = torch.ones_like(changed)

    def get(cache):
        return cache.get(*tensors, lambda raw: raw)

    first = get(cache)
    assert get(cache) is first and torch.equal(first.gram, gram(tensors[0].detach()))
    assert get(copy.deepcopy(cache)) is not first
    change(changed)
    again, fresh = get(cache), frozen(*tensors)
    assert again is not first and again.unit == fresh.unit
    assert torch.equal(again.root, fresh.root)


def test_the_cache_does_not_take_another_tensor_for_B():
    cache, one = FrozenCache(), torch.ones(1)
    for _ in range(20):  # freed memory, and so addresses, come back
        B = torch.nn.Parameter(torch.randn(M, R))
        assert torch.equal(cache.get(B, one, one, torch.clone).gram, gram(B.detach()))
    B.data.mul_(2)  # does not change the version counter
    again = torch.nn.Parameter(B.data)
    assert torch.equal(cache.get(again, one, one, torch.clone).gram, gram(again.detach()))

"""The Triton kernels of the gate, run by Triton's interpreter in a process of their own."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

# d, r, K, the scale of the tensors and the sign of s: tokens that are shorter and longer than a
# block, ranks that are powers of 2 and others, and small and large arguments of the series for each
# curvature.
CASES = [
    (24, 8, 0.1, 1.0),
    (33, 5, 1.0, 0.01),
    (1500, 5, 100.0, 1.0),
    (2048, 32, 0.1, 0.01),
    (24, 8, 1.0, 1.0),
    (33, 5, 100.0, 0.01),
    (24, 8, 1.0, 1.0, -1),
]


def errors(d, r, K, scale, sign=1):
    """Relative errors against float64, of the value and of each gradient."""
    import torch

    from bench.methods.hyplora import gate, kernels

    torch.manual_seed(0)
    x, h, B, grad = (torch.randn(shape) * scale for shape in ((6, d), (6, r), (40, r), (6, r)))
    x[0], x[1] = 0.0, x[1] * 50  # a zero token and an outlier
    tensors = (x, h, B.mT @ B, torch.tensor([K]), torch.tensor([sign * math.sqrt(d)]))
    wide = [tensor.double() for tensor in tensors]
    value, parts = kernels.scale_tokens(*tensors, 2.0, 12.0)
    exact, exact_parts = gate.scale_tokens(*wide, 2.0, 12.0)
    rest = (2.0, 12.0, (True, True))
    found = kernels.scale_tokens_backward(grad, *tensors[1:], parts, *rest)
    expected = gate.scale_tokens_backward(grad.double(), *wide[1:], exact_parts, *rest)
    pairs = {"value": (value, exact)}
    pairs |= {name: (getattr(found, name), getattr(expected, name)) for name in found._fields}
    pairs["along_x"] = (found.along_x * x, expected.along_x * wide[0])
    root = torch.linalg.qr(B, mode="r").R
    frozen = kernels.scale_frozen(*tensors[:2], root, *tensors[3:], 2.0, 12.0)
    pairs["frozen"] = (frozen, exact)
    return {name: float((a - b).norm() / b.norm()) for name, (a, b) in pairs.items()}


def through_layers():
    """The largest error of whole updates, with and without gradients, with a gate by kernels."""
    from unittest.mock import patch

    import torch

    from bench.methods.hyplora import kernels, update
    from bench.methods.hyplora.frozen import FrozenCache

    x, A, B = (torch.randn(shape) for shape in ((6, 24), (8, 24), (40, 8)))
    K, s = torch.tensor([0.5]), torch.tensor([4.0])

    def updates():
        parameters = [t.clone().requires_grad_() for t in (x, A, B, K, s)]
        tokens, *rest = parameters
        given = (torch.ones(6, 40), tokens, tokens, *rest)
        options = {"max_radius": 12.0, "scaling": 2.0}
        y = update.rotation_update(*given, **options)
        found = [y.detach(), *torch.autograd.grad(y.square().sum(), parameters)]
        with torch.no_grad():
            frozen = FrozenCache().get(*rest[1:], lambda raw: raw)
            return [*found, update.rotation_update(*given, **options, frozen=frozen)]

    expected = updates()
    with patch.object(update, "gate_kernels", lambda *_: kernels):
        found = updates()
    return max(float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True))


def choice():
    """The kernels that are chosen for two ranks, in a process in which Triton works on a CPU."""
    from types import SimpleNamespace

    import torch

    from bench.methods.hyplora.update import LARGEST_RANK, gate_kernels

    x = SimpleNamespace(is_cuda=True, dtype=torch.bfloat16, device=torch.device("cpu"))
    return [gate_kernels(x, rank).__name__ for rank in (LARGEST_RANK, LARGEST_RANK + 1)]


@pytest.fixture(scope="module")
def measured():
    """The errors of each case."""
    if find_spec("triton") is None:
        pytest.skip("needs triton")
    code = (
        "import json; from tests.methods.test_kernels import *;"
        "print(json.dumps([[errors(*case) for case in CASES], through_layers(), choice()]))"
    )
    # Triton reads the variable when a kernel is defined.
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("value", 1e-5),
        ("frozen", 1e-5),
        *((name, 1e-4) for name in ("by_h", "along_x", "weighted", "by_K", "by_s")),
    ],
)
def test_values_and_gradients_are_those_of_the_plain_form(measured, name, tolerance):
    assert len(measured[0]) == len(CASES)
    assert max(found[name] for found in measured[0]) < tolerance


def test_layers_compute_the_same_with_the_kernels(measured):
    assert measured[1] < 1e-5


def test_the_kernels_are_used_up_to_a_rank(measured):
    assert [name.rpartition(".")[2] for name in measured[2]] == ["kernels", "gate"]


@pytest.mark.skipif(find_spec("triton") is None, reason="needs triton")
@pytest.mark.parametrize("name", ["_forward", "_backward"])
def test_the_kernels_compile_for_a_gpu(name, tmp_path, monkeypatch):
    # Unlike the interpreter, the compiler checks types and shapes.
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from bench.methods.hyplora import kernels, update

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(kernels, name)
    tensors = dict.fromkeys(("x", "h", "scaled", "grad", "by_h"), "*bf16")
    tensors |= dict.fromkeys(("matrix", "gram", "K", "s", "parts", "weighted", "numbers"), "*fp32")
    numbers = dict.fromkeys(("tokens", "d", "r"), "i32")
    numbers |= dict.fromkeys(("scaling", "max_radius"), "fp32")
    fixed = {"tiny": 1e-15, "block": 1024, "columns_of_h": update.LARGEST_RANK, "trained": True}
    types = tensors | numbers | dict.fromkeys(fixed, "constexpr")
    source = ASTSource(
        kernel,
        {argument: types[argument] for argument in kernel.arg_names},
        {key: value for key, value in fixed.items() if key in kernel.arg_names},
    )
    options = {"enable_fp_fusion": True}  # as by default; without it Triton 3.9 warns
    assert triton.compile(source, GPUTarget("cuda", 80, 32), options).asm["cubin"]

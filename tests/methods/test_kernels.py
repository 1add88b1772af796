"""The Triton kernels of the gate, run by Triton's interpreter in a process of their own."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

SIZES = [(24, 8), (100, 16), (1500, 32), (2048, 64), (33, 5)]  # d, r
CURVATURES = [0.1, 1.0, 100.0]


def errors(d, r, K, scale):
    """Relative errors against float64, of the value and of each gradient."""
    import torch

    from bench.methods.hyplora import gate, kernels

    torch.manual_seed(0)
    x, h, B, grad = (torch.randn(shape) * scale for shape in ((6, d), (6, r), (40, r), (6, r)))
    x[0], x[1] = 0.0, x[1] * 50  # a zero token and an outlier
    tensors = (x, h, B.mT @ B, torch.tensor([K]), torch.tensor([math.sqrt(d)]))
    wide = [tensor.double() for tensor in tensors]
    value, parts = kernels.scale_tokens(*tensors, 2.0, 12.0)
    exact, exact_parts = gate.scale_tokens(*wide, 2.0, 12.0)
    rest = (2.0, 12.0, (True, True))
    found = kernels.scale_tokens_backward(grad, *tensors[1:], parts, *rest)
    expected = gate.scale_tokens_backward(grad.double(), *wide[1:], exact_parts, *rest)
    pairs = {"value": (value, exact)}
    pairs |= {name: (getattr(found, name), getattr(expected, name)) for name in found._fields}
    pairs["along_x"] = (found.along_x * x, expected.along_x * wide[0])
    return {name: float((a - b).norm() / b.norm()) for name, (a, b) in pairs.items()}


@pytest.fixture(scope="module")
def measured():
    """The errors by case."""
    if find_spec("triton") is None:
        pytest.skip("needs triton")
    code = (
        "import json; from tests.methods.test_kernels import *;"
        "print(json.dumps([[d, r, K, scale, errors(d, r, K, scale)]"
        " for d, r in SIZES for K in CURVATURES for scale in (0.01, 1.0)]))"
    )
    # Triton reads the variable when a kernel is defined.
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_the_values_are_those_of_the_plain_form(measured):
    assert len(measured) == 30
    assert max(found["value"] for *_, found in measured) < 1e-5


@pytest.mark.parametrize("name", ["by_h", "along_x", "weighted", "by_K", "by_s"])
def test_the_gradients_are_those_of_the_plain_form(measured, name):
    assert max(found[name] for *_, found in measured) < 1e-4

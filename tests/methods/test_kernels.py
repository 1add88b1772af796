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
    return {name: float((a - b).norm() / b.norm()) for name, (a, b) in pairs.items()}


@pytest.fixture(scope="module")
def measured():
    """The errors of each case."""
    if find_spec("triton") is None:
        pytest.skip("needs triton")
    code = (
        "import json; from tests.methods.test_kernels import *;"
        "print(json.dumps([errors(*case) for case in CASES]))"
    )
    # Triton reads the variable when a kernel is defined.
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("value", 1e-5), *((name, 1e-4) for name in ("by_h", "along_x", "weighted", "by_K", "by_s"))],
)
def test_values_and_gradients_are_those_of_the_plain_form(measured, name, tolerance):
    assert len(measured) == len(CASES)
    assert max(found[name] for found in measured) < tolerance

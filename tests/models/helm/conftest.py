"""Golden arrays of the public HELM code, and literal forms."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SIZES = {
    "helm_d": {
        "hidden_size": 26,
        "intermediate_size": 107,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "head_dim": 8,
    },
    "helm_mice": {
        "hidden_size": 24,
        "intermediate_size": 31,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "moe_intermediate_size": 13,
        "n_routed_experts": 4,
        "kv_lora_rank": 11,
        "qk_nope_head_dim": 6,
        "qk_rope_head_dim": 4,
        "v_head_dim": 7,
    },
}


class Golden(dict[str, Any]):
    """One file of arrays: inputs, parameters, outputs, cotangents and gradients."""

    def below(self, prefix: str) -> dict[str, Any]:
        """Arrays whose names begin with a prefix, by the rest of their names."""
        return {n.removeprefix(prefix): a for n, a in self.items() if n.startswith(prefix)}


@pytest.fixture(scope="session")
def golden(golden_file: Callable[[str], Path]) -> Callable[[str], Golden]:
    """A function that reads a file of golden arrays by its name."""
    from safetensors.torch import load_file

    return lambda name: Golden(load_file(golden_file(f"helm/{name}.safetensors")))


@pytest.fixture(scope="session")
def reference() -> SimpleNamespace:
    """The literal forms of reference.py."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("reference.py"))))


@pytest.fixture(scope="session")
def near() -> Callable[..., None]:
    """A function that asserts that tensors agree, relative to the largest entry expected."""
    import torch

    def check(
        found: Any, expected: Any, tolerance: float, name: str = "", least: float = 1e-3
    ) -> None:
        assert found.shape == expected.shape, name
        scale = max(expected.double().abs().max().item(), least)
        torch.testing.assert_close(
            found.double(), expected.double(), rtol=0, atol=tolerance * scale, msg=name or None
        )

    return check


@pytest.fixture
def config() -> Callable[..., Any]:
    """A function that gives the configuration of a golden model, or one that differs from it."""

    def make(kind: str, **options: Any) -> Any:
        from bench.models.helm import HelmConfig

        given = {"vocab_size": 53, "embedding": "lorentz", **SIZES[kind], **options}
        return HelmConfig(kind=kind, **given)

    return make

"""Golden arrays of the public HELM code, literal forms, and models with public weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[3]
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


class Golden:
    """One file of arrays: inputs, parameters, outputs, cotangents and gradients."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        self.arrays = arrays

    def __getitem__(self, name: str) -> Any:
        return self.arrays[name]

    def below(self, prefix: str) -> dict[str, Any]:
        """Arrays whose names begin with a prefix, by the rest of their names."""
        return {
            name[len(prefix) :]: array
            for name, array in self.arrays.items()
            if name.startswith(prefix)
        }


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Golden]:
    """A function that reads a file of golden arrays by its name."""
    folders = (parent / "shared" / "fixtures" / "helm" for parent in PROJECT.parents)
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        pytest.skip("the golden arrays of HELM are not next to this checkout")

    def get(name: str) -> Golden:
        from safetensors.torch import load_file

        return Golden(load_file(found / f"{name}.safetensors"))

    return get


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """The literal forms of reference.py."""
    spec = importlib.util.spec_from_file_location(
        "helm_reference", Path(__file__).with_name("reference.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


@pytest.fixture
def imported(golden: Callable[[str], Golden], config: Callable[..., Any]) -> Callable[..., Any]:
    """A function that gives a golden model in training mode, its arrays and public weights."""
    import torch

    from bench.models.helm import HelmForCausalLM

    def load(
        kind: str, dtype: Any = torch.float64, replaced: Any = None, **options: Any
    ) -> tuple[Any, Golden, dict[str, Any]]:
        arrays = golden(f"{kind}_tiny")
        state = arrays.below("param/") | (replaced or {})
        cast = {name: tensor.to(dtype) for name, tensor in state.items()}
        model = HelmForCausalLM.from_public(cast, config(kind, **options))
        return model.train(), arrays, state

    return load


@pytest.fixture(scope="session")
def own_gradients() -> Callable[..., dict[str, Any]]:
    """A function that gives public gradients under our names; those that are missing are zero."""

    def translate(model: Any, gradients: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        from bench.models.helm.importer import own_weights

        public = {name: gradients.get(name, 0 * weight) for name, weight in state.items()}
        for name, weight in state.items():
            if name.endswith("expert_manifold.k"):  # we learn log K, and the importer takes a log
                public[name] = (public[name] * weight).exp()
        return own_weights(public, model.config, model.state_dict())

    return translate

"""Models with adapters whose outputs differ from those of the base."""

from __future__ import annotations

from typing import Any

import torch

from bench.methods import attach

LAYERS = {"r": 4, "target_modules": ["q_proj", "down_proj"]}
OPTIONS: dict[str, dict[str, Any]] = {
    "lora": LAYERS,
    "hyplora": LAYERS | {"curvature": 1.0},
    "prefix": {"num_virtual_tokens": 4},
}


def adapted(base: Any, method: str, std: float) -> Any:
    """The base, in eval mode, with an adapter of normally distributed weights."""
    torch.manual_seed(0)
    model = attach(base, method, OPTIONS[method]).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=std)
    return model

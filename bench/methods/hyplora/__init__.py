"""HypLoRA (arXiv 2410.04010), low-rank adaptation in hyperbolic space, as a peft tuner.

Importing this package registers it with peft.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.methods.hyplora.config import AUTO, HYPLORA, HypLoraConfig
from bench.methods.hyplora.curvature import with_curvatures as calibrated
from bench.methods.hyplora.layer import HypLoraLinear, HypLoraModel
from bench.methods.hyplora.variants import VARIANTS
from bench.methods.targets import register

__all__ = [
    "AUTO",
    "VARIANTS",
    "HypLoraConfig",
    "HypLoraLinear",
    "HypLoraModel",
    "calibrated",
    "config",
]


def config(options: Mapping[str, Any]) -> HypLoraConfig:
    """The peft configuration for the options of conf/method/hyplora.yaml."""
    return HypLoraConfig(task_type="CAUSAL_LM", **options)


register(HYPLORA, HypLoraConfig, HypLoraModel)

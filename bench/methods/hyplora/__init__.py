"""HypLoRA (arXiv 2410.04010): low-rank adaptation in hyperbolic space, as a tuner of peft.

Importing this package registers it, so that ``peft.get_peft_model`` takes a :class:`HypLoraConfig`
and ``PeftModel.from_pretrained`` finds a saved adapter's method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.methods.hyplora.config import AUTO, HYPLORA, HypLoraConfig
from bench.methods.hyplora.curvature import with_curvatures
from bench.methods.hyplora.layer import HypLoraLinear
from bench.methods.hyplora.model import HypLoraModel
from bench.methods.hyplora.variants import VARIANTS
from bench.methods.registration import register

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


def calibrated(
    base: Any, options: Mapping[str, Any], prompts: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """The options with a curvature for each layer, where `curvature` is "auto".

    Args and errors as for :func:`bench.methods.hyplora.curvature.with_curvatures`.
    """
    return with_curvatures(base, options, prompts)


register(HYPLORA, HypLoraConfig, HypLoraModel)

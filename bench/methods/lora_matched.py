"""LoRA at HypLoRA's scale: a control that separates geometry from scale.

In each layer, plain LoRA gets HypLoRA's alpha times the mean gate of a new HypLoRA adapter. If this
control gains as much over LoRA as HypLoRA does, the gain is due to scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from peft import PeftConfig

from bench.methods import lora
from bench.methods.hyplora import HypLoraConfig
from bench.methods.hyplora.curvature import TARGET_OPTIONS, new_adapter, with_curvatures
from bench.methods.hyplora.statistics import gate_statistics

# the options that the gate depends on
_GATE_OPTIONS = ("curvature", "curvature_pattern", "norm_scale", "max_radius")


def config(options: Mapping[str, Any]) -> PeftConfig:
    """The peft configuration for the options of conf/method/lora_matched.yaml."""
    HypLoraConfig(**_of(options, *_GATE_OPTIONS))  # raises for a curvature out of range
    own = {key: value for key, value in options.items() if key not in _GATE_OPTIONS}
    return lora.config(own)


def calibrated(
    base: Any, options: Mapping[str, Any], prompts: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """The options with an alpha for each layer.

    Args:
        base: the base model, which is left unchanged.
        options: the method's options.
        prompts: token ids of the prompts that the gates are averaged over.

    Raises:
        ValueError: there are no prompts, or `alpha_pattern` is given.
    """
    if options.get("alpha_pattern"):
        raise ValueError("lora_matched measures the alpha of each layer: leave alpha_pattern out")
    if not prompts:
        raise ValueError(
            "the scale is measured on validation rows, and there are none (data.validation)"
        )
    options = with_curvatures(base, options, prompts)
    # at B = 0 the gate does not depend on the rank
    with new_adapter(base, _of(options, *_GATE_OPTIONS, *TARGET_OPTIONS)) as model:
        statistics = gate_statistics(model, prompts)
    alphas = {gates.layer: options["lora_alpha"] * gates.mean for gates in statistics}
    return {**options, "alpha_pattern": alphas}


def _of(options: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: options[key] for key in keys if key in options}

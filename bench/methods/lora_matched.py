"""LoRA at HypLoRA's scale: the control that tells geometry from scale.

With the same alpha the two methods do not work at the same scale, and another curvature is another
scale again. Here plain LoRA gets, in each layer, HypLoRA's alpha times the mean gate that HypLoRA
starts with there. A gain of HypLoRA over LoRA that this control has too is a gain of scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import peft

from bench.methods.hyplora import HypLoraConfig
from bench.methods.hyplora.curvature import started, with_curvatures
from bench.methods.hyplora.statistics import gate_statistics

# the options that the gate depends on
OF_HYPLORA = ("curvature", "curvature_pattern", "norm_scale", "max_radius")


def config(options: Mapping[str, Any]) -> peft.LoraConfig:
    """The peft configuration for the options of conf/method/lora_matched.yaml."""
    HypLoraConfig(**_of_hyplora(options))  # a curvature out of its range is refused here
    own = {key: value for key, value in options.items() if key not in OF_HYPLORA}
    return peft.LoraConfig(task_type="CAUSAL_LM", **own)


def calibrated(
    base: Any, options: Mapping[str, Any], prompts: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """The options with an alpha for each layer.

    Args:
        base: the untouched base model; it is left as it is.
        options: of the method.
        prompts: token ids of the sample that the mean gates are taken over.

    Raises:
        ValueError: there are no prompts.
    """
    if not prompts:
        raise ValueError("its scale is measured on validation rows: data.validation must not be 0")
    options = with_curvatures(base, options, prompts)
    targets = {"target_modules": options.get("target_modules")}
    # With B = 0 the gate does not depend on the rank.
    with started(base, _of_hyplora(options) | targets) as model:
        measured = gate_statistics(model, prompts)
    alphas = {gates.layer: options["lora_alpha"] * gates.mean for gates in measured}
    return {**options, "alpha_pattern": alphas}


def _of_hyplora(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: options[key] for key in OF_HYPLORA if key in options}

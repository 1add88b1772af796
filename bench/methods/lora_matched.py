"""LoRA at HypLoRA's scale: the control that tells geometry from scale.

With the same alpha the two methods do not work at the same scale, and another curvature is another
scale again. Here plain LoRA gets, in each layer, HypLoRA's alpha times the mean gate that HypLoRA
starts with there. A gain of HypLoRA over LoRA that this control has too is a gain of scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import peft
import torch

from bench.methods.hyplora import HypLoraConfig
from bench.methods.hyplora.statistics import gate_statistics

OF_HYPLORA = ("curvature", "norm_scale", "max_radius")  # the options that the gate depends on


def config(options: Mapping[str, Any]) -> peft.LoraConfig:
    """The peft configuration for the options of conf/method/lora_matched.yaml."""
    _gate_config(options)  # a curvature out of its range is refused here
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
    with torch.random.fork_rng():  # LoRA's own start stays what it is without this
        model = peft.get_peft_model(base, _gate_config(options))
        measured = gate_statistics(model, prompts)
        model.unload()
    alphas = {gates.layer: options["lora_alpha"] * gates.mean for gates in measured}
    return {**options, "alpha_pattern": alphas}


def _gate_config(options: Mapping[str, Any]) -> HypLoraConfig:
    """HypLoRA as it starts, with B = 0, where the gate does not depend on the rank."""
    gate_options = {key: options[key] for key in OF_HYPLORA if key in options}
    return HypLoraConfig(
        task_type="CAUSAL_LM", r=1, target_modules=options.get("target_modules"), **gate_options
    )

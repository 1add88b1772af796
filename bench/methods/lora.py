"""LoRA (Hu et al. 2021), W x + (alpha/r) B A x: peft's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peft import LoraConfig, PeftConfig

from bench.methods.targets import (
    require_by_layer,
    require_dropout,
    require_positive,
    require_size,
)


def config(options: Mapping[str, Any]) -> PeftConfig:
    """The peft configuration for the options of conf/method/lora.yaml.

    Raises:
        ValueError: an option is out of range; peft would fail later or train nothing.
    """
    require_positive("lora_alpha", options.get("lora_alpha", 8))
    require_dropout("lora_dropout", options.get("lora_dropout", 0.0))
    for pattern, require in (("rank_pattern", require_size), ("alpha_pattern", require_positive)):
        by_layer = options.get(pattern) or {}
        require_by_layer(pattern, by_layer)
        for name, value in by_layer.items():
            require(f"{pattern}[{name!r}]", value)
    return LoraConfig(task_type="CAUSAL_LM", **options)

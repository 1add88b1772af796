"""LoRA (Hu et al. 2021), W x + (alpha/r) B A x: peft's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peft import LoraConfig, PeftConfig

from bench.methods.targets import require_dropout, require_positive, require_size


def config(options: Mapping[str, Any]) -> PeftConfig:
    """The peft configuration for the options of conf/method/lora.yaml.

    Raises:
        ValueError: an option is out of range; peft would fail later or train nothing.
    """
    require_positive("lora_alpha", options.get("lora_alpha", 8))
    require_dropout("lora_dropout", options.get("lora_dropout", 0.0))
    for name, rank in (options.get("rank_pattern") or {}).items():
        require_size(f"rank_pattern[{name!r}]", rank)
    return LoraConfig(task_type="CAUSAL_LM", **options)

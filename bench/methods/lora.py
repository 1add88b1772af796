"""LoRA (Hu et al. 2021), W x + (alpha/r) B A x: peft's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peft import LoraConfig, PeftConfig


def config(options: Mapping[str, Any]) -> PeftConfig:
    """The peft configuration for the options of conf/method/lora.yaml."""
    return LoraConfig(task_type="CAUSAL_LM", **options)

"""Prefix-tuning (Li and Liang 2021): trained keys and values before every layer; peft's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peft import PeftConfig, PrefixTuningConfig

from bench.methods.targets import require_size


def config(options: Mapping[str, Any]) -> PeftConfig:
    """The peft configuration for the options of conf/method/prefix.yaml."""
    require_size("num_virtual_tokens", options.get("num_virtual_tokens"))
    return PrefixTuningConfig(task_type="CAUSAL_LM", **options)

"""Prefix-tuning (Li and Liang 2021): trained keys and values before every layer; peft's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peft import PeftConfig, PrefixTuningConfig


def config(options: Mapping[str, Any]) -> PeftConfig:
    """The peft configuration for the options of conf/method/prefix.yaml."""
    return PrefixTuningConfig(task_type="CAUSAL_LM", **options)

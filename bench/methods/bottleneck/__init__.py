"""Series and parallel bottleneck adapters (Houlsby et al. 2019) as a peft tuner.

Importing this package registers it with peft.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.methods.bottleneck.config import BOTTLENECK, BottleneckConfig
from bench.methods.bottleneck.layer import BottleneckLinear
from bench.methods.bottleneck.model import BottleneckModel
from bench.methods.registration import register

__all__ = ["BottleneckConfig", "BottleneckLinear", "BottleneckModel", "config"]


def config(options: Mapping[str, Any]) -> BottleneckConfig:
    """The peft configuration for the options of conf/method/{series,parallel}.yaml."""
    return BottleneckConfig(task_type="CAUSAL_LM", **options)


register(BOTTLENECK, BottleneckConfig, BottleneckModel)

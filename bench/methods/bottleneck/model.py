"""Bottleneck adapters as a peft tuner."""

from __future__ import annotations

from typing import Any

from bench.methods.bottleneck.config import BottleneckConfig
from bench.methods.bottleneck.layer import NOT_LINEAR, BottleneckLinear
from bench.methods.targets import LinearTuner


class BottleneckModel(LinearTuner):
    """A model with bottleneck adapters, created by ``peft.get_peft_model``."""

    method = "A bottleneck adapter"
    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLinear
    # no defaults by architecture: peft then asks for target_modules
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012  (peft only reads it)

    def _layer_options(self, peft_config: BottleneckConfig, layer_name: str) -> dict[str, Any]:
        return {"position": peft_config.position(layer_name)}

    def _check_merge_allowed(self) -> None:
        raise NotImplementedError(NOT_LINEAR)

"""Bottleneck adapters as a tuner of peft: which layers are wrapped, and how."""

from __future__ import annotations

from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from bench.methods.bottleneck.config import BottleneckConfig
from bench.methods.bottleneck.layer import NOT_LINEAR, BottleneckLinear
from bench.methods.targets import require_linear


class BottleneckModel(BaseTuner):
    """A model whose target layers carry bottleneck adapters. Made by ``peft.get_peft_model``."""

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLinear
    # none by architecture: peft then asks for target_modules
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012  (peft reads it alone)

    def _create_and_replace(
        self,
        peft_config: BottleneckConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        position = peft_config.position(current_key)
        if isinstance(target, BottleneckLinear):
            target.update_layer(adapter_name, peft_config, position=position)
            return
        require_linear(target, current_key, "A bottleneck adapter")
        layer = BottleneckLinear(target, adapter_name, peft_config, position=position)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)  # a further adapter trains once it is made active
        self._replace_module(parent, target_name, layer, target)

    def _check_merge_allowed(self) -> None:
        raise NotImplementedError(NOT_LINEAR)

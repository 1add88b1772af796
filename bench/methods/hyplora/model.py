"""HypLoRA as a tuner of peft: which layers are wrapped, and how."""

from __future__ import annotations

from typing import Any

from peft.tuners.tuners_utils import BaseTuner
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from peft.utils.other import get_pattern_key
from torch import nn

from bench.methods.hyplora.config import HypLoraConfig
from bench.methods.hyplora.layer import NOT_LINEAR, HypLoraLinear
from bench.methods.hyplora.variants import VARIANTS
from bench.methods.targets import require_linear

# The options of which a layer may have its own value, and where the configuration has those values.
PATTERNS = {"r": "rank_pattern", "lora_alpha": "alpha_pattern", "curvature": "curvature_pattern"}


class HypLoraModel(BaseTuner):
    """A model whose target layers carry HypLoRA adapters. Made by ``peft.get_peft_model``."""

    prefix = "hyplora_"
    tuner_layer_cls = HypLoraLinear
    # the architectures' attention projections, as for LoRA
    target_module_mapping = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    def _create_and_replace(
        self,
        peft_config: HypLoraConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        own: dict[str, Any] = {"layer_name": current_key}
        for option, name in PATTERNS.items():
            pattern = getattr(peft_config, name)
            key = get_pattern_key(list(pattern), current_key)
            own[option] = pattern.get(key, getattr(peft_config, option))
        if isinstance(target, HypLoraLinear):
            target.update_layer(adapter_name, peft_config, **own)
            return
        require_linear(target, current_key, "HypLoRA")
        layer = HypLoraLinear(target, adapter_name, peft_config, **own)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)  # a further adapter trains once it is made active
        self._replace_module(parent, target_name, layer, target)

    def _check_merge_allowed(self) -> None:
        super()._check_merge_allowed()
        configs: dict[str, HypLoraConfig] = self.peft_config
        if not all(VARIANTS[configs[name].variant].linear for name in self.active_adapters):
            raise NotImplementedError(NOT_LINEAR)

"""HypLoRA as a peft tuner."""

from __future__ import annotations

from typing import Any

from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from peft.utils.other import get_pattern_key

from bench.methods.hyplora.config import HypLoraConfig
from bench.methods.hyplora.layer import NOT_LINEAR, HypLoraLinear
from bench.methods.hyplora.variants import VARIANTS
from bench.methods.targets import LinearTuner

# options that may differ by layer
_PATTERNS = {"r": "rank_pattern", "lora_alpha": "alpha_pattern", "curvature": "curvature_pattern"}


class HypLoraModel(LinearTuner):
    """A model with HypLoRA adapters, created by ``peft.get_peft_model``."""

    method = "HypLoRA"
    prefix = "hyplora_"
    tuner_layer_cls = HypLoraLinear
    target_module_mapping = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    def _layer_options(self, peft_config: HypLoraConfig, layer_name: str) -> dict[str, Any]:
        options: dict[str, Any] = {"layer_name": layer_name}
        for option, pattern_name in _PATTERNS.items():
            pattern = getattr(peft_config, pattern_name)
            key = get_pattern_key(list(pattern), layer_name)
            options[option] = pattern.get(key, getattr(peft_config, option))
        return options

    def _check_merge_allowed(self) -> None:
        super()._check_merge_allowed()
        configs: dict[str, HypLoraConfig] = self.peft_config
        if not all(VARIANTS[configs[name].variant].linear for name in self.active_adapters):
            raise NotImplementedError(NOT_LINEAR)

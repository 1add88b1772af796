"""HypLoRA (arXiv 2410.04010): low-rank adaptation in hyperbolic space, as a tuner of peft.

Importing this package registers it, so that ``peft.get_peft_model`` takes a :class:`HypLoraConfig`
and ``PeftModel.from_pretrained`` finds a saved adapter's method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from peft.utils import register_peft_method

from bench.methods.hyplora.config import HYPLORA, HypLoraConfig
from bench.methods.hyplora.gate import VARIANTS
from bench.methods.hyplora.layer import HypLoraLinear
from bench.methods.hyplora.model import HypLoraModel

__all__ = ["VARIANTS", "HypLoraConfig", "HypLoraLinear", "HypLoraModel", "config"]


def config(options: Mapping[str, Any]) -> HypLoraConfig:
    """The peft configuration for the options of conf/method/hyplora.yaml."""
    return HypLoraConfig(task_type="CAUSAL_LM", **options)


def _register() -> None:
    # peft refuses a name that it knows, and a reloaded module brings new classes of the same name
    known = PEFT_TYPE_TO_CONFIG_MAPPING.get(HYPLORA)
    if known is not None and known.__module__ == HypLoraConfig.__module__:
        for mapping in (
            PEFT_TYPE_TO_CONFIG_MAPPING,
            PEFT_TYPE_TO_TUNER_MAPPING,
            PEFT_TYPE_TO_PREFIX_MAPPING,
        ):
            mapping.pop(HYPLORA, None)
    register_peft_method(name="hyplora", config_cls=HypLoraConfig, model_cls=HypLoraModel)


_register()

"""The dtypes that a method computes in: of its adapter, and of its products."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from bench.methods.hyplora.layer import ScalarDict


@dataclass(frozen=True)
class Regime:
    """How an adapter runs on a base of lower precision.

    Attributes:
        float32: whether the adapter's weights are float32; else they have the base's dtype.
        autocast: whether products are computed in bfloat16 by autocast.
    """

    float32: bool
    autocast: bool

    def context(self, device: torch.device) -> torch.autocast:
        """The context of a forward pass on a device; also a decorator."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.autocast)


# On a float32 base all are the same, and the first is measured.
REGIMES = {
    "uniform": Regime(float32=False, autocast=False),  # a merged or converted adapter
    "evaluation": Regime(float32=True, autocast=False),  # how answers are generated
    "training": Regime(float32=True, autocast=True),  # how fine-tuning runs (bf16-mixed)
}


def regimes_of(dtype: torch.dtype, chosen: list[str]) -> list[str]:
    """The regimes to measure on a base of this dtype; all if none is chosen."""
    return list(REGIMES)[:1] if dtype == torch.float32 else chosen or list(REGIMES)


def put_in(regime: Regime, model: nn.Module, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """Convert a model's adapter, and run its forward passes under autocast if the regime does.

    Args:
        model: changed in place; what can be trained is its adapter.
        dtype: of its base.
    """
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            # HypLoRA's scalars keep their dtype in every conversion.
            if parameter.requires_grad and not isinstance(module, ScalarDict):
                parameter.data = parameter.data.to(torch.float32 if regime.float32 else dtype)
    if regime.autocast:
        for module in model.modules():
            if isinstance(module, BaseTunerLayer):
                # As in fine-tuning.
                module.cast_input_dtype_enabled = False  # type: ignore[assignment]
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
        for module in {model, inner}:  # decoding calls the inner one
            module.forward = regime.context(device)(module.forward)
    return model

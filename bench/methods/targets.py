"""What our tuners share: how their targets are configured, and the layer that wraps one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn


@dataclass
class TargetedConfig(PeftConfig):
    """A peft configuration of a method that adapts linear layers.

    Args:
        target_modules: names or a regular expression of the linear layers to adapt; "all-linear"
            takes all of them.
        exclude_modules: names or a regular expression of modules not to adapt.
        layers_to_transform: indices of the only layers to adapt; needs a list of targets.
        layers_pattern: the name of the list of layers, where it is not a usual one.
        modules_to_save: further modules to train in full and to save with the adapter.

    Raises:
        ValueError: `layers_to_transform` or `layers_pattern` beside a regular expression.
    """

    target_modules: list[str] | str | None = field(
        default=None, metadata={"help": "names or regular expression of the layers to adapt"}
    )
    exclude_modules: list[str] | str | None = field(
        default=None, metadata={"help": "names or regular expression of modules to leave alone"}
    )
    layers_to_transform: list[int] | int | None = field(
        default=None, metadata={"help": "indices of the only layers to adapt"}
    )
    layers_pattern: list[str] | str | None = field(
        default=None, metadata={"help": "name of the list of layers, where it is not a usual one"}
    )
    modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "further modules to train in full and to save"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("target_modules", "exclude_modules"):
            value = getattr(self, name)
            if isinstance(value, (list, tuple)):
                setattr(self, name, set(value))
        if isinstance(self.target_modules, str):
            for name in ("layers_to_transform", "layers_pattern"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name} needs target_modules as a list of names, not as the regular "
                        f"expression {self.target_modules!r}"
                    )


def is_number(value: Any) -> bool:
    """Whether a value is a finite real number, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def require_linear(target: nn.Module, name: str, method: str) -> None:
    """Refuse a target that is no linear layer.

    Raises:
        ValueError: it is none; the message says what to name instead.
    """
    if not isinstance(target, nn.Linear):
        raise ValueError(
            f"{method} adapts torch.nn.Linear layers, but target_modules matches {name!r}, which "
            f"is a {type(target).__name__}. Name only linear layers in target_modules, or leave "
            "this one out with exclude_modules."
        )


class NonlinearLayer(BaseTunerLayer):
    """A wrapped layer whose update is not linear in its input, so that nothing can be merged.

    Attributes:
        not_linear: why, and what to do instead: the message of a refused merge.
    """

    not_linear: str

    def _move_adapter_to_device_of_base_layer(
        self, adapter_name: str, device: torch.device | None = None
    ) -> None:
        """Move an adapter to the base's device, and leave its dtype alone.

        peft's own casts to the base's dtype as well: on a bfloat16 base that rounds K and s, and
        the factors of a checkpoint that was just loaded.
        """
        if device is None:
            device, _ = self._get_base_layer_device_and_dtype(self.get_base_layer())
        if device is None or device.type == "meta":
            return
        for name in self.adapter_layer_names:
            container = getattr(self, name)
            if adapter_name not in container:
                continue
            item = container[adapter_name]
            for parameter in item.parameters() if isinstance(item, nn.Module) else [item]:
                if not parameter.is_meta:  # else its values come later, with the checkpoint
                    parameter.data = parameter.data.to(device)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Refuse: there is no such weight matrix.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(self.not_linear)

    def unmerge(self) -> None:
        """Nothing to do, since nothing is ever merged."""

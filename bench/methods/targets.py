"""Common parts of our peft tuners: registration, the configuration of targets, tuner, layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from peft import PeftConfig, PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import register_peft_method
from torch import nn


@dataclass
class TargetedConfig(PeftConfig):
    """A peft configuration of a method that adapts linear layers.

    Args:
        target_modules: names or a regular expression of the linear layers to adapt; "all-linear"
            for all of them.
        exclude_modules: names or a regular expression of modules not to adapt.
        layers_to_transform: indices of the blocks to adapt; needs a list of targets.
        layers_pattern: name of the list of blocks, if it is unusual.
        modules_to_save: additional modules to train in full and to save with the adapter.

    Raises:
        ValueError: `layers_to_transform` or `layers_pattern` with a regular expression.
    """

    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    modules_to_save: list[str] | None = None

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
                        f"{name} needs target_modules as a list of names, got the regular "
                        f"expression {self.target_modules!r}"
                    )


def is_finite_number(value: Any) -> bool:
    """Whether a value is a finite real number and not a bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def require_positive(name: str, value: Any, otherwise: str = "") -> None:
    """Raise ValueError for an option that is not a positive finite number."""
    if not (is_finite_number(value) and value > 0):
        raise ValueError(f"{name} must be a positive finite number{otherwise}, got {value!r}")


def require_by_layer(pattern: str, value: Any) -> None:
    """Raise ValueError for an option that does not map layers to numbers."""
    if not isinstance(value, dict):
        raise ValueError(
            f"{pattern} must map layers to numbers, like {{'down_proj': 2}}, got {value!r}"
        )


def require_size(name: str, value: Any) -> None:
    """Raise ValueError for an option that is not a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")


def require_dropout(name: str, value: Any) -> None:
    """Raise ValueError for a probability of dropout outside of [0, 1)."""
    if not (is_finite_number(value) and 0 <= value < 1):
        raise ValueError(f"{name} must be in [0, 1), got {value!r}")


class LinearTuner(BaseTuner):
    """A tuner that wraps linear layers in its ``tuner_layer_cls``.

    Attributes:
        method: name of the method in messages.
        tuner_layer_cls: called with the layer to wrap and the arguments of ``update_layer``: an
            adapter's name and configuration, and the layer's full name in the model.
    """

    method: str
    tuner_layer_cls: type[Any]

    def _create_and_replace(
        self,
        peft_config: PeftConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        if isinstance(target, self.tuner_layer_cls):
            target.update_layer(adapter_name, peft_config, current_key)
            return
        if not isinstance(target, nn.Linear):
            raise ValueError(
                f"{self.method} adapts torch.nn.Linear layers, but target_modules matches "
                f"{current_key!r}, which is a {type(target).__name__}. Name only linear layers in "
                "target_modules, or exclude this one with exclude_modules."
            )
        layer = self.tuner_layer_cls(target, adapter_name, peft_config, current_key)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)  # an additional adapter is trained once it is active
        self._replace_module(parent, target_name, layer, target)


class LinearLayer(BaseTunerLayer):
    """A ``torch.nn.Linear`` with adapters that keep their dtype when they are moved."""

    # Under autocast False, by peft's disable_input_dtype_casting, which demands the attribute.
    cast_input_dtype_enabled = True

    def _wrap(self, base_layer: nn.Linear, adapter_name: str) -> None:
        self.base_layer = base_layer
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features
        self.merged_adapters = []
        self._active_adapter = adapter_name
        # peft's class attribute is one dictionary for all layers
        self.frozen_peft_weight_names: dict[str, tuple[str, ...]] = {}

    def _in_trainable_dtype(self, module: nn.Module) -> nn.Module:
        _, dtype = self._get_base_layer_device_and_dtype(self.get_base_layer())
        if dtype is None or not dtype.is_floating_point or dtype.itemsize < 2:
            return module
        return module.to(dtype)

    def _move_adapter_to_device_of_base_layer(
        self, adapter_name: str, device: torch.device | None = None
    ) -> None:
        """Move an adapter to the base's device without changing its dtype.

        peft also casts to the base's dtype. On a bfloat16 base that would round K and s, and the
        factors of a loaded checkpoint.
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
                if not parameter.is_meta:  # loaded later from the checkpoint
                    parameter.data = parameter.data.to(device)


def add_peft_type(name: str) -> PeftType:
    """The member ``name`` (upper case) of ``peft.PeftType``, added if it is missing.

    peft only registers and loads methods of that enumeration, and has no public way to extend it.
    """
    if name not in PeftType.__members__:
        member = str.__new__(PeftType, name)
        vars(member).update(
            _name_=name, _value_=name, __objclass__=PeftType, _sort_order_=len(PeftType)
        )
        PeftType._member_names_.append(name)
        PeftType._member_map_[name] = member
        PeftType._value2member_map_[name] = member
        # used by newer Python versions
        getattr(PeftType, "_hashable_values_", []).append(name)
        type.__setattr__(PeftType, name, member)
    return PeftType[name]


def register(peft_type: PeftType, config_cls: type[Any], model_cls: type[Any]) -> None:
    """Register a method's ``PeftConfig`` and ``BaseTuner`` with peft, unless already registered.

    Raises:
        KeyError: peft has another method of that name.
    """
    known = PEFT_TYPE_TO_CONFIG_MAPPING.get(peft_type)
    if known is None or known.__module__ != config_cls.__module__:
        register_peft_method(name=peft_type.lower(), config_cls=config_cls, model_cls=model_cls)

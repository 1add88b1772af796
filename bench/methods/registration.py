"""Registration of our methods with peft."""

from __future__ import annotations

from typing import Any

from peft import PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import register_peft_method


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
    """Register a method's ``PeftConfig`` and ``BaseTuner`` with peft, unless that has been done.

    Raises:
        KeyError: peft has another method of that name.
    """
    known = PEFT_TYPE_TO_CONFIG_MAPPING.get(peft_type)
    if known is None or known.__module__ != config_cls.__module__:
        register_peft_method(name=peft_type.lower(), config_cls=config_cls, model_cls=model_cls)

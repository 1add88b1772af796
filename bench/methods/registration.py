"""How a method of ours becomes one of peft's: a member of its enumeration, and a registration."""

from __future__ import annotations

from typing import Any

from peft import PeftType
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from peft.utils import register_peft_method


def add_peft_type(name: str) -> PeftType:
    """Make ``name`` a member of ``peft.PeftType``, if it is not one.

    peft looks a saved adapter's method up by that enumeration and registers no method whose name
    is not in it, but has no public way to extend it.

    Args:
        name: the method's name in upper case.

    Returns:
        The member.
    """
    if name not in PeftType.__members__:
        member = str.__new__(PeftType, name)
        vars(member).update(
            _name_=name, _value_=name, __objclass__=PeftType, _sort_order_=len(PeftType)
        )
        PeftType._member_names_.append(name)
        PeftType._member_map_[name] = member
        PeftType._value2member_map_[name] = member
        # newer Pythons look members up here as well
        getattr(PeftType, "_hashable_values_", []).append(name)
        type.__setattr__(PeftType, name, member)
    return PeftType[name]


def register(peft_type: PeftType, config_cls: type[Any], model_cls: type[Any]) -> None:
    """Register a method with peft under its type's name in lower case.

    Args:
        peft_type: from :func:`add_peft_type`.
        config_cls: the method's ``peft.PeftConfig``.
        model_cls: its ``peft.tuners.tuners_utils.BaseTuner``.

    Raises:
        KeyError: peft has a method of that name which is not ours.
    """
    # peft refuses a name that it knows, and a reloaded module brings new classes of the same name
    known = PEFT_TYPE_TO_CONFIG_MAPPING.get(peft_type)
    if known is not None and known.__module__ == config_cls.__module__:
        for mapping in (
            PEFT_TYPE_TO_CONFIG_MAPPING,
            PEFT_TYPE_TO_TUNER_MAPPING,
            PEFT_TYPE_TO_PREFIX_MAPPING,
        ):
            mapping.pop(peft_type, None)
    register_peft_method(name=peft_type.lower(), config_cls=config_cls, model_cls=model_cls)

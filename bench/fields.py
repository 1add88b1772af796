"""Plain values into the typed fields of settings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from bench.errors import InputError, unknown

OTHER = "other"  # key of a value by name: for names not listed
SEEDS = 2**63  # of torch's generators


def chosen(value: Any, *names: str | None) -> Any:
    """A value given by name: of the first name listed, else `other`; any other value as it is."""
    if isinstance(value, dict) and OTHER in value:
        return next((value[name] for name in names if name in value), value[OTHER])
    return value


def read_section(kind: type, name: str, values: dict[str, Any]) -> Any:
    """A settings dataclass from plain values, each checked against its declared type.

    Raises:
        InputError: a value has another type, or the dataclass has no such field.
    """
    types = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    for key in values:
        if key not in types:
            raise unknown(f"key in {name}", key, types)
    return kind(**{key: typed(f"{name}.{key}", v, types[key]) for key, v in values.items()})


def typed(name: str, value: Any, declared: str) -> Any:
    """The value if it has the declared type; a whole number is accepted as a float.

    `declared` is `int`, `float`, `bool`, `str` or a `list[...]` of one, perhaps with ` | None`.

    Raises:
        InputError: it has another type.
    """
    kinds = declared.split(" | ")
    if value is None and "None" in kinds:
        return None
    switch = isinstance(value, bool)
    if "float" in kinds and is_number(value) and math.isfinite(value):
        return float(value)
    if "int" in kinds and isinstance(value, int) and not switch:
        return value
    if "bool" in kinds and switch:
        return value
    if "str" in kinds and isinstance(value, str | int | float) and not switch:
        return str(value)
    if listed := next((kind for kind in kinds if kind.startswith("list[")), None):
        if not isinstance(value, list):
            raise InputError(f"{name} must be a list, got {value!r}: write '{name}=[{value}]'")
        return [typed(f"each entry of {name}", item, listed[5:-1]) for item in value]
    wanted = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
    raise InputError(f"{name} must be {wanted[kinds[0]]}, got {value!r}")


def check_values(
    section: str,
    settings: Any,
    *,
    positive: Iterable[str] = (),
    least: Mapping[str, float] | None = None,
    choices: Mapping[str, Iterable[str]] | None = None,
) -> None:
    """Raise an InputError for a field of a dataclass that is out of range; None is accepted.

    `positive` fields must be greater than 0; the `least` value and the `choices` are by field.
    """
    given = {name: value for name, value in vars(settings).items() if value is not None}
    for name in positive:
        if name in given and given[name] <= 0:
            raise InputError(f"{section}.{name} must be greater than 0, got {given[name]}")
    for name, value in (least or {}).items():
        if name in given and given[name] < value:
            raise InputError(f"{section}.{name} must be at least {value}, got {given[name]}")
    for name, allowed in (choices or {}).items():
        if name in given and given[name] not in allowed:
            raise unknown(f"{section}.{name}", given[name], allowed)


def is_number(value: Any) -> bool:
    """Whether a value is an int or a float, not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_seed(seed: Any) -> int:
    """A valid seed; raises an InputError for any other value."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < SEEDS:
        raise InputError(f"seed must be a whole number from 0 to 2^63 - 1, got {seed!r}")
    return seed

"""The benchmarks, one file each: every module of this package that defines `TASK`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from bench.tasks.task import Task, answer_kind, choices_with


@cache
def known() -> dict[str, Task]:
    """All benchmarks of this package, by key."""
    modules = (
        importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)
    )
    return {module.TASK.key: module.TASK for module in modules if hasattr(module, "TASK")}


def find(key: str) -> Task | None:
    """The benchmark with this key, ignoring case; None if no module here defines it."""
    return next((t for name, t in known().items() if name.casefold() == key.casefold()), None)


def describe(key: str, answer: str) -> Task:
    """The benchmark with this key; if no module here defines it, inferred from a gold answer."""
    kind = answer_kind(answer) or "number"
    return find(key) or Task(key=key, label=key, answer=kind, choices=choices_with(answer))

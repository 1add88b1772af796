"""The benchmarks, one file each: a module of this package that defines `TASK` is one."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from bench.tasks.task import (
    ANSWER_FORMS,
    CHOICES,
    AnswerKind,
    Row,
    Task,
    answer_kind,
    choices_with,
    same_row,
    training_row,
)

__all__ = [
    "ANSWER_FORMS",
    "CHOICES",
    "AnswerKind",
    "Row",
    "Task",
    "answer_kind",
    "describe",
    "find",
    "known",
    "same_row",
    "training_row",
]


@cache
def known() -> dict[str, Task]:
    """All benchmarks that have a file here, by key."""
    modules = (
        importlib.import_module(f"{__name__}.{info.name}")
        for info in pkgutil.iter_modules(__path__)
    )
    return {module.TASK.key: module.TASK for module in modules if hasattr(module, "TASK")}


def find(key: str) -> Task | None:
    """The benchmark with this key, ignoring case; None where no file here describes it."""
    return next((t for name, t in known().items() if name.casefold() == key.casefold()), None)


def describe(key: str, answer: str) -> Task:
    """The benchmark with this key; without a file here, what one of its gold answers says of it."""
    kind = answer_kind(answer) or "number"
    return find(key) or Task(key=key, label=key, answer=kind, choices=choices_with(answer))

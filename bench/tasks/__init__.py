"""The benchmarks, one file each: a module of this package that defines `TASK` is one."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from bench.tasks.task import AnswerKind, Row, Task, answer_kind, same_row, training_row

__all__ = [
    "AnswerKind",
    "Row",
    "Task",
    "answer_kind",
    "find",
    "kind_of",
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


def kind_of(key: str, answer: str) -> AnswerKind:
    """The kind of answer that is sought where a benchmark's gold answer is this one.

    What the benchmark's file says; without a file, what the gold answer is.
    """
    task = find(key)
    return task.answer if task else answer_kind(answer) or "number"

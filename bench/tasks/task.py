"""What a benchmark is to the rest of the suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Row = dict[str, str]


def same_row(raw: Mapping[str, Any]) -> Row:
    """A raw row that already has LLM-Adapters' form: `instruction, input, output, answer`."""
    return {
        "instruction": str(raw["instruction"]),
        "input": str(raw.get("input", "")),
        "output": str(raw.get("output", "")),
        "answer": str(raw["answer"]),
    }


@dataclass(frozen=True)
class Task:
    """One benchmark.

    Attributes:
        key: LLM-Adapters' folder name, matched ignoring case.
        label: the head of its column.
        answer: the kind of its gold answer; `number` is compared within a tolerance.
        published: its column in results/published/*.yaml, where a paper reports it.
        chance: accuracy in percent of guessing, where guessing can succeed.
        train_row: turns one raw row of its training file into a row of LLM-Adapters' form.
    """

    key: str
    label: str
    answer: Literal["number"] = "number"
    published: str | None = None
    chance: float | None = None
    train_row: Callable[[Mapping[str, Any]], Row] = same_row

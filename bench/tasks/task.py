"""What a benchmark is to the rest of the suite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Row = dict[str, str]
AnswerKind = Literal["number", "letter", "choice"]

LETTERS = ("A", "B", "C", "D", "E")


def answer_kind(answer: str) -> AnswerKind | None:
    """What a gold answer is: a finite number (commas allowed), a letter A to E, or neither."""
    if answer in LETTERS:
        return "letter"
    try:
        return "number" if math.isfinite(float(answer.replace(",", ""))) else None
    except ValueError:
        return None


def same_row(raw: Mapping[str, Any]) -> Row:
    """A raw row that already has LLM-Adapters' form: `instruction, input, output, answer`."""
    return {
        "instruction": str(raw["instruction"]),
        "input": str(raw.get("input", "")),
        "output": str(raw.get("output", "")),
        "answer": str(raw["answer"]),
    }


def training_row(raw: Mapping[str, Any]) -> Row:
    """`same_row` of a row to train on, which needs an output; public files have empty ones.

    Raises:
        KeyError: it has none.
    """
    if raw.get("output") is None:
        raise KeyError("output (what the model is to write)")
    return same_row(raw)


@dataclass(frozen=True)
class Task:
    """One benchmark.

    Attributes:
        key: LLM-Adapters' folder name, matched ignoring case; also its column's key in
            results/published/*.yaml.
        label: the head of its column.
        answer: the kind of its gold answer: a `number` is compared within a tolerance, a `letter`
            (A to E) must be the same.
        chance: accuracy in percent of guessing, where guessing can succeed.
        train_row: turns one raw row of its training file into a row of LLM-Adapters' form.
    """

    key: str
    label: str
    answer: AnswerKind = "number"
    chance: float | None = None
    train_row: Callable[[Mapping[str, Any]], Row] = training_row

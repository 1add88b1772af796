"""What a benchmark is to the rest of the suite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Row = dict[str, str]
AnswerKind = Literal["number", "letter", "choice"]

LETTERS = ("A", "B", "C", "D", "E")

# The words that LLM-Adapters' commonsense sets answer with. Its evaluation seeks all words of a
# line, also where a set has only the first of them as choices.
CHOICES = (
    ("true", "false"),
    ("solution1", "solution2"),
    ("answer1", "answer2", "answer3", "answer4", "answer5"),
    ("ending1", "ending2", "ending3", "ending4"),
    ("option1", "option2"),
)

# The sentence of a kind of answer, where a protocol's own is not the one that is trained on: the
# outputs of the commonsense sets read "the correct answer is answer2".
ANSWER_FORMS: dict[AnswerKind, str] = {"choice": "[Tt]he correct answer is"}


def choices_with(*words: str) -> tuple[str, ...]:
    """The line of CHOICES that has all these words; empty where none has."""
    return next((line for line in CHOICES if words and set(words) <= set(line)), ())


def answer_kind(answer: str) -> AnswerKind | None:
    """What a gold answer is: a finite number (commas allowed), a letter A to E, or one of CHOICES.

    None where it is nothing of these.
    """
    if answer in LETTERS:
        return "letter"
    if choices_with(answer):
        return "choice"
    try:
        return "number" if math.isfinite(float(answer.replace(",", ""))) else None
    except ValueError:
        return None


def same_row(raw: Mapping[str, Any]) -> Row:
    """A raw row that already has LLM-Adapters' form: `instruction, input, output, answer`.

    Raises:
        KeyError: there is no instruction or no answer; the others may be left out, or be null.
        ValueError: a value is null, or no text.
    """
    return {
        "instruction": _text("instruction", raw["instruction"]),
        "input": _text("input", raw.get("input") or ""),
        "output": _text("output", raw.get("output") or ""),
        "answer": _text("answer", raw["answer"]),
    }


def _text(key: str, value: Any) -> str:
    """A value as text; str() of a null or a list would be a word in the prompt."""
    if value is None:
        raise ValueError(f"{key} is null")
    if not isinstance(value, str | int | float):
        raise ValueError(f"{key} must be text or a number, got {type(value).__name__}")
    try:
        str(value).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{key} is no text that can be written down: {error}") from error
    return str(value)


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
            (A to E) and a `choice` must be the same.
        choices: the words that the answers of a set of choices are.
        chance: accuracy in percent of guessing, where guessing can succeed.
        train_row: turns one raw row of its training file into a row of LLM-Adapters' form.
    """

    key: str
    label: str
    answer: AnswerKind = "number"
    chance: float | None = None
    choices: tuple[str, ...] = ()
    train_row: Callable[[Mapping[str, Any]], Row] = training_row

    @property
    def sought(self) -> tuple[str, ...]:
        """The words among which a choice is read: as published where they are published ones."""
        return choices_with(*self.choices) or self.choices

    @property
    def answers(self) -> str:
        """What its gold answers are, in words."""
        words = {"number": "a number", "letter": "a letter A to E"}
        return words.get(self.answer) or f"one of {', '.join(self.choices)}"

    def accepts(self, answer: str) -> bool:
        """Whether this can be a gold answer of it."""
        if self.answer == "choice":
            return answer in self.choices
        return answer_kind(answer) == self.answer

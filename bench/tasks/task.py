"""The definition of a benchmark, and of the rows and gold answers that it may have."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

Row = dict[str, str]
AnswerKind = Literal["number", "letter", "choice"]

LETTERS = ("A", "B", "C", "D", "E")

# The answer words of LLM-Adapters' commonsense sets. Its evaluation matches all words of a line,
# also for a set whose choices are only the first of them.
CHOICES = (
    ("true", "false"),
    ("solution1", "solution2"),
    ("answer1", "answer2", "answer3", "answer4", "answer5"),
    ("ending1", "ending2", "ending3", "ending4"),
    ("option1", "option2"),
)
ANSWERS = CHOICES[2]

# Answer sentences of kinds whose training outputs do not use the protocol's own sentence.
ANSWER_FORMS: dict[AnswerKind, str] = {"choice": "[Tt]he correct answer is"}


# The numbers that the published rule for answers reads as they are meant. It takes the last
# `-?\d+\.?\d*` of a text without commas, so `3e2` gives 2, `.5` gives 5 and `3,5` gives 35.
_PLAIN_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d*)?|\d+\.?\d*)", re.ASCII)


def choices_with(*words: str) -> tuple[str, ...]:
    """The line of CHOICES that contains all these words; empty if there is none."""
    return next((line for line in CHOICES if words and set(words) <= set(line)), ())


def answer_kind(answer: str) -> AnswerKind | None:
    """The kind of a gold answer: a number such as `-1,024.5`, a letter A to E, one of CHOICES.

    Returns:
        The kind, or None for any other text.
    """
    if answer in LETTERS:
        return "letter"
    if choices_with(answer):
        return "choice"
    plain = _PLAIN_NUMBER.fullmatch(answer.strip())
    return "number" if plain and math.isfinite(float(answer.replace(",", ""))) else None


def same_row(raw: Mapping[str, Any]) -> Row:
    """Read a raw row in LLM-Adapters' format: `instruction, input, output, answer`.

    Raises:
        KeyError: instruction or answer is missing; input and output may be missing or null.
        ValueError: a value is null or not text.
    """
    return {
        "instruction": read_text("instruction", raw["instruction"]),
        "input": read_text("input", raw.get("input"), ""),
        "output": read_text("output", raw.get("output"), ""),
        "answer": read_text("answer", raw["answer"]),
    }


def read_text(key: str, value: Any, missing: str | None = None) -> str:
    """The text of a raw value; ValueError if it is null (`missing` if given) or not text."""
    # str() of a null or a list would put a word into the prompt.
    if value is None:
        if missing is None:
            raise ValueError(f"{key} is null")
        return missing
    if isinstance(value, bool):
        return str(value).lower()  # as in JSON, and BoolQ's choices
    if isinstance(value, float) and math.isfinite(value):
        return f"{Decimal(str(value)):f}"  # 1e-05 as 0.00001
    if not isinstance(value, str | int | float):
        raise ValueError(f"{key} must be text or a number, got {type(value).__name__}")
    try:
        str(value).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{key} is not valid text: {error}") from error
    return str(value)


def training_row(raw: Mapping[str, Any]) -> Row:
    """`same_row` for training, which needs an output, and an answer only to be scored.

    Raises:
        KeyError: the output is missing or null.
    """
    if raw.get("output") is None:
        raise KeyError("output (the text to train on)")
    return same_row({"answer": "", **raw})


@dataclass(frozen=True)
class Task:
    """One benchmark.

    Attributes:
        key: LLM-Adapters' folder name, matched ignoring case; also the key of its column in
            results/published/*.yaml.
        label: heading of its column.
        answer: kind of its gold answers. A `number` is compared within a tolerance; a `letter`
            (A to E) and a `choice` must be equal.
        chance: accuracy of random guessing in percent, if guessing can succeed.
        choices: the possible answers of a set of choices.
        cluster: the part of a question that several rows may share, such as a passage; rows in
            which it is equal are not independent. None if each row is.
        train_row: converts a raw row of its training file to LLM-Adapters' format.
        train_row_in_steps: the same with a worked solution, for a file that has only equations.
    """

    key: str
    label: str
    answer: AnswerKind = "number"
    chance: float | None = None
    choices: tuple[str, ...] = ()
    train_row: Callable[[Mapping[str, Any]], Row] = training_row
    train_row_in_steps: Callable[[Mapping[str, Any]], Row] | None = None
    cluster: Callable[[str], str] | None = None

    @property
    def sought(self) -> tuple[str, ...]:
        """The words that are matched in a text: the published line of CHOICES, or `choices`."""
        return choices_with(*self.choices) or self.choices

    @property
    def answers(self) -> str:
        """A description of its gold answers for messages."""
        words = {"number": "a plain number such as 1024.5", "letter": "a letter A to E"}
        return words.get(self.answer) or f"one of {', '.join(self.choices)}"

    def accepts(self, answer: str) -> bool:
        """Whether this is a valid gold answer."""
        if self.answer == "choice":
            return answer in self.choices
        return answer_kind(answer) == self.answer

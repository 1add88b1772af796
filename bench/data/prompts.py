"""How a problem becomes text: the part of a protocol that stands before and after the model."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.data.problems import Problem
from bench.errors import InputError, unknown

# The published rules for reading a letter, or a choice, out of a text: bench.evaluation.answers.
LETTER_RULES = ("first", "paper", "released")
CHOICE_RULES = ("first", "lower")


@dataclass(frozen=True)
class Protocol:
    """How instructions are wrapped, how much is generated, and when an answer counts.

    Attributes:
        name: of the file in conf/protocol/.
        train_prompt: template around `{instruction}` in training; a problem's input, where it
            has one, follows its instruction on a line of its own.
        evaluation_prompt: the same in evaluation; the published code's two differ.
        target: template around `{output}`, what the model learns to write.
        max_length: training rows of more tokens are dropped and counted; None for the context.
        max_new_tokens: the most tokens that are generated.
        tolerance: the largest absolute difference at which two numbers count as equal.
        answer_form: a regular expression of the answer's sentence; the share of texts that have
            it is reported as the format rate.
        letter_rule: one of LETTER_RULES: how the answer of a multiple-choice problem is read.
        choice_rule: one of CHOICE_RULES: how a choice such as `answer2` is read.
        keep_overlap: whether training rows that stand in a test set stay (`data.keep_overlap`
            overrides).
    """

    name: str
    train_prompt: str
    evaluation_prompt: str
    target: str
    max_length: int | None
    max_new_tokens: int
    tolerance: float
    answer_form: str
    letter_rule: str = "released"
    choice_rule: str = "first"
    keep_overlap: bool = False

    def __post_init__(self) -> None:
        for name, slot in (
            ("train_prompt", "{instruction}"),
            ("evaluation_prompt", "{instruction}"),
            ("target", "{output}"),
        ):
            if slot not in getattr(self, name):
                raise InputError(f"protocol.{name} must contain {slot}")
        for name in ("max_length", "max_new_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"protocol.{name} must be at least 1, got {value}")
        if self.letter_rule not in LETTER_RULES:
            raise unknown("protocol.letter_rule", self.letter_rule, LETTER_RULES)
        if self.choice_rule not in CHOICE_RULES:
            raise unknown("protocol.choice_rule", self.choice_rule, CHOICE_RULES)
        try:
            re.compile(self.answer_form)
        except re.error as error:
            raise InputError(f"protocol.answer_form is no regular expression: {error}") from error


def training_text(problem: Problem, protocol: Protocol) -> tuple[str, str]:
    """The prompt and the target of a training problem."""
    target = protocol.target.replace("{output}", problem.output.strip())
    return _fill(protocol.train_prompt, problem), target


def evaluation_text(problem: Problem, protocol: Protocol) -> str:
    """The prompt of a test problem."""
    return _fill(protocol.evaluation_prompt, problem)


def _fill(template: str, problem: Problem) -> str:
    """Replace the placeholders; not str.format, since real problems contain braces."""
    instruction = problem.instruction.strip()
    if problem.input.strip():
        instruction = f"{instruction}\n{problem.input.strip()}"
    return template.replace("{instruction}", instruction)

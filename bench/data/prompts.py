"""How a problem becomes text: the part of a protocol that stands before and after the model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench import tasks
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
        train_prompt: template around `{instruction}` in training.
        evaluation_prompt: the same in evaluation; the published code's two differ.
        target: template around `{output}`, what the model learns to write.
        max_length: training rows of more tokens are left out and counted, or cut; None for the
            context.
        max_new_tokens: the most tokens that are generated.
        tolerance: the largest absolute difference at which two numbers count as equal.
        answer_form: a regular expression of the answer's sentence; the share of texts that have
            it is reported as the format rate.
        letter_rule: one of LETTER_RULES: how the answer of a multiple-choice problem is read.
        choice_rule: one of CHOICE_RULES: how a choice such as `answer2` is read.
        keep_overlap: whether training rows that stand in a test set stay (`data.keep_overlap`
            overrides).
        style: which of a protocol's styles it is in, for the record; None for one without.
        train_prompt_with_input: template around `{instruction}` and `{input}`, for problems that
            have an input; None puts it behind the instruction, on a line of its own.
        evaluation_prompt_with_input: the same in evaluation.
        choice_prompt: `evaluation_prompt` for the sets that are answered with a choice such as
            `answer2`, where it differs.
        choice_prompt_with_input: `evaluation_prompt_with_input` for them.
        choice_max_new_tokens: `max_new_tokens` for them.
        strip: whether white space around instruction, input and output is taken off.
        cut_long_rows: cut longer training rows at `max_length` instead of leaving them out; a row
            that is cut has no end-of-sequence token.
        cut_rows_end: give a row that is cut the token all the same, one over `max_length`.
        answer_end: what the model writes from here on is no part of its answer. The text is then
            decoded with its special tokens, which may be the mark itself.
        num_beams: 1 decodes greedily; more search with so many beams, without sampling.
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
    style: str | None = None
    train_prompt_with_input: str | None = None
    evaluation_prompt_with_input: str | None = None
    choice_prompt: str | None = None
    choice_prompt_with_input: str | None = None
    choice_max_new_tokens: int | None = None
    strip: bool = True
    cut_long_rows: bool = False
    cut_rows_end: bool = False
    answer_end: str | None = None
    num_beams: int = 1

    def __post_init__(self) -> None:
        prompts = ("train_prompt", "evaluation_prompt", "choice_prompt")
        for name, slot in (
            *((name, "{instruction}") for name in prompts),
            *((f"{name}_with_input", "{instruction}") for name in prompts),
            *((f"{name}_with_input", "{input}") for name in prompts),
            ("target", "{output}"),
        ):
            template = getattr(self, name)
            if template is not None and slot not in template:
                raise InputError(f"protocol.{name} must contain {slot}")
        if self.answer_end == "":
            raise InputError("protocol.answer_end must not be empty: null for none")
        for name in ("max_length", "max_new_tokens", "choice_max_new_tokens", "num_beams"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"protocol.{name} must be at least 1, got {value}")
        if self.tolerance < 0:
            raise InputError(f"protocol.tolerance must not be negative, got {self.tolerance}")
        if self.letter_rule not in LETTER_RULES:
            raise unknown("protocol.letter_rule", self.letter_rule, LETTER_RULES)
        if self.choice_rule not in CHOICE_RULES:
            raise unknown("protocol.choice_rule", self.choice_rule, CHOICE_RULES)
        try:
            re.compile(self.answer_form)
        except re.error as error:
            raise InputError(f"protocol.answer_form is no regular expression: {error}") from error


def in_style(section: Mapping[str, Any], of_base: str | None) -> dict[str, Any]:
    """The keys of a protocol, with those of one of its `styles` for the keys it leaves open.

    Args:
        section: of the configuration. Its `style` names the style; null takes the base's.
        of_base: the style of the base, None where it is not known.

    Raises:
        InputError: no such style, or none named for a protocol that has several.
    """
    keys = dict(section)
    styles = keys.pop("styles", None)
    if not styles:
        return keys
    style = keys["style"] = keys.get("style") or of_base
    if style is None:
        raise InputError(
            f"protocol={keys['name']} has a prompt for each family of bases, and this base does "
            f"not say which is its own: give protocol.style={' or protocol.style='.join(styles)}"
        )
    if style not in styles:
        raise unknown("protocol.style", style, styles)
    return styles[style] | keys


def training_text(problem: Problem, protocol: Protocol) -> tuple[str, str]:
    """The prompt and the target of a training problem."""
    prompt = _fill(protocol.train_prompt, protocol.train_prompt_with_input, problem, protocol)
    output = problem.output.strip() if protocol.strip else problem.output
    return prompt, protocol.target.replace("{output}", output)


def evaluation_text(problem: Problem, protocol: Protocol) -> str:
    """The prompt of a test problem."""
    plain, with_input = protocol.evaluation_prompt, protocol.evaluation_prompt_with_input
    if _is_choice(problem):
        plain = protocol.choice_prompt or plain
        with_input = protocol.choice_prompt_with_input or with_input
    return _fill(plain, with_input, problem, protocol)


def new_tokens(problem: Problem, protocol: Protocol) -> int:
    """The most tokens that are generated for a test problem."""
    short = protocol.choice_max_new_tokens if _is_choice(problem) else None
    return short or protocol.max_new_tokens


def _is_choice(problem: Problem) -> bool:
    """Whether a problem is answered with a choice such as `answer2`: no number, no letter."""
    task = tasks.find(problem.task)
    return (task.answer if task else tasks.answer_kind(problem.answer)) == "choice"


_SLOT = re.compile(r"\{(instruction|input)\}")


def _fill(plain: str, with_input: str | None, problem: Problem, protocol: Protocol) -> str:
    """Replace the placeholders; not str.format, since real problems contain braces."""
    given = {"instruction": problem.instruction, "input": problem.input}
    if protocol.strip:
        given = {name: text.strip() for name, text in given.items()}
    template = plain
    if problem.input.strip():
        if with_input is None:
            given["instruction"] += f"\n{given['input']}"
        else:
            template = with_input
    # In one pass: an instruction may itself speak of {input}.
    return _SLOT.sub(lambda slot: given[slot[1]], template)

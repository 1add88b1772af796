"""Protocols: how problems become prompts, and how answers are generated and scored."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench import tasks
from bench.data.problems import Problem
from bench.errors import InputError, unknown
from bench.fields import check_values
from bench.tasks.task import answer_kind

# The published answer rules, see bench.evaluation.answers.
LETTER_RULES = ("first", "paper", "released")
CHOICE_RULES = ("first", "lower")
PLAIN, CHAT = TEMPLATES = ("plain", "chat")


@dataclass(frozen=True)
class Protocol:
    """Prompts, generation limits and answer rules.

    Attributes:
        name: name of its file in conf/protocol/.
        train_prompt: template with `{instruction}` for training.
        evaluation_prompt: the same for evaluation; the published code's two differ.
        target: template with `{output}`, the text to train on.
        max_length: training rows with more tokens are dropped or truncated; None for the context.
        max_new_tokens: maximum number of generated tokens.
        tolerance: largest absolute difference at which two numbers count as equal.
        answer_form: regular expression of the answer sentence, for the valid format rate.
        letter_rule: how a letter is read, one of LETTER_RULES.
        choice_rule: how a choice such as `answer2` is read, one of CHOICE_RULES.
        keep_overlap: whether training rows that match test rows stay (`data.keep_overlap`
            overrides it).
        style: which of the protocol's styles is used, for the record; None if it has none.
        train_prompt_with_input: template with `{instruction}` and `{input}` for problems with an
            input; None: the input follows the instruction on its own line.
        evaluation_prompt_with_input: the same for evaluation.
        choice_prompt: `evaluation_prompt` for sets of choices, if it differs.
        choice_prompt_with_input: `evaluation_prompt_with_input` for sets of choices.
        choice_max_new_tokens: `max_new_tokens` for sets of choices.
        strip: whether white space around instruction, input and output is removed.
        cut_long_rows: truncate long training rows at `max_length` instead of dropping them. A
            truncated row has no end-of-sequence token.
        cut_rows_end: append the end-of-sequence token to truncated rows, beyond `max_length`.
        answer_end: the generated text from this marker on is discarded. The text is then decoded
            with special tokens, because the marker may be one.
        num_beams: 1 for greedy decoding, else beam search without sampling.
        template: `plain`, or `chat`: the prompt is the message of a user, and the target the answer
            of the assistant, in the chat template of the base's tokenizer.
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
    template: str = PLAIN

    def __post_init__(self) -> None:
        prompts = ("train_prompt", "evaluation_prompt", "choice_prompt")
        with_input = [f"{name}_with_input" for name in prompts]
        for name, slot in (
            *itertools.product((*prompts, *with_input), ["{instruction}"]),
            *itertools.product(with_input, ["{input}"]),
            ("target", "{output}"),
        ):
            template = getattr(self, name)
            if template is not None and slot not in template:
                raise InputError(f"protocol.{name} must contain {slot}")
        if self.answer_end == "":
            raise InputError("protocol.answer_end must not be empty: give null for none")
        limits = ("max_length", "max_new_tokens", "choice_max_new_tokens", "num_beams")
        least = dict.fromkeys(limits, 1) | {"tolerance": 0}
        rules = {"letter_rule": LETTER_RULES, "choice_rule": CHOICE_RULES}
        check_values("protocol", self, least=least, choices=rules | {"template": TEMPLATES})
        if self.template == CHAT and self.style is not None:
            raise InputError(
                f"protocol={self.name} already has the base's chat markers in its prompts, and "
                "protocol.template=chat would add them again: give protocol.template=plain, or "
                "protocol=chat"
            )
        try:
            re.compile(self.answer_form)
        except re.error as error:
            raise InputError(
                f"protocol.answer_form is not a valid regular expression: {error}"
            ) from error


def in_style(section: Mapping[str, Any], of_base: str | None) -> dict[str, Any]:
    """Resolve a protocol's style: its keys, completed by those of one of its `styles`.

    Args:
        section: section of the configuration. Its `style` names the style; null takes the base's.
        of_base: the base's style, None if unknown.

    Raises:
        InputError: the style is unknown, or missing for a protocol with several.
    """
    keys = dict(section)
    styles = keys.pop("styles", None)
    if not styles:
        return keys
    style = keys["style"] = keys.get("style") or of_base
    if style is None:
        raise InputError(
            f"protocol={keys['name']} has one prompt per model family, and the family of "
            f"this base is unknown: give protocol.style={' or protocol.style='.join(styles)}"
        )
    if style == "alpaca" and style not in styles:
        raise InputError(
            f"protocol={keys['name']} has no prompt for the bases of LLM-Adapters. Their published "
            "runs use train=llm_adapters protocol=llm_adapters; for other runs give "
            f"protocol.style={' or protocol.style='.join(styles)}"
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
    """Maximum number of generated tokens for a test problem."""
    limit = protocol.choice_max_new_tokens if _is_choice(problem) else None
    return limit or protocol.max_new_tokens


def _is_choice(problem: Problem) -> bool:
    task = tasks.find(problem.task)
    return (task.answer if task else answer_kind(problem.answer)) == "choice"


def _fill(plain: str, with_input: str | None, problem: Problem, protocol: Protocol) -> str:
    given = {"instruction": problem.instruction, "input": problem.input}
    if protocol.strip:
        given = {name: text.strip() for name, text in given.items()}
    template = plain
    if problem.input.strip():
        if with_input is None:
            given["instruction"] += f"\n{given['input']}"
        else:
            template = with_input
    # A single pass, and not str.format: problems may contain braces, and even "{input}".
    return re.sub(r"\{(instruction|input)\}", lambda slot: given[slot[1]], template)

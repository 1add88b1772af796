"""LLM-Adapters' published evaluation of arithmetic: one problem at a time.

Prompt, search and extraction are those of the published script, and share no code with this
project's evaluation, which is compared with it. The script's temperature, top-p and top-k are left
out: nothing is sampled.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import torch

from bench.data.problems import Problem

RESPONSE = "### Response:"
# The script's templates are indented in its source code.
_INDENT = " " * 16
_TASK = "Below is an instruction that describes a task"
_ASKED = "Write a response that appropriately completes the request."


@dataclass(frozen=True)
class Published:
    """The published loop's result for a problem.

    Attributes:
        text: the generated text.
        prediction: a number, infinity for none; or a letter, empty for none.
        tokens: how many were generated.
    """

    text: str
    prediction: float | str
    tokens: int


def prompt_of(problem: Problem) -> str:
    """The prompt of a problem."""
    if problem.input:
        lines = [
            f"{_TASK}, paired with an input that provides further context. {_ASKED}",
            "",
            f"{_INDENT}### Instruction:",
            f"{_INDENT}{problem.instruction}",
            "",
            f"{_INDENT}### Input:",
            f"{_INDENT}{problem.input}",
        ]
    else:
        lines = [
            f"{_TASK}. {_ASKED} ",
            "",
            f"{_INDENT}### Instruction:",
            f"{_INDENT}{problem.instruction}",
        ]
    return "\n".join([*lines, "", f"{_INDENT}{RESPONSE}", _INDENT])


def answer(
    model: Any, tokenizer: Any, problem: Problem, letter: bool, max_new_tokens: int = 256
) -> Published:
    """Generate an answer with four beams and no cache.

    Args:
        model: a causal language model in eval mode.
        tokenizer: its tokenizer.
        problem: with a number or a letter for an answer.
        letter: whether it is a letter.
        max_new_tokens: the published 256, or fewer.
    """
    inputs = tokenizer(prompt_of(problem), return_tensors="pt")
    input_ids = inputs["input_ids"].to(next(model.parameters()).device)
    with torch.no_grad():
        generated = model.generate(
            input_ids=input_ids,
            num_beams=4,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            use_cache=False,
        )
    text = tokenizer.decode(generated[0]).split(RESPONSE)[1].strip()
    prediction = letter_in(text) if letter else number_in(text)
    return Published(text, prediction, generated.shape[1] - input_ids.shape[1])


def number_in(text: str) -> float:
    """The last number of a text; infinity if there is none."""
    found = re.findall(r"-?\d+\.?\d*", text.replace(",", ""))
    return float(found[-1]) if found else math.inf


def letter_in(text: str) -> str:
    """The first letter A to E anywhere in a text; empty if there is none."""
    found = re.findall(r"A|B|C|D|E", text)
    return found[0] if found else ""

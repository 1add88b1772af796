"""LLM-Adapters' published evaluation of arithmetic, written out: one problem at a time.

What this project's own evaluation is timed beside and compared with. It shares no code with that:
prompt, search and extraction are as the published script has them. Of the script's settings
temperature, top-p and top-k are left out, which have no effect where nothing is sampled.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import torch

from bench.data.problems import Problem

RESPONSE = "### Response:"
# Its templates stand in the source code of a function, whose indentation is part of them.
_INDENT = " " * 16
_TASK = "Below is an instruction that describes a task"
_ASKED = "Write a response that appropriately completes the request."


@dataclass(frozen=True)
class Published:
    """What the published loop makes of a problem.

    Attributes:
        text: what the model wrote.
        prediction: the number, infinity where there is none; or the letter, empty where none is.
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
    """Ask a model one problem: four beams, and the whole sequence anew for every token.

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
        written = model.generate(
            input_ids=input_ids,
            num_beams=4,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            use_cache=False,
        )
    text = tokenizer.decode(written[0]).split(RESPONSE)[1].strip()
    prediction = letter_in(text) if letter else number_in(text)
    return Published(text, prediction, written.shape[1] - input_ids.shape[1])


def number_in(text: str) -> float:
    """The last number of a text; infinity where it has none."""
    found = re.findall(r"-?\d+\.?\d*", text.replace(",", ""))
    return float(found[-1]) if found else math.inf


def letter_in(text: str) -> str:
    """The first letter A to E anywhere in a text; empty where it has none."""
    found = re.findall(r"A|B|C|D|E", text)
    return found[0] if found else ""

"""LLM-Adapters' published evaluation of arithmetic: one problem at a time.

Prompt, search and extraction are those of the published script, and share no code with this
project's evaluation, which is compared with it. The script's temperature, top-p and top-k are left
out: nothing is sampled.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from bench.data.problems import Problem

RESPONSE = "### Response:"
_INDENT = " " * 16  # of the templates in the script's source code
_TASK = "Below is an instruction that describes a task"
_ASKED = "Write a response that appropriately completes the request."


def prompt_of(problem: Problem) -> str:
    """The prompt of a problem."""
    context = ", paired with an input that provides further context. " if problem.input else ". "
    parts = [f"### Instruction:\n{_INDENT}{problem.instruction}"]
    if problem.input:
        parts.append(f"### Input:\n{_INDENT}{problem.input}")
    parts.append(f"{RESPONSE}\n{_INDENT}")
    first = f"{_TASK}{context}{_ASKED}{'' if problem.input else ' '}"
    return "".join([first, *(f"\n\n{_INDENT}{part}" for part in parts)])


def generate(
    model: Any, tokenizer: Any, problem: Problem, max_new_tokens: int = 256
) -> tuple[str, int]:
    """Generate an answer with four beams and no cache: its text and number of tokens."""
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
    return text, generated.shape[1] - input_ids.shape[1]


def number_in(text: str) -> float | None:
    """The last number of a text."""
    found = re.findall(r"-?\d+\.?\d*", text.replace(",", ""))
    return float(found[-1]) if found else None


def letter_in(text: str) -> str | None:
    """The first letter A to E anywhere in a text."""
    found = re.findall(r"A|B|C|D|E", text)
    return found[0] if found else None

"""Extraction of answers from generated text, by the published rules with all their quirks.

The published results depend on the quirks. The record names the rule of a score with its version:
`number/1`, `letter released/1`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from bench import tasks
from bench.data.prompts import CHOICE_RULES, LETTER_RULES, Protocol
from bench.errors import unknown
from bench.tasks.task import AnswerKind, Task

# Increase a version, and RESULT_VERSION, when a rule extracts another answer from any text.
VERSIONS = {
    "number": 1,
    "letter first": 1,
    "letter paper": 1,
    "letter released": 1,
    "choice first": 1,
    "choice lower": 1,
}

_PARENTHESIS = re.compile(r"\(?([A-E])\)")
LETTER_PATTERNS = {
    "first": (re.compile(r"\A[^A-E]*([A-E])"),),
    "paper": (_PARENTHESIS, re.compile(r"correct answer is\s+([A-E])", re.IGNORECASE)),
    "released": (
        re.compile(r"\\boxed\{\\text\{\(?([A-E])\)?\}\}"),
        re.compile(r"\\boxed\{\(?([A-E])\)?\}"),
        _PARENTHESIS,
        # The published fourth pattern, "[Tt]he answer is", matches nothing that this one does not.
        re.compile(r"(?:correct )?answer is[:\s]+\(?([A-E])\)?", re.IGNORECASE),
        re.compile(r"is[:\s]+([A-E])\.?\s*$"),
        re.compile(r"[Oo]ption\s+\(?([A-E])\)?"),
    ),
}


def rule_name(kind: AnswerKind, protocol: Protocol) -> str:
    """A protocol's rule for a kind of answer, with its version: `letter released/1`."""
    rules = {"letter": protocol.letter_rule, "choice": protocol.choice_rule}
    name = f"{kind} {rules[kind]}" if kind in rules else kind
    return f"{name}/{VERSIONS[name]}"


def extract_number(text: str) -> float | None:
    """The last number of a text; None if there is none, or if it overflows a float.

    The rule of LLM-Adapters' evaluate.py, also used for HypLoRA's tables. "10-7=3" gives 3 and
    "10-7" -7, "1/2" 2, ".5" 5, "1e3" 3, "1,2" 12; a trailing year or option number wins.

    >>> extract_number("22-14=8. The answer is 1,008.")
    1008.0
    """
    found = re.findall(r"-?\d+\.?\d*", text.replace(",", ""))
    number = float(found[-1]) if found else math.inf
    return number if math.isfinite(number) else None


def extract_letter(text: str, rule: str = "released") -> str | None:
    """The letter that a text answers with; None if the rule finds none.

    - `first`, LLM-Adapters': the first A, B, C, D or E anywhere, so "Answer: C" gives A.
    - `paper`, HypLoRA's until 4 February 2026, according to a comment in its evaluate.py: the last
      letter before a closing parenthesis, else the last after "correct answer is".
    - `released`, HypLoRA's since then: the last match of the first of six patterns that matches.

    Two patterns ignore case, so "the answer is a guess" gives "a". As in the published code it is
    compared unchanged and equals no gold answer.

    >>> extract_letter("(A) is too small. The answer is (B).")
    'B'

    Raises:
        InputError: the rule is unknown.
    """
    if rule not in LETTER_RULES:
        raise unknown("letter rule", rule, LETTER_RULES)
    matches = (pattern.findall(text) for pattern in LETTER_PATTERNS[rule])
    return next((found[-1] for found in matches if found), None)


def extract_choice(text: str, task: str, rule: str = "first") -> str | None:
    """The first choice of a benchmark in a text; None if there is none.

    By LLM-Adapters' rule `first` anywhere, case-sensitive and without word boundaries: "untrue"
    gives true. By `lower`, HypLoRA's script for Llama-3, the same on the lower-cased text.
    As published, `answer1` to `answer5` are matched also for sets of three or four answers.

    >>> extract_choice("the correct answer is answer3", "social_i_qa")
    'answer3'

    Raises:
        InputError: the benchmark or the rule is unknown.
    """
    found = tasks.find(task)
    if found is None or not found.choices:
        raise unknown("set of choices", task, (t.key for t in tasks.known().values() if t.choices))
    return first_choice(text, found.sought, rule)


def first_choice(text: str, words: Sequence[str], rule: str = "first") -> str | None:
    """The first of the words anywhere in a text; None if there is none."""
    if rule not in CHOICE_RULES:
        raise unknown("choice rule", rule, CHOICE_RULES)
    match = re.search("|".join(map(re.escape, words)), text.lower() if rule == "lower" else text)
    return match[0] if match else None


def extract(text: str, task: Task, protocol: Protocol) -> float | str | None:
    """The answer in a text, by the protocol's rule for the task's kind of answer."""
    if task.answer == "choice":
        return first_choice(text, task.sought, protocol.choice_rule)
    if task.answer == "letter":
        return extract_letter(text, protocol.letter_rule)
    return extract_number(text)


def gold_value(answer: str, kind: AnswerKind) -> float | str:
    """The value of a gold answer: `1,024` and `1024.0` are the same number."""
    return float(answer.replace(",", "")) if kind == "number" else answer


def agrees(
    prediction: float | str | None, answer: str, kind: AnswerKind, protocol: Protocol
) -> bool:
    """Whether a prediction is correct: equal, or for numbers within the tolerance (absolute)."""
    gold = gold_value(answer, kind)
    if isinstance(gold, str):
        return prediction == gold
    return isinstance(prediction, float) and abs(prediction - gold) <= protocol.tolerance

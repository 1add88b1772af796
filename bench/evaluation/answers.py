r"""Reading an answer out of generated text: pure functions, one for each kind of answer.

Numbers: the rule of LLM-Adapters' evaluate.py, which HypLoRA's tables use too: commas are deleted,
every `-?\d+\.?\d*` is a number, the last one counts. So "10 - 7 = 3" reads 3, "10-7" reads -7 (a
minus after a digit still belongs to the number), "1/2" reads 2, and a trailing year or unit wins.

Letters, three published rules that differ by many points on the same texts:

- `first`, LLM-Adapters': the first A, B, C, D or E anywhere, so that the "A" of "Answer" counts.
- `paper`, HypLoRA's until 4 February 2026, by the comment that its evaluate.py keeps of it: the
  last letter before a closing parenthesis, else the last after "correct answer is".
- `released`, HypLoRA's since: six patterns; the first that is found anywhere decides, by its last
  match.

Choices: LLM-Adapters' rule for the commonsense sets.
"""

from __future__ import annotations

import math
import re

from bench.data.prompts import LETTER_RULES
from bench.errors import unknown

_NUMBER = re.compile(r"-?\d+\.?\d*")

_FIRST = re.compile(r"[A-E]")
_PARENTHESIS = re.compile(r"\(?([A-E])\)")
_PAPER = (
    _PARENTHESIS,
    re.compile(r"correct answer is\s+([A-E])", re.IGNORECASE),
)
_RELEASED = (
    re.compile(r"\\boxed\{\\text\{\(?([A-E])\)?\}\}"),
    re.compile(r"\\boxed\{\(?([A-E])\)?\}"),
    _PARENTHESIS,
    # The published fourth pattern, "[Tt]he answer is", finds nothing that this one does not.
    re.compile(r"(?:correct )?answer is[:\s]+\(?([A-E])\)?", re.IGNORECASE),
    re.compile(r"is[:\s]+([A-E])\.?\s*$"),
    re.compile(r"[Oo]ption\s+\(?([A-E])\)?"),
)

LETTER_PATTERNS = {"paper": _PAPER, "released": _RELEASED}

_ANSWERS = re.compile(r"answer[1-5]")
_CHOICES = {
    "boolq": re.compile(r"true|false"),
    "piqa": re.compile(r"solution[12]"),
    "social_i_qa": _ANSWERS,
    "hellaswag": re.compile(r"ending[1-4]"),
    "winogrande": re.compile(r"option[12]"),
    "arc-easy": _ANSWERS,
    "arc-challenge": _ANSWERS,
    "openbookqa": _ANSWERS,
}


def extract_number(text: str) -> float | None:
    """The last number of a text, or None where it has none, or one too long for a float.

    >>> extract_number("22-14=8. The answer is 1,008.")
    1008.0
    """
    found = _NUMBER.findall(text.replace(",", ""))
    number = float(found[-1]) if found else math.inf
    return number if math.isfinite(number) else None


def extract_letter(text: str, rule: str = "released") -> str | None:
    """The letter that a text answers with, or None where the rule finds none.

    Two patterns ignore case, so that "the answer is a guess" gives "a". It is returned as it
    stands: the published code compares it so, and it equals no gold answer.

    >>> extract_letter("(A) is too small. The answer is (B).")
    'B'

    Args:
        text: what the model wrote.
        rule: `first`, `paper` or `released`, see the module's docstring.

    Raises:
        InputError: no such rule.
    """
    if rule not in LETTER_RULES:
        raise unknown("letter rule", rule, LETTER_RULES)
    if rule == "first":
        match = _FIRST.search(text)
        return match[0] if match else None
    for pattern in LETTER_PATTERNS[rule]:
        if found := pattern.findall(text):
            return found[-1]
    return None


def extract_choice(text: str, task: str) -> str | None:
    """The first choice that a text names, or None where it names none.

    Case counts ("True" is no answer) and words do not ("untrue" is `true`), as in LLM-Adapters'
    commonsense_evaluate.py.

    Args:
        text: what the model wrote.
        task: key of a commonsense set, ignoring case.

    Raises:
        InputError: no such set.
    """
    if task.casefold() not in _CHOICES:
        raise unknown("commonsense set", task, _CHOICES)
    match = _CHOICES[task.casefold()].search(text)
    return match[0] if match else None


def numbers_agree(prediction: float | None, answer: str, tolerance: float) -> bool:
    """Whether a prediction is within the tolerance (absolute) of the gold answer."""
    return prediction is not None and abs(prediction - float(answer.replace(",", ""))) <= tolerance

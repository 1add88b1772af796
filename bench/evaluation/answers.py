r"""Reading an answer out of generated text: pure functions, one for each kind of answer.

Each rule is kept as it was published, oddities too, since the published figures were read by it. A
score's record names its rule with a version: `number/1`, `letter released/1`.

Numbers: the rule of LLM-Adapters' evaluate.py, which HypLoRA's tables use too: commas are deleted,
every `-?\d+\.?\d*` is a number, the last one counts. So "10-7=3" reads 3 and "10-7" reads -7 (a
minus after a digit belongs to the number behind it), "1/2" reads 2, ".5" reads 5, "1e3" reads 3, a
list "1,2" reads 12, and whatever number stands last wins: a year, a unit's exponent, an option's.
Signs of currency, per cent and `\boxed{}` are passed over; a minus that is no ASCII hyphen is, too.

Letters, three published rules that differ by many points on the same texts:

- `first`, LLM-Adapters': the first A, B, C, D or E anywhere. The "A" of "Answer" counts, so that
  "Answer: C" reads A, and the "E" of "Each".
- `paper`, HypLoRA's until 4 February 2026, by the comment that its evaluate.py keeps of it: the
  last letter before a closing parenthesis, else the last after "correct answer is".
- `released`, HypLoRA's since: six patterns; the first that is found anywhere decides, by its last
  match.

Choices, the words that the commonsense sets answer with:

- `first`, LLM-Adapters': the first of the set's words anywhere; case counts, so that "True" reads
  nothing, and the word's bounds do not, so that "untrue" reads true and "answer12" reads answer1.
- `lower`, HypLoRA's script for Llama-3: the same after the text was lower-cased.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from bench import tasks
from bench.data.prompts import CHOICE_RULES, LETTER_RULES, Protocol
from bench.errors import unknown
from bench.tasks import AnswerKind

# Raised by hand, together with RESULT_VERSION, when a rule reads another answer out of some text.
VERSIONS = {
    "number": 1,
    "letter first": 1,
    "letter paper": 1,
    "letter released": 1,
    "choice first": 1,
    "choice lower": 1,
}

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


def rule_name(kind: AnswerKind, protocol: Protocol) -> str:
    """The rule by which a protocol reads a kind of answer, and its version: `letter released/1`."""
    rules = {"letter": protocol.letter_rule, "choice": protocol.choice_rule}
    name = f"{kind} {rules[kind]}" if kind in rules else kind
    return f"{name}/{VERSIONS[name]}"


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


def extract_choice(text: str, task: str, rule: str = "first") -> str | None:
    """The first choice of a benchmark that a text names, or None where it names none.

    As published, `answer1` to `answer5` are sought also where a set has three or four answers.

    >>> extract_choice("the correct answer is answer3", "social_i_qa")
    'answer3'

    Args:
        text: what the model wrote.
        task: key of a benchmark in bench/tasks/ whose answers are choices, ignoring case.
        rule: `first` or `lower`, see the module's docstring.

    Raises:
        InputError: no such benchmark, or no such rule.
    """
    found = tasks.find(task)
    if found is None or not found.choices:
        raise unknown("set of choices", task, (t.key for t in tasks.known().values() if t.choices))
    return first_choice(text, found.sought, rule)


def first_choice(text: str, words: Sequence[str], rule: str = "first") -> str | None:
    """The first of the words that a text has anywhere, or None where it has none.

    Raises:
        InputError: no such rule.
    """
    if rule not in CHOICE_RULES:
        raise unknown("choice rule", rule, CHOICE_RULES)
    match = re.search("|".join(map(re.escape, words)), text.lower() if rule == "lower" else text)
    return match[0] if match else None


def gold_value(answer: str, kind: AnswerKind) -> float | str:
    """What a gold answer stands for: `1,024` and `1024.0` are one number."""
    return float(answer.replace(",", "")) if kind == "number" else answer


def numbers_agree(prediction: float | None, answer: str, tolerance: float) -> bool:
    """Whether a prediction is within the tolerance (absolute) of the gold answer."""
    return prediction is not None and abs(prediction - float(answer.replace(",", ""))) <= tolerance


def agrees(
    prediction: float | str | None, answer: str, kind: AnswerKind, protocol: Protocol
) -> bool:
    """Whether a prediction counts as the gold answer: the same, or as a number close enough."""
    if kind == "number":
        number = prediction if isinstance(prediction, float) else None
        return numbers_agree(number, answer, protocol.tolerance)
    return prediction == answer

"""Test rows that stand in the training rows too, to the letter or but for numbers and case.

Public training files overlap heavily with public test files (MAWPS' problems are templates; math
collections were drawn from the same sources). A score on such rows measures memory, so the counts
stand in every record, and a protocol says whether the training rows are dropped.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.data.problems import Problem, ProblemSets

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NOT_WORD = re.compile(r"[^\w#]+")


def exact_text(problem: Problem) -> str:
    """The problem as it is asked, white space folded."""
    return " ".join(f"{problem.instruction} {problem.input}".split())


def masked_text(problem: Problem) -> str:
    """The problem without case and punctuation, every number replaced by #."""
    return _NOT_WORD.sub(" ", _NUMBER.sub("#", exact_text(problem).casefold())).strip()


FORMS: dict[str, Callable[[Problem], str]] = {"exact": exact_text, "masked": masked_text}


@dataclass(frozen=True)
class Overlap:
    """What training and test rows share, before anything is dropped.

    Attributes:
        tests: for each test set `rows`, and how many of them stand in the training rows `exact`
            and `masked`; the second counts the first too.
        train: how many training rows (validation rows among them) stand in any test set, `exact`
            and `masked`.
        kept: whether those training rows were kept.
    """

    tests: dict[str, dict[str, int]]
    train: dict[str, int]
    kept: bool


def resolve_overlap(problems: ProblemSets, keep: bool) -> tuple[ProblemSets, Overlap]:
    """Count the overlap and, unless told to keep them, drop the training rows that make it.

    Args:
        problems: all rows of a run.
        keep: whether training rows that stand in a test set (masked) stay.

    Returns:
        The rows to use, and the counts.
    """
    training = problems.train + problems.validation
    tests = {key: {"rows": len(rows)} for key, rows in problems.tests.items()}
    train = {}
    for form, text in FORMS.items():
        trained = set(map(text, training))
        tested: set[str] = set()
        for key, rows in problems.tests.items():
            texts = list(map(text, rows))
            tests[key][form] = sum(t in trained for t in texts)
            tested.update(texts)
        train[form] = sum(text(problem) in tested for problem in training)
    found = Overlap(tests=tests, train=train, kept=keep)
    if keep or not train["masked"]:
        return problems, found
    tested = {masked_text(problem) for rows in problems.tests.values() for problem in rows}

    def clean(rows: Sequence[Problem]) -> list[Problem]:
        return [problem for problem in rows if masked_text(problem) not in tested]

    return (
        dataclasses.replace(
            problems, train=clean(problems.train), validation=clean(problems.validation)
        ),
        found,
    )

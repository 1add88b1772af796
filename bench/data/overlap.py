"""Test rows that stand in the training rows too: to the letter, masked, or nearly.

Public training files overlap heavily with public test files (MAWPS' problems are templates; math
collections were drawn from the same sources). A score on such rows measures memory, so the counts
stand in every record, and a protocol says whether the training rows are dropped. Dropped are those
that stand in a test set to the letter or masked; near-duplicates are counted and stay.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from bench.data.near import near_rows
from bench.data.problems import Problem, ProblemSets

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NOT_WORD = re.compile(r"[^\w#]+")


def exact_text(problem: Problem) -> str:
    """The problem as it is asked, white space folded."""
    return " ".join(f"{problem.instruction} {problem.input}".split())


def masked_text(problem: Problem) -> str:
    """The problem without case and punctuation, every number replaced by #."""
    return _NOT_WORD.sub(" ", _NUMBER.sub("#", exact_text(problem).casefold())).strip()


@dataclass(frozen=True)
class Overlap:
    """What training and test rows share, before anything is dropped.

    Attributes:
        tests: for each test set `rows`, and how many of them stand in the training rows `exact`,
            `masked` and `near`; each of these counts the ones before it too.
        train: how many training rows (validation rows among them) stand in any test set, `exact`,
            `masked` and `near`.
        kept: whether those that do `exact` or `masked` were kept.
    """

    tests: dict[str, dict[str, int]]
    train: dict[str, int]
    kept: bool


def count_overlap(
    training: Sequence[Problem], tests: Mapping[str, Sequence[Problem]]
) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Count what training and test rows share.

    Args:
        training: training rows.
        tests: test rows by benchmark.

    Returns:
        Counts of test rows by benchmark, and of training rows, as `Overlap` has them.
    """
    rows = [(key, problem) for key, problems in tests.items() for problem in problems]
    found = {key: {"rows": len(problems)} for key, problems in tests.items()}
    train = {}
    for form, text in {"exact": exact_text, "masked": masked_text}.items():
        trained = tuple(map(text, training))
        tested = tuple(text(problem) for _, problem in rows)
        _count(found, form, rows, _standing(tested, trained))
        train[form] = len(_standing(trained, tested))
    # `trained` and `tested` are the masked texts now: a near-duplicate may have other numbers, too.
    near, makes = near_rows(trained, tested)
    _count(found, "near", rows, near)
    return found, train | {"near": len(makes)}


def _standing(texts: Sequence[str], others: Sequence[str]) -> set[int]:
    known = set(others)
    return {number for number, text in enumerate(texts) if text in known}


def _count(
    found: dict[str, dict[str, int]],
    form: str,
    rows: Sequence[tuple[str, Problem]],
    chosen: Set[int],
) -> None:
    for counts in found.values():
        counts[form] = 0
    for number in chosen:
        found[rows[number][0]][form] += 1


def resolve_overlap(problems: ProblemSets, keep: bool) -> tuple[ProblemSets, Overlap]:
    """Count the overlap and, unless told to keep them, drop the training rows that make it.

    Args:
        problems: all rows of a run.
        keep: whether training rows that stand in a test set (masked) stay.

    Returns:
        The rows to use, and the counts.
    """
    tests, train = count_overlap(problems.train + problems.validation, problems.tests)
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

"""Overlap of training and test rows: exact, masked, and near-duplicates.

A score on training rows measures memory, so the counts are part of every record, and a protocol
says whether rows with exact and masked matches are dropped. Near-duplicates are only counted.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache

from bench.data.problems import Problem, ProblemSets

RUN = 13  # words; the usual length in contamination checks
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NOT_WORD = re.compile(r"[^\w#]+")


def exact_text(problem: Problem) -> str:
    """The problem as it is asked, with normalized white space."""
    return " ".join(f"{problem.instruction} {problem.input}".split())


def masked_text(problem: Problem) -> str:
    """The problem without case and punctuation, every number replaced by #."""
    return _NOT_WORD.sub(" ", _NUMBER.sub("#", exact_text(problem).casefold())).strip()


@dataclass(frozen=True)
class Overlap:
    """Overlap of training and test rows, before rows are dropped.

    Attributes:
        tests: for each test set its `rows`, and how many of them match a training row `exact`,
            `masked` and `near`; each count includes those before it.
        train: number of training rows (with validation rows) that match a row of any test set.
        kept: whether the matching training rows were kept.
    """

    tests: dict[str, dict[str, int]]
    train: dict[str, int]
    kept: bool


def count_overlap(
    training: Sequence[Problem], tests: Mapping[str, Sequence[Problem]]
) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Count matching rows.

    Args:
        training: training rows.
        tests: test rows by benchmark.

    Returns:
        Counts of test rows by benchmark, and of training rows; see `Overlap`.
    """
    keys = [key for key, problems in tests.items() for _ in problems]
    found = {key: {"rows": len(problems)} for key, problems in tests.items()}
    train = {}

    def count(form: str, test_rows: Set[int], training_rows: Set[int]) -> None:
        by_key = Counter(keys[row] for row in test_rows)
        for key, counts in found.items():
            counts[form] = by_key[key]
        train[form] = len(training_rows)

    for form, text in {"exact": exact_text, "masked": masked_text}.items():
        trained = tuple(map(text, training))
        tested = tuple(text(problem) for problems in tests.values() for problem in problems)
        count(form, _rows_in(tested, trained), _rows_in(trained, tested))
    # `trained` and `tested` are the masked texts here: near-duplicates may differ in numbers, too.
    sources, near = near_rows(trained, tested)
    count("near", near, sources)
    return found, train


def _rows_in(texts: Sequence[str], others: Sequence[str]) -> set[int]:
    known = set(others)
    return {row for row, text in enumerate(texts) if text in known}


@lru_cache(maxsize=2)  # a sweep needs this in every run; 170,000 training rows take ten seconds
def near_rows(
    training: tuple[str, ...], tests: tuple[str, ...]
) -> tuple[frozenset[int], frozenset[int]]:
    """Find near-duplicates: test rows that share most of their wording with one training row.

    At least half of a test row's runs of 13 words occur in one training row, in any order; a
    shorter text is a single run. On the public files, half separates problems with changed names
    from problems that share a setting and ask something else.

    Args:
        training: texts with words separated by spaces.
        tests: likewise; only these are indexed, so memory does not grow with the training rows.

    Returns:
        Row numbers in `training` and in `tests`.
    """
    index: dict[tuple[str, ...], list[int]] = {}
    needed = []
    for row, text in enumerate(tests):
        runs = set(_runs(text))
        needed.append((len(runs) + 1) // 2)
        for run in runs:
            index.setdefault(run, []).append(row)
    near: set[int] = set()
    sources: set[int] = set()
    for row, text in enumerate(training):
        shared: Counter[int] = Counter()
        for run in set(_runs(text)):
            if found := index.get(run):
                shared.update(found)
        if hits := [test for test, count in shared.items() if count >= needed[test]]:
            near.update(hits)
            sources.add(row)
    return frozenset(sources), frozenset(near)


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    words = tuple(text.split())
    return (words[i : i + RUN] for i in range(max(1, len(words) - RUN + 1)))


def resolve_overlap(problems: ProblemSets, keep: bool) -> tuple[ProblemSets, Overlap]:
    """Count the overlap, and drop the training rows with exact or masked matches unless `keep`.

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

    train_rows, validation = clean(problems.train), clean(problems.validation)
    return dataclasses.replace(problems, train=train_rows, validation=validation), found

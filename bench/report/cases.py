"""Case studies: what each row of a table wrote for one problem, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, permutations, zip_longest
from typing import Any

from bench.errors import printable
from bench.report.scores import ScoreRow, ScoreTable
from bench.report.selection import Record

# The lines of a run's predictions.jsonl, by its run_id; empty if the file is gone.
Predictions = Callable[[str], Sequence[Mapping[str, Any]]]
Problem = tuple[str, int]  # its set, and its index there
Verdicts = Mapping[Problem, tuple[bool, ...]]

REFERENCE = "lora"  # compared with another method first
SHOWN = 240  # problems per table
CHARACTERS = 400_000  # of all texts of a table
LONGEST = 1_200  # characters of one text


@dataclass(frozen=True)
class Answer:
    """What one row wrote for a problem.

    Attributes:
        text: the model's text, control characters written out.
        said: the answer extracted from it; empty if none was found.
        correct: whether it is right.
        left_out: number of characters cut from `text`.
        reason: why the model was not asked; else empty.
    """

    text: str
    said: str
    correct: bool
    left_out: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Case:
    """One problem, and what each row wrote for it, in the order of `CaseStudies.rows`."""

    task: str
    index: int
    question: str
    gold: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class CaseStudies:
    """The problems that are shown, and counts over all problems.

    Attributes:
        rows: labels of the rows with answers, one run each.
        seed: of those runs; None if nothing was trained.
        sets: labels of the test sets, by key.
        totals: by set, number of problems that all rows answered.
        right: by set, for each row the number of correct answers.
        split: by set, how many the first index answered wrongly and the second correctly.
        pair: the two rows that are compared first, as indices.
        cases: the problems shown, the pair's disagreements first.
        notes: what was left out.
    """

    rows: tuple[str, ...]
    seed: int | None
    sets: Mapping[str, str]
    totals: Mapping[str, int]
    right: Mapping[str, tuple[int, ...]]
    split: Mapping[str, tuple[tuple[int, ...], ...]]
    pair: tuple[int, int]
    cases: tuple[Case, ...]
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Number of problems that all rows answered."""
        return sum(self.totals.values())

    @property
    def data(self) -> dict[str, Any]:
        """All of it as plain data, for the page's script."""
        return asdict(self)


def case_studies(
    table: ScoreTable,
    predictions: Predictions,
    shown: int = SHOWN,
    characters: int = CHARACTERS,
) -> CaseStudies | None:
    """What the rows of a table wrote for the same problems, of one seed.

    Args:
        table: of the runs.
        predictions: reads the predictions of a run.
        shown: largest number of problems.
        characters: largest number of characters in their texts (about).

    Returns:
        None if fewer than two rows have answers to the same problems.
    """
    seed = _seed(table.rows)
    chosen = [(row, run) for row in table.rows if (run := _run_of(row.records, seed))]
    read = [(row, {_key(line): line for line in predictions(run["run_id"])}) for row, run in chosen]
    answered = [(row, lines) for row, lines in read if lines]
    if len(answered) < 2:
        return None
    rows = [row for row, _ in answered]
    lines = [found for _, found in answered]
    labels = {found.key: found.label for found in table.benchmarks}
    problems = sorted(set.intersection(*map(set, lines)), key=lambda p: (_place(labels, p), p[1]))
    if not problems:
        return None
    verdicts = {p: tuple(bool(found[p]["correct"]) for found in lines) for p in problems}
    pair = _pair(rows)
    questions = {problem: lines[0][problem]["question"] for problem in problems}
    cases: list[Case] = []
    for problem in _by_interest(verdicts, pair):
        case = _case(problem, questions[problem], [found[problem] for found in lines])
        characters -= len(case.question) + sum(len(answer.text) for answer in case.answers)
        if cases and (characters < 0 or len(cases) == shown):
            break
        cases.append(case)
    sets = {key: labels.get(key, key) for key in dict.fromkeys(task for task, _ in problems)}
    counts = {key: _counts(verdicts, key) for key in sets}
    return CaseStudies(
        rows=tuple(row.label for row in rows),
        seed=seed,
        sets=sets,
        totals=dict(Counter(task for task, _ in problems)),
        right={key: right for key, (right, _) in counts.items()},
        split={key: split for key, (_, split) in counts.items()},
        pair=pair,
        cases=tuple(cases),
        notes=tuple(_notes(table, rows, seed, len(problems), cases)),
    )


def _seed(rows: Sequence[ScoreRow]) -> int | None:
    """The seed that most rows have, the smallest of several."""
    seeds = Counter(seed for row in rows for seed in row.seeds if seed is not None)
    return min(seeds, key=lambda seed: (-seeds[seed], seed)) if seeds else None


def _run_of(runs: Iterable[Record], seed: int | None) -> Record | None:
    """A row's run with this seed; its only run if nothing was trained."""
    return next((run for run in runs if run["seed"] in (seed, None)), None)


def _key(line: Mapping[str, Any]) -> Problem:
    return line["task"], line["index"]


def _place(labels: Mapping[str, str], problem: Problem) -> int:
    keys = list(labels)
    return keys.index(problem[0]) if problem[0] in labels else len(keys)


def _pair(rows: Sequence[ScoreRow]) -> tuple[int, int]:
    """LoRA and HypLoRA if the table has them, else its first two rows."""
    methods = [row.method for row in rows]
    first = methods.index(REFERENCE) if REFERENCE in methods else 0
    others = [i for i in range(len(rows)) if i != first]
    second = min(others, key=lambda i: (methods[i] != "hyplora", "hyplora" not in methods[i], i))
    return first, second


def _by_interest(verdicts: Verdicts, pair: tuple[int, int]) -> Iterable[Problem]:
    """All problems: first those that the pair disagrees on (both directions and all sets in turn),
    then those that any other two rows disagree on, then the rest.
    """
    rows = len(next(iter(verdicts.values())))
    pairs = [pair, pair[::-1]]
    sets = dict.fromkeys(task for task, _ in verdicts)

    def disagreed(wrong: int, right: int) -> list[Problem]:
        found = [p for p, correct in verdicts.items() if correct[right] and not correct[wrong]]
        return _in_turn([[p for p in found if p[0] == task] for task in sets])

    others = [two for two in permutations(range(rows), 2) if two not in pairs]
    parts = [_in_turn([disagreed(*two) for two in part]) for part in (pairs, others)]
    return dict.fromkeys([*chain(*parts), *verdicts])


def _in_turn(queues: Sequence[Sequence[Problem]]) -> list[Problem]:
    """One of each in turn until all are empty."""
    return [found for row in zip_longest(*queues) for found in row if found is not None]


def _case(problem: Problem, question: str, lines: Sequence[Mapping[str, Any]]) -> Case:
    task, index = problem
    return Case(
        task=task,
        index=index,
        question=printable(question[:LONGEST]) + ("…" if len(question) > LONGEST else ""),
        gold=printable(str(lines[0]["answer"])),
        answers=tuple(
            Answer(
                text=printable(line["text"].strip()[:LONGEST]),
                said=_said(line["prediction"]),
                correct=bool(line["correct"]),
                left_out=max(0, len(line["text"].strip()) - LONGEST),
                reason=line.get("reason") or "",
            )
            for line in lines
        ),
    )


def _said(prediction: float | str | None) -> str:
    if isinstance(prediction, float) and prediction.is_integer():
        return str(int(prediction))
    return "" if prediction is None else printable(str(prediction))


def _counts(verdicts: Verdicts, task: str) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """On one set: correct answers per row, and for each two rows how many only the second has."""
    import numpy as np

    right = np.array([found for (key, _), found in verdicts.items() if key == task], dtype=int)
    split = (1 - right).T @ right
    return tuple(right.sum(axis=0).tolist()), tuple(map(tuple, split.tolist()))


def _notes(
    table: ScoreTable,
    rows: Sequence[ScoreRow],
    seed: int | None,
    total: int,
    cases: Sequence[Case],
) -> Iterator[str]:
    if len(cases) < total:
        yield (
            f"{len(cases)} of the {total} problems are shown: first those that the first two rows "
            "disagree on, then those that others disagree on. The counts are of all problems."
        )
    labels = {row.label for row in rows}
    if without := [row.label for row in table.rows if row.label not in labels]:
        of_seed = "" if seed is None else f" of seed {seed}"
        yield f"No answers{of_seed}: {', '.join(without)}."

"""Case studies: what each row of a table wrote for one problem, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, permutations, zip_longest
from typing import Any

import numpy as np

from bench.errors import printable
from bench.report.scores import ScoreRow, ScoreTable

# The lines of a run's predictions.jsonl, by its run_id; empty if the file is gone.
Predictions = Callable[[str], Sequence[Mapping[str, Any]]]
Problem = tuple[str, int]  # its set, and its index there
Verdicts = Mapping[Problem, tuple[bool, ...]]

REFERENCE = "lora"  # compared with another method first
SHOWN = 240  # problems per table
CHARACTERS = 400_000  # of all texts of a table
LONGEST = 1_200  # characters of one text


def case_studies(
    table: ScoreTable,
    predictions: Predictions,
    shown: int = SHOWN,
    characters: int = CHARACTERS,
) -> dict[str, Any] | None:
    """What the rows of a table wrote for the same problems, of one seed.

    At most `shown` problems, and about `characters` characters of text.

    Returns:
        None if fewer than two rows have answers to the same problems; else plain data, which the
        page's script reads:

        - `rows`: labels of the rows with answers, one run each; `seed`: of those runs, None if
          nothing was trained; `sets`: labels of the test sets, by key.
        - `totals`: by set, number of problems that all rows answered; `right`: by set, for each row
          the number of correct answers; `split`: by set, how many the first index answered wrongly
          and the second correctly.
        - `pair`: the two rows that are compared first, as indices.
        - `cases`: the problems shown, the pair's disagreements first; each with `task`, `index`,
          `question`, `gold` and, in the order of `rows`, `answers`: `text`, `said` (the answer
          extracted from it, or empty), `correct`, `left_out` (characters cut from the text), and
          `reason` (why the model was not asked, or empty).
        - `notes`: what was left out.
    """
    seed = _seed(table.rows)
    rows: list[ScoreRow] = []
    lines: list[dict[Problem, Mapping[str, Any]]] = []
    for row in table.rows:
        run = next((run for run in row.records if run["seed"] in (seed, None)), None)
        written = predictions(run["run_id"]) if run else ()
        if written:
            rows.append(row)
            lines.append({(line["task"], line["index"]): line for line in written})
    shared = set.intersection(*map(set, lines)) if len(rows) > 1 else set()
    if not shared:
        return None
    labels = {found.key: found.label for found in table.benchmarks}
    order = {key: place for place, key in enumerate(labels)}
    problems = sorted(shared, key=lambda p: (order.get(p[0], len(order)), p[1]))
    verdicts = {p: tuple(bool(found[p]["correct"]) for found in lines) for p in problems}
    pair = _pair(rows)
    cases: list[Mapping[str, Any]] = []
    for problem in _by_interest(verdicts, pair):
        case = _case(problem, [found[problem] for found in lines])
        texts = (answer["text"] for answer in case["answers"])
        characters -= len(case["question"]) + sum(map(len, texts))
        if cases and (characters < 0 or len(cases) == shown):
            break
        cases.append(case)
    sets = {key: labels.get(key, key) for key in dict.fromkeys(task for task, _ in problems)}
    right: dict[str, list[int]] = {}
    split: dict[str, list[list[int]]] = {}
    for key in sets:
        found = np.array([v for (task, _), v in verdicts.items() if task == key], dtype=int)
        right[key], split[key] = found.sum(axis=0).tolist(), ((1 - found).T @ found).tolist()
    return {
        "rows": [row.label for row in rows],
        "seed": seed,
        "sets": sets,
        "totals": dict(Counter(task for task, _ in problems)),
        "right": right,
        "split": split,
        "pair": pair,
        "cases": cases,
        "notes": list(_notes(table, rows, pair, seed, len(problems), cases)),
    }


def _seed(rows: Sequence[ScoreRow]) -> int | None:
    """The seed that most rows have; the smallest in case of a tie."""
    seeds = Counter(seed for row in rows for seed in row.seeds if seed is not None)
    return min(seeds, key=lambda seed: (-seeds[seed], seed)) if seeds else None


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


def _case(problem: Problem, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    (task, index), question = problem, lines[0]["question"]
    return {
        "task": task,
        "index": index,
        "question": printable(question[:LONGEST]) + ("…" if len(question) > LONGEST else ""),
        "gold": printable(str(lines[0]["answer"])),
        "answers": [
            {
                "text": printable(text[:LONGEST]),
                "said": _said(line["prediction"]),
                "correct": bool(line["correct"]),
                "left_out": max(0, len(text) - LONGEST),
                "reason": line.get("reason") or "",
            }
            for line in lines
            for text in [line["text"].strip()]
        ],
    }


def _said(prediction: float | str | None) -> str:
    if isinstance(prediction, float) and prediction.is_integer():
        prediction = int(prediction)
    return "" if prediction is None else printable(str(prediction))


def _notes(
    table: ScoreTable,
    rows: Sequence[ScoreRow],
    pair: tuple[int, int],
    seed: int | None,
    total: int,
    cases: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    if len(cases) < total:
        first, second = (rows[place].label for place in pair)
        yield (
            f"{len(cases)} of the {total} problems are shown: first those that {first} and "
            f"{second} disagree on, then those that others disagree on. The counts are of all "
            "problems."
        )
    labels = {row.label for row in rows}
    if without := [row.label for row in table.rows if row.label not in labels]:
        of_seed = "" if seed is None else f" of seed {seed}"
        yield f"No answers{of_seed}: {', '.join(without)}."

"""Scores of a run, computed from its predictions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench import tasks
from bench.data.prompts import Protocol
from bench.evaluation.answers import agrees, gold_value, rule_name
from bench.evaluation.predictions import Prediction
from bench.tasks.task import Task


def scores(
    predictions: Sequence[Prediction], order: Iterable[str], protocol: Protocol
) -> dict[str, dict[str, Any]]:
    """Accuracy, valid format rate (percent) and counts of each benchmark.

    `majority` is the accuracy of the most frequent gold answer. `outcomes` has a 1 for each correct
    row and a 0 for each other row, in the order of the test set, for paired tests between runs.
    Rows that share a text have one number in `clusters`; it is None if all rows are independent.
    Rows whose prompt is too long count as wrong; `too_long` is their number. `nll` is the mean
    over the rows that have one; None if none has.

    Args:
        predictions: of all test rows, by the protocol.
        order: keys of the benchmarks in the order of the columns.
    """
    result = {}
    for key in order:
        rows = sorted((p for p in predictions if p.task == key), key=lambda p: p.index)
        task = tasks.find(key)
        correct = sum(p.correct for p in rows)
        # Validation rows of a mixed training file have answers of several kinds.
        kinds = dict.fromkeys(tasks.describe(key, p.answer).answer for p in rows)
        result[key] = {
            "label": task.label if task else key,
            "chance": task.chance if task else None,
            "rule": ", ".join(rule_name(kind, protocol) for kind in kinds),
            "n": len(rows),
            "clusters": clusters(task, [p.question for p in rows]),
            "correct": correct,
            "outcomes": "".join("1" if p.correct else "0" for p in rows),
            "accuracy": 100.0 * correct / len(rows),
            "format_rate": 100.0 * sum(p.formatted for p in rows) / len(rows),
            "majority": majority(key, [p.answer for p in rows], protocol),
            "too_long": sum(p.reason is not None for p in rows),
            "tokens": sum(p.tokens for p in rows),
            "nll": _mean(p.nll for p in rows),
        }
    return result


def clusters(task: Task | None, questions: Sequence[str]) -> list[int] | None:
    """The cluster index of each row, in order of appearance; None if no two rows share one."""
    if task is None or task.cluster is None:
        return None
    keys = [task.cluster(question) for question in questions]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return [numbers[key] for key in keys] if len(numbers) < len(keys) else None


def majority(key: str, answers: Sequence[str], protocol: Protocol) -> dict[str, Any]:
    """The most frequent gold answer of a benchmark (the first of equals), and its accuracy.

    Numbers are equal if their values are; the accuracy uses the protocol's tolerance.

    Returns:
        `answer` as it first occurs, and `accuracy` in percent.
    """
    rows = [(answer, tasks.describe(key, answer).answer) for answer in answers]
    values = [gold_value(*row) for row in rows]
    value, _ = Counter(values).most_common(1)[0]
    correct = sum(agrees(value, *row, protocol) for row in rows)
    return {"answer": answers[values.index(value)], "accuracy": 100.0 * correct / len(answers)}


def averages(by_set: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """`micro`: percent of all rows; `macro`: mean over the sets; empty without sets."""
    if not by_set:
        return {}
    rows = sum(score["n"] for score in by_set.values())
    return {
        "micro": 100.0 * sum(score["correct"] for score in by_set.values()) / rows,
        "macro": sum(score["accuracy"] for score in by_set.values()) / len(by_set),
    }


def nll_averages(
    predictions: Iterable[Prediction], by_set: Mapping[str, Mapping[str, Any]]
) -> dict[str, float | None]:
    """`micro`: mean over all rows that have an `nll`; `macro`: mean over the sets that have one."""
    return {
        "micro": _mean(p.nll for p in predictions),
        "macro": _mean(score["nll"] for score in by_set.values()),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None

"""Scores of a run, from its predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench import tasks
from bench.data.prompts import Protocol
from bench.evaluation.answers import agrees, gold_value, rule_name
from bench.evaluation.predictions import Prediction


def scores(
    predictions: Sequence[Prediction], order: Iterable[str], protocol: Protocol
) -> dict[str, dict[str, Any]]:
    """Accuracy and format rate in percent, with counts and the answer's rule, for each benchmark.

    `majority` is what a table sets the accuracy against: that of giving the same answer always.
    `outcomes` has a 1 for each row answered correctly and a 0 for each other, in the order of the
    test set: what paired tests between runs are made of.
    Rows that were too long for the model count as wrong; `too_long` says how many.

    Args:
        predictions: of all test rows.
        order: the benchmarks' keys, in the order of the columns.
        protocol: by whose rules they were read.
    """
    result = {}
    for key in order:
        rows = sorted((p for p in predictions if p.task == key), key=lambda p: p.index)
        task = tasks.find(key)
        correct = sum(p.correct for p in rows)
        # Validation rows of a mixed training file have answers of several kinds.
        kinds = dict.fromkeys(tasks.describe(key, p.answer).answer for p in rows)
        rules = [rule_name(kind, protocol) for kind in kinds]
        result[key] = {
            "label": task.label if task else key,
            "chance": task.chance if task else None,
            "rule": ", ".join(rules),
            "n": len(rows),
            "correct": correct,
            "outcomes": "".join("1" if p.correct else "0" for p in rows),
            "accuracy": 100.0 * correct / len(rows),
            "format_rate": 100.0 * sum(p.formatted for p in rows) / len(rows),
            "majority": majority(key, [p.answer for p in rows], protocol),
            "too_long": sum(p.reason is not None for p in rows),
            "tokens": sum(p.tokens for p in rows),
        }
    return result


def majority(key: str, answers: Sequence[str], protocol: Protocol) -> dict[str, Any]:
    """The most frequent gold answer of a benchmark, and what always giving it scores.

    Of answers that are equally frequent the one that comes first counts. Numbers are the same when
    their values are, and score as predictions do, within the protocol's tolerance.

    Args:
        key: of the benchmark.
        answers: the gold answers of its rows.
        protocol: says when a prediction counts as correct.

    Returns:
        `answer` as the file first has it, and `accuracy` in percent.
    """
    kinds = [tasks.describe(key, answer).answer for answer in answers]
    values = [gold_value(answer, kind) for answer, kind in zip(answers, kinds, strict=True)]
    value, _ = Counter(values).most_common(1)[0]
    correct = sum(
        agrees(value, answer, kind, protocol) for answer, kind in zip(answers, kinds, strict=True)
    )
    return {
        "answer": answers[values.index(value)],
        "accuracy": 100.0 * correct / len(answers),
    }


def averages(by_set: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """`micro`: percent of all rows; `macro`: plain mean over the sets."""
    rows = sum(score["n"] for score in by_set.values())
    return {
        "micro": 100.0 * sum(score["correct"] for score in by_set.values()) / rows,
        "macro": sum(score["accuracy"] for score in by_set.values()) / len(by_set),
    }

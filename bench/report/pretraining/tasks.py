"""The grid of lm-eval's tasks in a report on pretraining."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bench.report.layout import EMPTY, Section
from bench.report.pretraining.rows import PretrainedRow, t_interval
from bench.report.statistics.wording import between

SHARES = ("acc", "exact_match", "f1")  # what the names of metrics that are shares begin with
Figure = tuple[float, Mapping[str, Any]]  # a metric's value, and the task that it is of


def tasks_section(rows: Sequence[PretrainedRow], chance: Mapping[str, float]) -> Section | None:
    """What the models made of lm-eval's tasks; None where none was asked any.

    Args:
        rows: of the report.
        chance: percent that guessing gets, by a task's name.
    """
    lines: list[tuple[str, ...]] = []
    told = set()
    for task, metric in dict.fromkeys(pair for row in rows for pair in _pairs(row)):
        share = metric.startswith(SHARES)
        scale, form = (100.0, ".1f") if share else (1.0, ".4g")
        named = [task, metric]
        for row in rows:
            found = list(_figures(row, task, metric))
            if not found:
                continue
            values = [scale * value for value, _ in found]
            low, high = t_interval(values) or (None, None)
            mean = f"{np.mean(values):{form}}"
            items = ", ".join(dict.fromkeys(str(of["n"]) for _, of in found))
            cells = (mean, between(low, high, form), str(len(values)), items)
            lines.append((*named, row.label, *cells))
            named = ["", ""]
            told |= {of["fewshot"] for _, of in found}
        if share and task in chance:
            lines.append(("", "", "chance", f"{chance[task]:.1f}", EMPTY, EMPTY, EMPTY))
    if not lines:
        return None
    header = ("Task", "Metric", "Model", "Percent", "95% interval", "Seeds", "Items")
    shots = ", ".join(str(number) for number in sorted(told, key=str))
    notes = (
        "lm-eval's tasks with their own prompts, asked of the finished models; "
        f"examples in a prompt: {shots}. Shares in percent, other metrics as they are.",
        "Means over seeds; the interval is Student's t over them, on these items. Other items of "
        "the kind would add to it.",
    )
    return Section("Tasks of lm-eval", header, tuple(lines), notes, names=3)


def _pairs(row: PretrainedRow) -> Iterator[tuple[str, str]]:
    """Task and metric of all that a row was asked."""
    for record in row.records.values():
        for asked in record.get("lm_eval", {}).values():
            for task, found in asked["tasks"].items():
                yield from ((task, metric) for metric in found["metrics"])


def _figures(row: PretrainedRow, task: str, metric: str) -> Iterator[Figure]:
    """A metric of a task, of each seed that was asked it."""
    for record in row.records.values():
        for asked in record.get("lm_eval", {}).values():
            found = asked["tasks"].get(task)
            if found and metric in found["metrics"]:
                yield found["metrics"][metric]["value"], found

"""Accuracy against its cost: time, and memory or else the number of trainable parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

import altair as alt

from bench.report.figure import Figure, data, log_axis, look, panel
from bench.report.figures.common import cell_facts, interval_note, looks_of_methods
from bench.report.records import Record
from bench.report.scores import ScoreRow, ScoreTable

FINETUNE, EVALUATE = "fine-tuning (s)", "evaluation (s)"
MEMORY, PARAMETERS = "peak memory of fine-tuning (GiB)", "trainable parameters"


def figure(table: ScoreTable) -> Figure | None:
    """A panel for each cost, with the Pareto front of the means."""
    found = costs(table)
    if not found:
        return None
    drawn = {row.method: row for amounts in found.values() for row, _ in amounts}
    looks = look("method", looks_of_methods(table, drawn))
    y = alt.Y("mean:Q", title=f"{table.labels[table.main]} (%)", scale=alt.Scale(zero=False))
    facts, panels = [], []
    for measure, amounts in found.items():
        means = cell_facts((row for row, _ in amounts), {table.main: measure}, seeds=False)
        points = [(cost, fact["mean"]) for (_, cost), fact in zip(amounts, means, strict=True)]
        best = front(points)
        facts += [
            fact | {"cost": point[0], "Pareto front": "yes" if point in best else "no"}
            for fact, point in zip(means, points, strict=True)
        ]
        log = log_axis((cost for cost, _ in points), format="~s", labelExpr="datum.label")
        base = alt.Chart().transform_filter(alt.datum.benchmark == measure)
        base = base.encode(x=alt.X("cost:Q", title=measure, **log), y=y)
        line = base.transform_filter("datum['Pareto front'] == 'yes'").mark_line(
            color="#999999", strokeWidth=1.2, interpolate="step-after"
        )
        interval = base.mark_rule().encode(y="low:Q", y2="high:Q", color=looks["color"])
        panels.append(panel((line, interval, base.mark_point(size=60).encode(**looks)), "", 200))
    chart = alt.concat(*panels, data=data(facts), columns=len(panels)).resolve_scale(y="shared")
    caption = (
        f"Points: means{interval_note('vertical line', facts)}; grey: Pareto front, the rows that "
        "no other row equals at a lower cost. Times were measured on a shared machine and are "
        "approximate. Rows that train nothing are left out. Logarithmic scale."
    )
    return Figure("cost", "accuracy against cost", caption, chart)


def costs(table: ScoreTable) -> dict[str, list[tuple[ScoreRow, float]]]:
    """The rows that train something with their cost, for each cost known for two rows or more.

    Memory is used if it is known for all rows, else the number of parameters.
    """
    rows = [row for row in table.rows if row.trainable]
    peaks = [peak_gib(row.records) for row in rows]
    measures: dict[str, Sequence[float | None]] = {
        FINETUNE: [row.mean_seconds("finetune") for row in rows],
        EVALUATE: [row.mean_seconds("evaluate") for row in rows],
        **({PARAMETERS: [row.trainable for row in rows]} if None in peaks else {MEMORY: peaks}),
    }
    found = {
        measure: [
            (row, amount)
            for row, amount in zip(rows, amounts, strict=True)
            if amount and row.cells[table.main].value is not None
        ]
        for measure, amounts in measures.items()
    }
    return {measure: known for measure, known in found.items() if len(known) > 1}


def peak_gib(runs: Sequence[Record]) -> float | None:
    """Peak accelerator memory of fine-tuning, mean over runs; None if a run lacks it."""
    peaks = [run["training"].get("peak_bytes") for run in runs]
    known = [peak for peak in peaks if peak]
    return fmean(known) / 2**30 if len(known) == len(peaks) else None


def front(points: Iterable[tuple[float, float]]) -> set[tuple[float, float]]:
    """The (cost, gain) pairs for which no other pair has at least the gain at most at the cost."""
    kept: set[tuple[float, float]] = set()
    best = float("-inf")
    for cost, gain in sorted(points, key=lambda pair: (pair[0], -pair[1])):
        if gain > best:
            kept.add((cost, gain))
            best = gain
    return kept

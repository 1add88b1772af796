"""Accuracy against what it costs: time, and memory or else the parameters that are trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bench.report.chart import Chart, chart_of, choice, scales, values
from bench.report.figures.subject import INTERVAL, Subject, bounds, interval_note, mean_facts
from bench.report.records import Record
from bench.report.rows import Cell, Row
from bench.report.style import (
    WIDE,
    head,
    legend_below,
    log_scale,
    name_axis,
    new_figure,
    tidy,
)

TITLE = "Accuracy against cost"
FINETUNE, EVALUATE = "fine-tuning, s", "evaluation, s"
MEMORY, PARAMETERS = "peak memory of fine-tuning, GiB", "trainable parameters"


@dataclass(frozen=True)
class Point:
    """A row of the table at what it costs; `front` where none is as good for less."""

    row: Row
    cost: float
    cell: Cell
    front: bool


def front(points: Iterable[tuple[float, float]]) -> set[tuple[float, float]]:
    """The (cost, gain) pairs that no other pair is at least as good as for at most the same cost.

    Equal pairs stand on the front together.
    """
    kept: set[tuple[float, float]] = set()
    best = float("-inf")
    for cost, gain in sorted(points, key=lambda pair: (pair[0], -pair[1])):
        if gain > best:
            kept.add((cost, gain))
            best = gain
    return kept


def costs(subject: Subject) -> dict[str, list[Point]]:
    """The rows that train something, by each kind of cost that is known of two or more of them.

    Memory is shown where it is known of all rows, and the parameters else. A row that trains
    nothing costs nothing, and has no place on a logarithmic axis.
    """
    trained = [(row, runs) for row, runs in subject.rows if row.trainable]
    peaks = [peak_gib(runs) for _, runs in trained]
    measures: dict[str, list[float | None]] = {
        FINETUNE: [row.finetune_seconds for row, _ in trained],
        EVALUATE: [row.evaluate_seconds for row, _ in trained],
    }
    if None not in peaks:
        measures[MEMORY] = peaks
    else:
        measures[PARAMETERS] = [row.trainable for row, _ in trained]
    found = {}
    for measure, amounts in measures.items():
        known = [
            (row, amount, row.cells[subject.main])
            for (row, _), amount in zip(trained, amounts, strict=True)
            if amount and row.cells[subject.main].mean is not None
        ]
        best = front((amount, cell.mean or 0.0) for _, amount, cell in known)
        if len(known) > 1:
            found[measure] = [
                Point(row, amount, cell, (amount, cell.mean) in best) for row, amount, cell in known
            ]
    return found


def peak_gib(runs: Sequence[Record]) -> float | None:
    """The accelerator's peak memory in fine-tuning, mean over runs; None where one lacks it."""
    peaks = [(run.get("training") or {}).get("peak_bytes") for run in runs]
    known = [peak / 2**30 for peak in peaks if peak]
    return fmean(known) if known and len(known) == len(peaks) else None


def picture(subject: Subject) -> Any:
    """A panel a cost; the line joins the rows that none beats at less cost."""
    found = costs(subject)
    if not found:
        return None
    from matplotlib.ticker import EngFormatter

    figure = new_figure(WIDE, 2.9)
    axes = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    handles: dict[str, Any] = {}
    for axis, (measure, points) in zip(axes, found.items(), strict=True):
        line = sorted((point.cost, point.cell.mean) for point in points if point.front)
        steps = zip(*line, strict=True)
        axis.plot(*steps, color="#999999", linewidth=1, zorder=1, drawstyle="steps-post")
        for point in points:
            colour, marker = subject.looks[subject.methods[point.row.method]]
            axis.plot([point.cost] * 2, bounds(point.cell), color=colour, linewidth=0.8, zorder=2)
            (handle,) = axis.plot(
                point.cost, point.cell.mean, marker, color=colour, markersize=5, zorder=3
            )
            handles.setdefault(subject.methods[point.row.method], handle)
        log_scale(axis, [point.cost for point in points], "x")
        if measure == PARAMETERS:
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        tidy(axis)
        name_axis(axis, x=measure)
    name_axis(axes[0], y=f"{subject.sets[subject.main]}, %")
    legend_below(figure, list(handles.values()), list(handles))
    cells = [point.cell for points in found.values() for point in points]
    whiskers = interval_note("a line up", cells)
    head(figure, f"{subject.table.title}: grey the Pareto front, on the means{whiskers}")
    return figure


def charts(subject: Subject) -> list[Chart]:
    """The same, one cost at a time."""
    import altair as alt

    found = costs(subject)
    if not found:
        return []
    facts = []
    for measure, points in found.items():
        for point in points:
            facts.append(
                {
                    "row": point.row.label,
                    "method": subject.methods[point.row.method],
                    "measure": measure,
                    "cost": point.cost,
                    **mean_facts(point.cell),
                    "on the front": "yes" if point.front else "no",
                }
            )
    drawn = {fact["method"] for fact in facts}
    colour, shape = scales({label: look for label, look in subject.looks.items() if label in drawn})
    base = alt.Chart(values(facts)).transform_filter("datum.measure == wanted")
    x = alt.X("cost:Q", title=None, scale=alt.Scale(type="log", nice=False, padding=16))
    y = alt.Y("mean:Q", title=f"{subject.sets[subject.main]}, %", scale=alt.Scale(zero=False))
    paint = alt.Color("method:N", scale=colour, title=None)
    tell = ["row:N", "measure:N", "cost:Q", "mean:Q", f"{INTERVAL}:N", "on the front:N"]
    line = (
        base.transform_filter("datum['on the front'] == 'yes'")
        .mark_line(color="#999999", strokeWidth=1.5, interpolate="step-after")
        .encode(x=x, y=y)
    )
    whiskers = base.mark_rule().encode(x=x, y="low:Q", y2="high:Q", color=paint, tooltip=tell)
    points = base.mark_point(filled=True, size=110, opacity=1).encode(
        x=x, y=y, color=paint, tooltip=tell, shape=alt.Shape("method:N", scale=shape, title=None)
    )
    cells = [point.cell for points in found.values() for point in points]
    caption = (
        "The grey line is the Pareto front, on the means: rows that no other is as good as for "
        f"less{interval_note('a line up and down', cells)}. Times are of a shared machine, and "
        "rough. Rows that train nothing are left out. Logarithmic scale."
    )
    wanted = choice("wanted", "Cost", list(found))
    return [chart_of(TITLE, caption, [line, whiskers, points], 300, wanted=wanted)]

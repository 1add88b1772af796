"""Training and validation loss over the steps, a thin line a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.report.chart import Chart, chart_of, choice, scales, values
from bench.report.figures.subject import Look, Subject, row_looks
from bench.report.style import (
    WIDE,
    head,
    legend_below,
    log_scale,
    name_axis,
    new_figure,
    tidy,
)

TITLE = "Training curves"
CURVES = {"losses": "training loss", "validation": "validation loss"}
POINTS = 40  # of a line on the page; its ends are always kept
SEEDS = 5  # lines of a row that can be told apart
# Kind of loss, row, seed, and (step, loss) pairs.
Line = tuple[str, str, int | None, Sequence[Sequence[float]]]


def picture(subject: Subject) -> Any:
    """Two panels; each row's seeds as thin lines of its method's colour."""
    lines, looks = _lines(subject)
    if not lines:
        return None
    figure = new_figure(WIDE, 2.9)
    axes = figure.subplots(1, len(CURVES))
    for axis, (curve, title) in zip(axes, CURVES.items(), strict=True):
        drawn: list[float] = []
        shown: set[str] = set()
        for kind, label, _, points in lines:
            if kind != curve:
                continue
            colour, marker = looks[label]
            steps, losses = zip(*points, strict=True)
            drawn += losses
            # A marker at the end alone: on each step it would hide the line.
            axis.plot(
                steps,
                losses,
                color=colour,
                linewidth=0.6,
                alpha=0.8,
                marker=marker,
                markevery=[-1],
                markersize=3.5,
                label=label if label not in shown else None,
            )
            shown.add(label)
        log_scale(axis, drawn)
        tidy(axis, title)
        name_axis(axis, x="step", y="nats a target token")
    legend_below(figure, *axes[0].get_legend_handles_labels())
    head(figure, f"{subject.table.title}: loss over the steps, a line a seed")
    return figure


def charts(subject: Subject) -> list[Chart]:
    """The same, one kind of loss at a time."""
    import altair as alt

    lines, looks = _lines(subject)
    if not lines:
        return []
    facts = [
        {"loss of": CURVES[kind], "row": label, "seed": seed, "step": step, "loss": loss}
        for kind, label, seed, points in lines
        for step, loss in _thinned(points)
        if loss > 0
    ]
    drawn = {label for _, label, *_ in lines}
    colour, _ = scales({label: look for label, look in looks.items() if label in drawn})
    pick = alt.selection_point(name="picked", fields=["row"], bind="legend")
    log = alt.Axis(tickCount=5, format="~g")
    base = (
        alt.Chart(values(facts))
        .transform_filter("datum['loss of'] == wanted")
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(tickCount=8)),
            y=alt.Y(
                "loss:Q",
                title="nats a target token",
                scale=alt.Scale(type="log", nice=False),
                axis=log,
            ),
            color=alt.Color("row:N", title=None, scale=colour, sort=None),
            opacity=alt.condition(pick, alt.value(0.9), alt.value(0.08)),
        )
    )
    drawn = base.mark_line(strokeWidth=1).encode(detail="seed:N")
    dots = base.mark_circle(size=60, opacity=0).encode(
        tooltip=["row:N", "seed:O", "step:Q", "loss:Q"], opacity=alt.value(0)
    )
    caption = "A line a seed. A click on a name in the legend shows it alone. Logarithmic scale."
    wanted = choice("wanted", "Loss", list(CURVES.values()))
    return [chart_of(TITLE, caption, [drawn, dots], 280, wanted=wanted, picked=pick)]


def _lines(subject: Subject) -> tuple[list[Line], dict[str, Look]]:
    """Every line that is drawn, and the looks of the rows."""
    few = subject.few()
    lines = [
        (curve, row.label, run.get("seed"), points)
        for row, runs in few
        for run in runs[:SEEDS]
        for curve in CURVES
        if (points := (run.get("training") or {}).get(curve))
    ]
    return lines, row_looks([row for row, _ in few])


def _thinned(points: Sequence[Sequence[float]]) -> Sequence[Sequence[float]]:
    """At most POINTS of the points, evenly, the last one among them."""
    stride = -(-len(points) // POINTS)
    return points[::-1][::stride][::-1]

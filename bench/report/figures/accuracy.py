"""Each row's accuracy on each set: a dot a seed, and the mean with its interval."""

from __future__ import annotations

import math
from typing import Any

from bench.report.chart import ROW, Chart, chart_of, choice, scales, values
from bench.report.figures.subject import INTERVAL, Subject, bounds, interval_note, mean_facts
from bench.report.style import WIDE, head, name_axis, new_figure, tidy

TITLE = "Accuracy"
ABREAST = 5  # panels; of more sets they stand in several lines


def picture(subject: Subject) -> Any:
    """A panel a set; a dot a seed, a bar the mean, a line its interval."""
    table = subject.table
    lines = math.ceil(len(table.columns) / ABREAST)
    abreast = math.ceil(len(table.columns) / lines)
    figure = new_figure(WIDE, 0.3 + lines * (0.65 + 0.19 * len(table.rows)))
    panels = figure.subplots(lines, abreast, sharey=True, squeeze=False)
    axes = panels.flat[: len(table.columns)]
    for empty in panels.flat[len(table.columns) :]:
        empty.set_axis_off()
    for axis, column in zip(axes, table.columns, strict=True):
        for place, row in enumerate(table.rows):
            cell = row.cells[column.key]
            colour, marker = subject.looks[subject.methods[row.method]]
            scored = [value.value for value in cell.values]
            axis.plot(scored, [place] * len(scored), marker, color=colour, markersize=3, alpha=0.6)
            if cell.mean is not None:
                axis.plot(bounds(cell), [place, place], color=colour, linewidth=0.8)
                bar = [place - 0.33, place + 0.33]
                axis.plot([cell.mean] * 2, bar, color=colour, linewidth=1.4)
        if column.chance is not None:
            axis.axvline(column.chance, color="black", linestyle=":", linewidth=0.8)
        tidy(axis, column.label)
        name_axis(axis, x="accuracy, %")
    for line in panels:
        line[0].set_yticks(range(len(table.rows)), [row.label for row in table.rows])
    axes[0].set_ylim(len(table.rows) - 0.4, -0.6)
    cells = [row.cells.get(column.key) for row in table.rows for column in table.columns]
    marks = f"a dot a seed, a bar the mean{interval_note('a line', cells)}"
    chance = ", dotted chance" if any(c.chance is not None for c in table.columns) else ""
    head(figure, f"{table.title}: {marks}{chance}")
    return figure


def charts(subject: Subject) -> list[Chart]:
    """The same, one set at a time."""
    import altair as alt

    table = subject.table
    means: list[dict[str, Any]] = []
    dots: list[dict[str, Any]] = []
    for row in table.rows:
        named: dict[str, Any] = {"row": row.label, "method": subject.methods[row.method]}
        for key, label in subject.sets.items():
            cell = row.cells.get(key)
            if cell is None or cell.mean is None:
                continue
            means.append(named | {"set": label, **mean_facts(cell), "runs": cell.seeds})
            dots += [named | {"set": label, "seed": v.seed, "value": v.value} for v in cell.values]
    colour, shape = scales(subject.looks)
    order = [row.label for row in table.rows]
    y = alt.Y("row:N", sort=order, title=None, axis=alt.Axis(labelPadding=8))
    paint = alt.Color("method:N", scale=colour, legend=None)
    of_set = "datum.set == wanted"
    scale = alt.Scale(zero=False, nice=True)
    points = (
        alt.Chart(values(dots))
        .transform_filter(of_set)
        .mark_point(filled=True, size=45, opacity=0.55)
        .encode(
            y=y,
            x=alt.X("value:Q", title="accuracy, %", scale=scale, axis=alt.Axis(tickCount=8)),
            color=paint,
            shape=alt.Shape("method:N", scale=shape, legend=None),
            tooltip=["row:N", "set:N", "seed:O", "value:Q"],
        )
    )
    base = alt.Chart(values(means)).transform_filter(of_set)
    tell = ["row:N", "set:N", "mean:Q", f"{INTERVAL}:N", "runs:Q"]
    lines = base.mark_rule(size=2).encode(y=y, x="low:Q", x2="high:Q", color=paint, tooltip=tell)
    bars = base.mark_tick(thickness=3, size=16).encode(y=y, x="mean:Q", color=paint, tooltip=tell)
    cells = [row.cells.get(key) for row in table.rows for key in subject.sets]
    caption = f"A dot a seed, a bar the mean{interval_note('a line', cells)}."
    wanted = choice("wanted", "Set", list(subject.sets.values()))
    height = ROW * len(table.rows)
    return [chart_of(TITLE, caption, [lines, points, bars], height, wanted=wanted)]

"""Accuracy over the curvature parameter K, with intervals."""

from __future__ import annotations

from typing import Any

from bench.report.chart import Chart, chart_of, choice, scales, values
from bench.report.figures.subject import INTERVAL, Subject, bounds, interval_note, mean_facts
from bench.report.rows import Row
from bench.report.style import WIDE, head, legend_below, name_axis, new_figure, tidy

TITLE = "Accuracy over the curvature parameter K"


def curved(subject: Subject) -> dict[str, list[Row]]:
    """The rows of each method that was run at two curvatures or more, by its key.

    A curvature that was measured for each layer has no place on the axis.
    """
    found: dict[str, list[Row]] = {}
    for row in subject.table.rows:
        if isinstance(row.curvature, int | float):
            found.setdefault(row.method, []).append(row)
    return {
        method: sorted(rows, key=_place)
        for method, rows in found.items()
        if len({row.curvature for row in rows}) > 1
    }


def _place(row: Row) -> float:
    """Where a row stands on the axis."""
    return float(row.curvature or 0.0)


def picture(subject: Subject) -> Any:
    """A panel a set; a dot a seed, a line through the means, whiskers their intervals."""
    found = curved(subject)
    if not found:
        return None
    sets = {key: label for key, label in subject.sets.items() if key != "macro"}
    figure = new_figure(WIDE, 2.3)
    axes = figure.subplots(1, len(sets), squeeze=False)[0]
    for axis, (key, label) in zip(axes, sets.items(), strict=True):
        for method, rows in found.items():
            colour, marker = subject.looks[subject.methods[method]]
            known = [row for row in rows if row.cells[key].mean is not None]
            for row in known:
                scored = [value.value for value in row.cells[key].values]
                axis.plot(
                    [row.curvature] * len(scored), scored, ".", color=colour, ms=3, alpha=0.45
                )
                axis.plot([row.curvature] * 2, bounds(row.cells[key]), color=colour, linewidth=0.8)
            axis.plot(
                [row.curvature for row in known],
                [row.cells[key].mean for row in known],
                marker=marker,
                color=colour,
                markersize=4,
                linewidth=1,
                label=subject.methods[method],
            )
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
        places = sorted({_place(row) for rows in found.values() for row in rows})
        axis.set_xticks(places)
        axis.minorticks_off()
        tidy(axis, label)
        name_axis(axis, x="K")
    name_axis(axes[0], y="accuracy, %")
    if len(found) > 1:
        legend_below(figure, *axes[0].get_legend_handles_labels())
    cells = [row.cells.get(key) for rows in found.values() for row in rows for key in sets]
    head(
        figure,
        f"{subject.table.title}: a dot a seed{interval_note('a line up', cells)}; "
        "the larger K, the flatter",
    )
    return figure


def charts(subject: Subject) -> list[Chart]:
    """The same, one set at a time."""
    import altair as alt

    found = curved(subject)
    if not found:
        return []
    means, dots = [], []
    for method, rows in found.items():
        for row in rows:
            named = {"method": subject.methods[method], "K": row.curvature}
            for key, label in subject.sets.items():
                cell = row.cells.get(key)
                if cell is None or cell.mean is None:
                    continue
                means.append(named | {"set": label, **mean_facts(cell)})
                dots += [
                    named | {"set": label, "seed": v.seed, "value": v.value} for v in cell.values
                ]
    colour, shape = scales({subject.methods[m]: subject.looks[subject.methods[m]] for m in found})
    legend = alt.Undefined if len(found) > 1 else None
    places = sorted({_place(row) for rows in found.values() for row in rows})
    x = alt.X(
        "K:Q",
        title="K (the sectional curvature is −1/K)",
        axis=alt.Axis(values=places, format="~g"),
        scale=alt.Scale(type="log", base=2, nice=False, padding=20),
    )
    paint = alt.Color("method:N", scale=colour, title=None, legend=legend)
    mark = alt.Shape("method:N", scale=shape, title=None, legend=legend)
    scale = alt.Scale(zero=False)
    wanted = "datum.set == wanted"
    seeds = (
        alt.Chart(values(dots))
        .transform_filter(wanted)
        .mark_circle(size=30, opacity=0.45)
        .encode(
            x=x,
            y=alt.Y("value:Q", title="accuracy, %", scale=scale),
            color=paint,
            tooltip=["method:N", "K:Q", "set:N", "seed:O", "value:Q"],
        )
    )
    base = alt.Chart(values(means)).transform_filter(wanted)
    tell = ["method:N", "K:Q", "set:N", "mean:Q", f"{INTERVAL}:N"]
    line = base.mark_line(strokeWidth=1.5).encode(x=x, y="mean:Q", color=paint)
    whiskers = base.mark_rule(size=2).encode(x=x, y="low:Q", y2="high:Q", color=paint, tooltip=tell)
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=x, y="mean:Q", color=paint, shape=mark, tooltip=tell
    )
    cells = [row.cells.get(key) for rows in found.values() for row in rows for key in subject.sets]
    caption = (
        f"A dot a seed{interval_note('a line up and down', cells)}. The larger K, the flatter the "
        "space."
    )
    choose = choice("wanted", "Set", list(subject.sets.values()))
    return [chart_of(TITLE, caption, [seeds, line, whiskers, points], 280, wanted=choose)]

"""Paired differences to a reference method with their intervals: a forest plot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.names import method_label
from bench.report.chart import ROW, Chart, chart_of, choice, values
from bench.report.figures.subject import INTERVAL, Subject
from bench.report.statistics.differences import (
    BETTER,
    VERDICTS,
    WORSE,
    BesideReference,
    PairedDifference,
)
from bench.report.statistics.wording import between, probability
from bench.report.style import BETTER as BETTER_COLOUR
from bench.report.style import OPEN as OPEN_COLOUR
from bench.report.style import WIDE, head, legend_below, name_axis, new_figure, tidy
from bench.report.style import WORSE as WORSE_COLOUR

MARKS = {BETTER: (BETTER_COLOUR, "^"), WORSE: (WORSE_COLOUR, "v")}
OPEN_MARK = (OPEN_COLOUR, "o")


def picture(subject: Subject) -> Any:
    """A row of panels for each reference method, a panel a set."""
    beside = _beside(subject)
    if not beside:
        return None
    sets = _sets(subject, beside)
    heights = [_rows(found) for found in beside]
    figure = new_figure(WIDE, 0.9 + sum(0.45 + 0.19 * rows for rows in heights))
    grid = figure.subplots(len(beside), len(sets), squeeze=False, height_ratios=heights)
    for axes, found in zip(grid, beside, strict=True):
        for axis, (key, label) in zip(axes, sets.items(), strict=True):
            rows = found.on(key)
            axis.axvline(0, color="black", linewidth=0.8)
            for place, row in enumerate(rows):
                if row.difference is None:
                    continue
                colour, marker = MARKS.get(row.verdict, OPEN_MARK)
                if row.low is not None and row.high is not None:
                    axis.plot([row.low, row.high], [place] * 2, color=colour, linewidth=1)
                axis.plot(
                    row.difference,
                    place,
                    marker,
                    color=colour,
                    markersize=4,
                    markerfacecolor="none" if row.low is None else colour,
                )
            tidy(axis, label)
            axis.set_ylim(len(rows) - 0.4, -0.6)
            names = [row.label for row in rows] if axis is axes[0] else []
            axis.set_yticks(range(len(names)), names)
            axis.grid(axis="y", visible=False)
            name_axis(axis, x=f"points from {method_label(found.method)}")
    handles, labels = _legend()
    legend_below(figure, handles, labels, columns=4)
    head(
        figure,
        f"{subject.table.title}: paired differences, with the 95% interval of each alone",
    )
    return figure


def charts(subject: Subject) -> list[Chart]:
    """A figure for each reference method, one set at a time."""
    import altair as alt

    made = []
    for found in _beside(subject):
        sets = _sets(subject, [found])
        facts = [
            {"row": row.label, "set": sets[row.key]} | _facts(row, row.difference)
            for row in found.differences
            if row.difference is not None
        ]
        order = list(dict.fromkeys(row.label for row in found.differences))
        verdicts = [verdict for verdict in VERDICTS if any(f["verdict"] == verdict for f in facts)]
        colours = [MARKS.get(verdict, OPEN_MARK)[0] for verdict in verdicts]
        shapes = {BETTER: "triangle-up", WORSE: "triangle-down"}
        paint = alt.Color("verdict:N", scale=alt.Scale(domain=verdicts, range=colours), title=None)
        shape = alt.Shape(
            "verdict:N",
            scale=alt.Scale(domain=verdicts, range=[shapes.get(v, "circle") for v in verdicts]),
            title=None,
        )
        y = alt.Y("row:N", sort=order, title=None, axis=alt.Axis(labelPadding=8))
        told = ("row", "set", "verdict", "difference", INTERVAL, "p", "p (Holm)", "seeds")
        tell = [alt.Tooltip(f"{name}:N") for name in (*told, "would separate")]
        base = alt.Chart(values(facts)).transform_filter("datum.set == wanted")
        title = f"difference to {method_label(found.method)}, points"
        zero = alt.Chart(values([{"zero": 0}])).mark_rule(strokeDash=[3, 3]).encode(x="zero:Q")
        lines = base.mark_rule(size=2).encode(
            y=y,
            x=alt.X("low:Q", title=title, axis=alt.Axis(tickCount=8)),
            x2="high:Q",
            color=paint,
            tooltip=tell,
        )
        points = base.mark_point(filled=True, size=90, opacity=1).encode(
            y=y, x="difference:Q", color=paint, shape=shape, tooltip=tell
        )
        made.append(
            chart_of(
                f"Paired differences, {found.heading[0].lower()}{found.heading[1:]}",
                "Same seeds, same items. A line is the 95% interval of one comparison alone; the "
                "words go by the test that is corrected over all of them.",
                [zero, lines, points],
                ROW * len(order),
                wanted=choice("wanted", "Set", list(sets.values())),
            )
        )
    return made


def _facts(row: PairedDifference, difference: float) -> dict[str, Any]:
    """A comparison as numbers to draw and as words to tell."""
    tested = row.low is not None and row.high is not None
    low, high = (row.low, row.high) if tested else (difference, difference)
    return {
        "verdict": row.verdict,
        "difference": difference,
        "low": low,
        "high": high,
        INTERVAL: between(row.low, row.high, "+z.1f"),
        "p": probability(row.p),
        "p (Holm)": probability(row.p_holm),
        "seeds": len(row.seeds),
        "would separate": row.would_separate or "–",
    }


def _beside(subject: Subject) -> list[BesideReference]:
    """The comparisons, less rows that train nothing: so far off that the others look alike."""
    trained = {row.label for row in subject.table.rows if row.trainable}
    found = []
    for beside in subject.table.beside:
        kept = tuple(row for row in beside.differences if row.label in trained)
        if any(row.difference is not None for row in kept):
            found.append(replace(beside, differences=kept))
    return found


def _sets(subject: Subject, beside: list[BesideReference]) -> dict[str, str]:
    """The sets that any comparison is on, in the table's order; of the averages one."""
    there = {row.key for found in beside for row in found.differences}
    return {key: label for key, label in subject.sets.items() if key in there}


def _rows(found: BesideReference) -> int:
    return max(len(found.on(row.key)) for row in found.differences)


def _legend() -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D

    def mark(style: tuple[str, str], fill: bool = True) -> Line2D:
        colour, marker = style
        inside = colour if fill else "none"
        return Line2D([], [], color=colour, marker=marker, markersize=4, markerfacecolor=inside)

    handles = [mark(MARKS[BETTER]), mark(MARKS[WORSE]), mark(OPEN_MARK), mark(OPEN_MARK, False)]
    return handles, ["better", "worse", "not separated", "not tested"]

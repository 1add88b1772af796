"""Accuracy over the curvature parameter K."""

from __future__ import annotations

import altair as alt

from bench.names import method_label
from bench.report.figure import Figure, data, facet, look
from bench.report.figures import common
from bench.report.scores import ScoreRow, ScoreTable
from bench.report.theme import look_of


def figure(table: ScoreTable) -> Figure | None:
    """A panel for each average and benchmark; None if nothing has two curvatures."""
    found = curved(table)
    if not found:
        return None
    columns = table.labels
    facts = [
        fact | {"method": label}
        for label, rows in found.items()
        for fact in common.cell_facts(rows, columns)
    ]
    of_methods = common.looks_of_methods(table)
    looks = {label: of_methods.get(label) or look_of(place) for place, label in enumerate(found)}
    encoded = look("method", looks, legend=len(found) > 1)
    axis = alt.Axis(values=sorted({fact["K"] for fact in facts}), format="~g")
    x = alt.X("K:Q", axis=axis, scale=alt.Scale(type="log", base=2, nice=False, padding=8))
    scale = alt.Scale(zero=False, nice=False, padding=8)
    y = alt.Y("mean:Q", title="accuracy (%)", scale=scale)
    base = alt.Chart().encode(x=x, y=y, color=encoded["color"])
    layers = (
        base.mark_circle(size=14, opacity=0.5).encode(y="accuracy:Q"),
        base.mark_line(strokeWidth=1.2),
        base.mark_rule().encode(y="low:Q", y2="high:Q"),
        base.mark_point().encode(shape=encoded["shape"]),
    )
    titles, across, lines = common.grid_of(columns)
    chart = facet(layers, data(facts), "benchmark", titles, across, 130, y="independent")
    caption = (
        f"Small points: seeds; line: mean{common.interval_note('vertical line', facts)}. The "
        "sectional curvature is −1/K: the larger K, the flatter the space."
    )
    return Figure("curvature", "accuracy over K", caption, chart, 180 * lines)


def curved(table: ScoreTable) -> dict[str, list[ScoreRow]]:
    """The rows that differ only in K, by their name without it.

    Only rows with several K; one that was measured per layer does not count.
    """
    found: dict[str, list[ScoreRow]] = {}
    for row in table.rows:
        if isinstance(row.curvature, int | float):
            label = method_label(row.method, details=row.details)
            found.setdefault(label, []).append(row)
    return {label: rows for label, rows in found.items() if len(rows) > 1}

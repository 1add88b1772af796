"""Training and validation loss over the steps, a line for each seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from bench.report.figure import Figure, data, log_axis, look, panel
from bench.report.figures.common import few_rows
from bench.report.scores import ScoreTable
from bench.report.theme import row_looks

CURVES = {"losses": "training loss", "validation": "validation loss"}
POINTS = 60  # of a line; its last is always kept
SEEDS = 5  # lines of a row that can be distinguished


def figure(table: ScoreTable) -> Figure | None:
    """A panel for each of the two losses."""
    rows, fewer = few_rows([row for row in table.rows if row.trainable])
    facts: list[dict[str, Any]] = [
        {"row": row.label, "seed": run.get("seed"), "curve": title, "step": step, "loss": loss}
        | ({"last": loss} if step == points[-1][0] else {})
        for row in rows
        for run in row.records[:SEEDS]
        for curve, title in CURVES.items()
        if (points := run["training"].get(curve))
        for step, loss in thinned(points)
        if loss > 0
    ]
    if not facts:
        return None
    drawn = {fact["row"] for fact in facts}
    looks = look("row", {label: own for label, own in row_looks(rows).items() if label in drawn})
    pick = alt.selection_point(name="picked", fields=["row"], bind="legend")
    picked = alt.when(pick).then(alt.value(0.9)).otherwise(alt.value(0.08))
    panels: list[Any] = []
    for title in dict.fromkeys(fact["curve"] for fact in facts):
        log = log_axis(fact["loss"] for fact in facts if fact["curve"] == title)
        y = alt.Y("loss:Q", title="nats per target token", **log)
        base = alt.Chart().transform_filter(alt.datum.curve == title).encode(x="step:Q", y=y)
        coloured = base.encode(color=looks["color"], opacity=picked)
        lines = coloured.mark_line(strokeWidth=0.8).encode(detail="seed:N")
        if not panels:  # one parameter for all panels
            lines = lines.add_params(pick)
        ends = coloured.mark_point().encode(y="last:Q", shape=looks["shape"])
        values = base.mark_circle(size=60).encode(opacity=alt.value(0))
        panels.append(panel((lines, ends, values), title, 190))
    chart = alt.concat(*panels, data=data(facts), columns=2)
    caption = (
        f"A line for each seed (at most {SEEDS}), marked at its end. Logarithmic scale.{fewer}"
    )
    return Figure("training", "loss over the steps", caption, chart)


def thinned(points: Sequence[Sequence[float]]) -> Sequence[Sequence[float]]:
    """At most `POINTS` of the points, at equal strides, the last among them."""
    stride = -(-len(points) // POINTS)
    return points[::-1][::stride][::-1]

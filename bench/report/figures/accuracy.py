"""Accuracy of each row on each benchmark: seeds, mean and interval."""

from __future__ import annotations

import altair as alt

from bench.report.figure import Figure, data, facet, look, names
from bench.report.figures import common
from bench.report.scores import ScoreTable

STEP = 17  # pixels of a row


def figure(table: ScoreTable) -> Figure | None:
    """A panel for each average and benchmark."""
    columns = table.labels
    facts = common.cell_facts(table.rows, columns)
    if not facts:
        return None
    chances = {found.label: found.chance for found in table.benchmarks if found.chance is not None}
    caption = f"Points: seeds; bar: mean{common.interval_note('line', facts)}"
    caption += "; dashed: chance." if chances else "."
    facts += [{"benchmark": label, "chance": chance} for label, chance in chances.items()]

    looks = look("method", common.looks_of_methods(table), legend=False)
    base = alt.Chart().encode(
        y=names("row", [row.label for row in table.rows]), color=looks["color"]
    )
    x = alt.X("low:Q", title="accuracy (%)", scale=alt.Scale(zero=False))
    chance = alt.Chart().mark_rule(strokeDash=[2, 2]).encode(x="chance:Q")
    layers = (
        *((chance,) if chances else ()),
        base.mark_rule().encode(x=x, x2="high:Q"),
        base.mark_point(opacity=0.6).encode(x="accuracy:Q", shape=looks["shape"]),
        base.mark_tick(thickness=2, size=12).encode(x="mean:Q"),
    )
    titles, across, lines = common.grid_of(columns)
    step = {"step": STEP}
    chart = facet(layers, data(facts), "benchmark", titles, across, step, x="independent")
    height = (60 + STEP * len(table.rows)) * lines
    return Figure("accuracy", "accuracy", caption, chart, height)

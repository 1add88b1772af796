"""Paired differences of rows to their references with their intervals: a forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from bench.report.comparison import MEASURES, Comparison
from bench.report.figure import Figure, data, facet, line_at, look, names, round_step, whiskers
from bench.report.scores import ScoreTable
from bench.report.theme import VERDICTS

STEP = 17  # pixels of a row
LONG = 34  # characters of a name that are printed on one line
LIMIT = 250  # pixels of a line of a longer name
WIDE = 2  # more panels in a row have no room for more than three ticks


def figure(table: ScoreTable) -> Figure | None:
    """For each measure a panel for each average and benchmark, with a line for each comparison."""
    # A row that trains nothing is so far off that the others look alike.
    trained = {row.key for row in table.rows if row.trainable}
    known = [c for c in table.comparisons if c.row in trained and c.difference is not None]
    compared = {found.column for found in known}
    columns = {key: label for key, label in table.labels.items() if key in compared}
    shown = [found for found in known if found.column in columns]
    if not shown:
        return None
    labels = list(dict.fromkeys(found.name for found in shown))
    long = max(map(len, labels)) > LONG
    y = names("comparison", labels)
    if long:  # row and reference on two lines
        y["axis"]["labelExpr"] = (
            "[split(datum.label, ' − ')[0], '− ' + split(datum.label, ' − ')[1]]"
        )
        y["axis"]["labelLimit"] = LIMIT
    step_of_rows = STEP * (1 + long)
    drawn = {found.verdict for found in shown}
    looks = look("verdict", {v: shape for v, shape in VERDICTS.items() if v in drawn})
    blocks = []
    for measure in dict.fromkeys(MEASURES[found.measure] for found in shown):
        alike = [found for found in shown if found.measure == measure.key]
        used = {found.column for found in alike}
        titles = [label for key, label in columns.items() if key in used]
        axis = alt.Axis(labelFlush=False)
        if len(titles) > WIDE:
            axis.values = _few_ticks(alike)
        x = alt.X("low:Q", title=None, scale=alt.Scale(nice=False, padding=8), axis=axis)
        layers = (line_at(0), *whiskers("difference", x, looks, 45, y=y))
        rows = data(_facts(found, columns[found.column]) for found in alike)
        block = facet(layers, rows, "benchmark", titles, len(titles), {"step": step_of_rows})
        lower = ", lower is better" * measure.lower_is_better
        title = f"{measure.label}: row − reference ({measure.unit}{lower})"
        blocks.append(block.properties(title=title))
    caption = (
        "Same seeds and same items. Line: 95% interval of one comparison alone; the verdict is by "
        "the test that is corrected over all comparisons (n.s.: no significant difference)."
    )
    height = (80 + step_of_rows * len(labels)) * len(blocks)
    return Figure("differences", "paired differences", caption, alt.vconcat(*blocks), height)


def _few_ticks(found: Sequence[Comparison]) -> list[float]:
    ends = [0.0, *(e for c in found for e in (c.low, c.high, c.difference) if e is not None)]
    step = round_step(max(map(abs, ends)) or 1.0)
    return [tick for tick in (-step, 0, step) if min(ends) <= tick <= max(ends)]


def _facts(found: Comparison, benchmark: str) -> dict[str, Any]:
    return {
        "comparison": found.name,
        "about": found.heading,
        "benchmark": benchmark,
        "measure": found.measure,
        "verdict": found.verdict,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "p (Holm)": found.p_holm,
        "seeds": len(found.seeds),
    }

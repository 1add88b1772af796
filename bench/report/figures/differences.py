"""Paired differences to a reference row with their intervals: a forest plot."""

from __future__ import annotations

from bench.report.figure import Figure, data, facet, line_at, look, names, round_step, whiskers
from bench.report.figures.common import columns_of
from bench.report.scores import ScoreTable
from bench.report.theme import VERDICTS, longest

STEP = 17  # pixels of a row


def figure(table: ScoreTable) -> Figure | None:
    """A row of panels for each reference, a panel for each average and benchmark."""
    import altair as alt

    # A row that trains nothing is so far off that the others look alike.
    trained = {row.key for row in table.rows if row.trainable}
    shown = [c for c in table.comparisons if c.row in trained and c.difference is not None]
    if not shown:
        return None
    used = {found.column for found in shown}
    columns = {key: label for key, label in columns_of(table).items() if key in used}
    # Of a single benchmark only the average is compared.
    columns = columns or {table.main: table.benchmarks[0].label}
    rows = data(
        {
            "heading": found.heading,
            "row": found.label,
            "reference": found.reference_label,
            "benchmark": columns[found.column],
            "verdict": found.verdict,
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
            "p": found.p,
            "p (Holm)": found.p_holm,
            "seeds": len(found.seeds),
        }
        for found in shown
        if found.column in columns
    )
    drawn = {found.verdict for found in shown}
    looks = look("verdict", {v: shape for v, shape in VERDICTS.items() if v in drawn})
    ends = [e for c in shown for e in (c.low, c.high, c.difference) if e is not None]
    step = round_step(max(map(abs, ends)) or 1.0)
    marked = [tick for tick in (-step, 0, step) if min(ends) <= tick <= max(ends)]
    axis = alt.Axis(values=marked, labelFlush=False)
    x = alt.X("low:Q", title=None, scale=alt.Scale(nice=False, padding=8), axis=axis)
    extent = longest(found.label for found in shown)
    blocks = []
    for heading in dict.fromkeys(found.heading for found in shown):
        labels = list(dict.fromkeys(c.label for c in shown if c.heading == heading))
        marks = whiskers("difference", x, looks, 45, y=names("row", labels, extent))
        of_heading = alt.datum.heading == heading
        layers = (line_at(0), *(mark.transform_filter(of_heading) for mark in marks))
        titles = list(columns.values())
        block = facet(layers, rows, "benchmark", titles, len(titles), {"step": STEP})
        blocks.append(block.properties(title=f"{heading}: difference (percentage points)"))
    chart = alt.vconcat(*blocks).resolve_scale(x="shared")
    caption = (
        "Same seeds and same items. Line: 95% interval of one comparison alone; the verdict is by "
        "the test that is corrected over all comparisons (n.s.: no significant difference)."
    )
    height = 80 * len(blocks) + STEP * len({(c.heading, c.label) for c in shown})
    title = f"{table.selection.spec.title}: paired differences"
    return Figure("differences", title, caption, chart, height)

"""Paired differences of rows to their references with their intervals: a forest plot."""

from __future__ import annotations

from bench.report.figure import Figure, data, facet, line_at, look, names, round_step, whiskers
from bench.report.figures.common import columns_of
from bench.report.scores import ScoreTable
from bench.report.theme import VERDICTS

STEP = 17  # pixels of a row


def figure(table: ScoreTable) -> Figure | None:
    """A panel for each average and benchmark, with a line for each comparison."""
    import altair as alt

    # A row that trains nothing is so far off that the others look alike.
    trained = {row.key for row in table.rows if row.trainable}
    shown = [c for c in table.comparisons if c.row in trained and c.difference is not None]
    if not shown:
        return None
    used = {found.column for found in shown}
    columns = {key: label for key, label in columns_of(table).items() if key in used}
    rows = data(
        {
            "comparison": found.name,
            "about": found.heading,
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
    labels = list(dict.fromkeys(found.name for found in shown))
    layers = (line_at(0), *whiskers("difference", x, looks, 45, y=names("comparison", labels)))
    titles = list(columns.values())
    chart = facet(layers, rows, "benchmark", titles, len(titles), {"step": STEP})
    chart = chart.properties(title="row − reference (percentage points)")
    caption = (
        "Same seeds and same items. Line: 95% interval of one comparison alone; the verdict is by "
        "the test that is corrected over all comparisons (n.s.: no significant difference)."
    )
    height = 80 + STEP * len(labels)
    title = f"{table.selection.spec.title}: paired differences"
    return Figure("differences", title, caption, chart, height)

"""Gates by layer and module type, before and after training."""

from __future__ import annotations

import re
from collections.abc import Iterator
from statistics import fmean
from typing import Any

from bench.report.figure import Figure, line_grid, look
from bench.report.figures.common import few_rows
from bench.report.scores import ScoreRow, ScoreTable
from bench.report.theme import row_looks

STATISTICS = {
    "mean": "mean gate",
    "variation": "coefficient of variation",
    "largest": "largest gate",
}


def figure(table: ScoreTable) -> Figure | None:
    """A row of panels for each statistic, a panel for each module type."""
    rows, fewer = few_rows([row for row in table.rows if next(_facts(row), None)])
    facts = [fact for row in rows for fact in _facts(row)]
    if not facts:
        return None
    chart = line_grid(facts, STATISTICS, "layer", 5, look("row", row_looks(rows)), 90)
    caption = (
        "Mean over seeds, on validation prompts. Dashed and hollow: before training; solid: after. "
        f"Logarithmic scale; zeros are not drawn.{fewer}"
    )
    return Figure("gates", "gates by layer", caption, chart, 480)


def _facts(row: ScoreRow) -> Iterator[dict[str, Any]]:
    """The statistics of each layer, mean over the runs of a row that have gates."""
    runs = [g for run in row.records if (g := run["training"].get("gates"))]
    for moment, when in (("start", "dashed"), ("end", "solid")):
        for layers in zip(*(run[moment] for run in runs), strict=True):
            means = {key: fmean(gate[key] for gate in layers) for key in STATISTICS}
            number = re.search(r"\.(\d+)\.", layers[0]["layer"])
            layer = {"module": layers[0]["module"], "layer": int(number[1]) if number else 0}
            if positive := {key: mean for key, mean in means.items() if mean > 0}:
                yield {"row": row.label, "when": when} | layer | positive

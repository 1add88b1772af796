"""What several figures of a score table need."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from bench.names import method_label
from bench.report.scores import ScoreRow, ScoreTable
from bench.report.theme import MOST_ROWS, Look, method_looks


def looks_of_methods(table: ScoreTable, drawn: Container[str] | None = None) -> dict[str, Look]:
    """Colour and shape of each method of a table, or of those drawn, by its label."""
    looks = method_looks(row.method for row in table.rows)
    return {method_label(m): look for m, look in looks.items() if drawn is None or m in drawn}


def grid_of(columns: Mapping[str, str]) -> tuple[list[str], int, int]:
    """The panels' titles by column, how many panels are side by side, and the number of lines."""
    across = 3 if len(columns) in (3, 5, 6) else 4
    return list(columns.values()), across, -(-len(columns) // across)


def few_rows(rows: Sequence[ScoreRow]) -> tuple[list[ScoreRow], str]:
    """Rows that can be distinguished in one panel, and a sentence if these are not all.

    If there are too many, the one with the most parameters is kept of each method, or the first
    ones of a single method.
    """
    if len(rows) <= MOST_ROWS:
        return list(rows), ""
    kept: dict[str, ScoreRow] = {}
    for row in sorted(rows, key=lambda row: -row.trainable):
        kept.setdefault(row.method, row)
    if len(kept) == 1:
        return list(rows[:MOST_ROWS]), f" The first {MOST_ROWS} of {len(rows)} rows."
    few = [row for row in rows if row in kept.values()]
    return few, f" {len(few)} of {len(rows)} rows: of each method the one with most parameters."


def cell_facts(
    rows: Iterable[ScoreRow], columns: Mapping[str, str], seeds: bool = True
) -> list[dict[str, Any]]:
    """For each cell a row with its mean and interval and, if asked for, one for each run."""
    facts: list[dict[str, Any]] = []
    for row in rows:
        for key, benchmark in columns.items():
            cell = row.cells.get(key)
            if cell is None or cell.value is None:
                continue
            named = {"row": row.label, "method": method_label(row.method), "K": row.curvature}
            named |= {"benchmark": benchmark}
            means = {"mean": cell.value, "low": cell.low, "high": cell.high}
            facts.append(named | means | {"runs": len(cell.runs)})
            runs = cell.runs if seeds else ()
            facts += [named | {"seed": run.seed, "accuracy": run.value} for run in runs]
    return facts


def interval_note(what: str, facts: Iterable[Mapping[str, Any]]) -> str:
    """What whiskers are, e.g. `; line: 95% interval ...`; empty if there are none."""
    known = any(fact.get("low") is not None for fact in facts)
    return f"; {what}: 95% interval over seeds and items" if known else ""

"""What a figure is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.names import method_label
from bench.report.records import Record, group, select
from bench.report.rows import Cell, Row
from bench.report.spec import TableSpec
from bench.report.style import ROW_STYLES, method_styles
from bench.report.table import Table

Look = tuple[str, str]  # a colour, and a marker of matplotlib's
INTERVAL = "95% interval"
MANY = len(ROW_STYLES)  # rows whose lines can be told apart in one picture


@dataclass(frozen=True)
class Subject:
    """A table, and the runs of each of its rows."""

    table: Table
    runs: tuple[Sequence[Record], ...]

    @classmethod
    def of(cls, table: Table, records: Iterable[Record], spec: TableSpec) -> Subject:
        """The runs of a table, sorted into its rows as `build` did."""
        return cls(table, tuple(group(select(records), spec.apart)))

    @property
    def rows(self) -> list[tuple[Row, Sequence[Record]]]:
        """Each row with its runs."""
        return list(zip(self.table.rows, self.runs, strict=True))

    @property
    def methods(self) -> dict[str, str]:
        """The methods' labels by their keys, in the table's order."""
        return {row.method: method_label(row.method) for row in self.table.rows}

    @property
    def sets(self) -> dict[str, str]:
        """Labels of the averages and then of the benchmarks, by key."""
        averages = {key: f"{key} average" for key in self.table.averages}
        return averages | {column.key: column.label for column in self.table.columns}

    @property
    def main(self) -> str:
        """The key of what a row is judged by: an average, or else the first benchmark."""
        return next(iter(self.sets))

    @property
    def looks(self) -> dict[str, Look]:
        """Colour and marker of each method, by its label."""
        styles = method_styles(self.methods)
        return {label: styles[method] for method, label in self.methods.items()}

    def few(self) -> list[tuple[Row, Sequence[Record]]]:
        """All rows, or of each method the one with most to train where there are too many."""
        if len(self.rows) <= MANY:
            return self.rows
        kept: dict[str, tuple[Row, Sequence[Record]]] = {}
        for row, runs in self.rows:
            other = kept.get(row.method)
            if other is None or (row.trainable or 0) > (other[0].trainable or 0):
                kept[row.method] = (row, runs)
        return list(kept.values())


def row_looks(rows: Sequence[Row]) -> dict[str, Look]:
    """Colour and marker of each row, by its label: its method's, where no other row has that."""
    methods = [row.method for row in rows]
    styles = method_styles(methods)
    if len(styles) == len(rows):
        return {row.label: styles[row.method] for row in rows}
    return {row.label: ROW_STYLES[i % len(ROW_STYLES)] for i, row in enumerate(rows)}


def bounds(cell: Cell) -> tuple[float, float]:
    """The ends of a mean's interval; the mean itself where there is none."""
    mean = cell.mean or 0.0
    return (mean if cell.low is None else cell.low, mean if cell.high is None else cell.high)


def mean_facts(cell: Cell) -> dict[str, Any]:
    """A cell's mean and its interval, as numbers to draw and as words to tell."""
    low, high = bounds(cell)
    known = cell.low is not None and cell.high is not None
    told = f"{low:.1f} to {high:.1f}" if known else "not known"
    return {"mean": cell.mean, "low": low, "high": high, INTERVAL: told}


def interval_note(what: str, cells: Iterable[Cell | None]) -> str:
    """What a figure's whiskers are, after a comma; nothing where no interval is known.

    Args:
        what: how they look, e.g. `a line`.
        cells: that are drawn.
    """
    known = any(cell is not None and cell.low is not None for cell in cells)
    return f", {what} the 95% interval over seeds and items" if known else ""

"""Figures of tables that are not score tables yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from bench.report.comparison import (
    BETTER,
    FEW_SEEDS,
    NOT_COMPARED,
    NOT_SIGNIFICANT,
    WORSE,
    Comparison,
)
from bench.report.figure import Figure, save
from bench.report.names import method_label
from bench.report.records import Record, group, select
from bench.report.rows import Cell, Row
from bench.report.scores import Benchmark, ScoreRow, ScoreTable
from bench.report.selection import Group, Selection
from bench.report.spec import TableSpec
from bench.report.statistics.differences import VERDICTS
from bench.report.table import Table
from bench.report.tables import Cell as NewCell
from bench.report.tables import RunValue

NEW_VERDICTS = dict(
    zip(VERDICTS, (BETTER, WORSE, NOT_SIGNIFICANT, FEW_SEEDS, NOT_COMPARED), strict=True)
)


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


def draw(table: Table, records: Iterable[Record], spec: TableSpec, folder: Path) -> list[Path]:
    """Write the figures that a spec names as <table>_<figure>.svg and .png."""
    found = figures_of(table, records, spec)
    return [p for drawn in found for p in save(drawn, folder, f"{table.name}_{drawn.name}")]


def figures_of(table: Table, records: Iterable[Record], spec: TableSpec) -> list[Figure]:
    """The figures that a spec names."""
    scores = score_table(Subject.of(table, records, spec), spec)
    modules = (import_module(f"bench.report.figures.{name}") for name in spec.figures)
    return [figure for module in modules if (figure := module.figure(scores)) is not None]


def score_table(subject: Subject, spec: TableSpec) -> ScoreTable:
    """A table as a score table."""
    table = subject.table
    rows = tuple(
        ScoreRow(
            row.label,
            row.label,
            row.method,
            row.curvature,
            tuple(runs),
            {key: _cell(cell) for key, cell in row.cells.items()},
            row.trainable,
            row.trainable_percent,
            row.finetune_seconds,
            row.evaluate_seconds,
            row.format_rate,
        )
        for row, runs in subject.rows
    )
    return ScoreTable(
        selection=Selection(spec, tuple(Group(row.key, row.label, row.records) for row in rows)),
        benchmarks=tuple(
            Benchmark(column.key, column.label, column.items, column.chance)
            for column in table.columns
        ),
        averages=tuple(table.averages),
        rows=rows,
        comparisons=tuple(
            Comparison(
                beside.heading.replace("Beside", "vs."),
                found.label,
                found.reference,
                found.label,
                found.reference,
                found.key,
                NEW_VERDICTS[found.verdict],
                found.difference,
                found.low,
                found.high,
                found.p,
                found.p_holm,
                found.seeds,
                would_separate=found.would_separate,
            )
            for beside in table.beside
            for found in beside.differences
        ),
    )


def _cell(cell: Cell) -> NewCell:
    runs = tuple(RunValue(v.seed, v.value, v.n, v.correct) for v in cell.values)
    return NewCell(cell.mean, cell.sd, cell.low, cell.high, cell.n, runs=runs, why=cell.why)

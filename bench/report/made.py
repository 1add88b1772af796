"""Making, printing and writing one table: the same for a sweep and for a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.report.figures.subject import draw
from bench.report.published import Published
from bench.report.records import Record
from bench.report.render import write
from bench.report.spec import TableSpec
from bench.report.table import Table, build


def make_table(
    records: Sequence[Record],
    spec: TableSpec,
    published: Published | None,
    remarks: Sequence[str] = (),
) -> Table:
    """A table of runs with what their sweep says of it.

    Args:
        records: of finished runs, in the order of the sweep.
        spec: of the table.
        published: figures to set beside it.
        remarks: lines to set under it first.

    Raises:
        ValueError: these runs make no table.
    """
    table = build(records, spec, published)
    return replace(table, notes=(*remarks, *table.notes))


def write_table(
    table: Table, records: Sequence[Record], spec: TableSpec, results: Path
) -> list[Path]:
    """Write a table in every format and draw its figures; return the paths.

    Args:
        table: by `make_table`.
        records: the runs that it was made of.
        spec: of the table.
        results: the folder with tables/ and figures/.
    """
    return [*write(table, results / "tables"), *draw(table, records, spec, results / "figures")]

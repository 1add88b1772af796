"""The one table type: typed cells, which every output format renders.

A value stays a number until it is printed; `bench.report.formats` has one function per format.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

EMPTY = "-"


@dataclass(frozen=True)
class RunValue:
    """The value of one run behind a cell, with the items behind it and how many are correct."""

    seed: int | None
    value: float
    n: int | None = None
    correct: int | None = None


@dataclass(frozen=True)
class Cell:
    """One cell; whatever is unknown is None.

    Attributes:
        value: a number in the unit of its column, or text.
        sd: sample standard deviation over runs.
        low: lower end of the 95% interval (of the quartiles, if the table says so), then its upper.
        n: items behind the value.
        p: p-value of the comparison that the value is from, corrected over its family.
        verdict: of that comparison, e.g. `better`.
        runs: the value of each run.
        marks: numbers of the footnotes on this cell.
        why: the reason for a missing value.
    """

    value: float | str | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    p: float | None = None
    verdict: str = ""
    runs: tuple[RunValue, ...] = ()
    marks: tuple[int, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Column:
    """A column; two columns may show different parts of the same cells.

    Attributes:
        key: of its cells; its name in CSV and JSON.
        label: its heading.
        format: of the number: a format specification (`.1f`, `+z.1f`, `,`), or `duration`
            (seconds as `~25 s`, `~2 min`), `seconds` (`86.4 ms`, `2.2 s`), `p` (`<0.001`), or
            `text`, which is aligned to the left.
        unit: printed behind the number, e.g. `%`.
        show: what is printed: `value`, `sd` (value ± sd), `range` (value [low, high]), `interval`
            (low to high), `claim` (value and verdict), `verdict` or `p`.
        marks: numbers of the footnotes on the whole column.
    """

    key: str
    label: str
    format: str = ".1f"
    unit: str = ""
    show: str = "value"
    marks: tuple[int, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether its cells contain text."""
        return self.format == "text"


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        names: what the row is called, one name for each of the table's name columns.
        cells: cells by the column's key; a column without a cell is empty, and a cell without a
            column is only in CSV and JSON.
        marks: numbers of the footnotes on the row.
        signed: whether its numbers are differences, which are printed with their sign.
        keys: further columns of CSV and JSON that identify the row, e.g. its method.
    """

    names: tuple[str, ...]
    cells: Mapping[str, Cell]
    marks: tuple[int, ...] = ()
    signed: bool = False
    keys: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table with its heading and notes; without columns it is a list of notes.

    Attributes:
        key: its name in CSV and JSON.
        heading: printed above it; may be empty.
        columns: of its cells.
        rows: from top to bottom.
        names: headings of the name columns.
        notes: printed below it.
        footnotes: printed below the notes, numbered from 1.
        grouped: whether adjacent rows with one first name belong together: the name is printed
            once, and sorting keeps them together.
        view: whether it shows cells that another table has, which CSV and JSON then leave out.
        marks: numbers of the footnotes on the heading.
    """

    key: str
    heading: str = ""
    columns: tuple[Column, ...] = ()
    rows: tuple[Row, ...] = ()
    names: tuple[str, ...] = ("Method",)
    notes: tuple[str, ...] = ()
    footnotes: tuple[str, ...] = ()
    grouped: bool = False
    view: bool = False
    marks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Report:
    """What is printed and written under one name: facts on what was compared, then tables."""

    name: str
    title: str
    facts: Mapping[str, str]
    tables: tuple[Table, ...]


def printed(cell: Cell | None, column: Column, signed: bool = False) -> tuple[str, str]:
    """A cell as text in two parts; marks of footnotes are left to the renderer.

    Returns:
        The number or text, and what follows it (deviation, range, unit), so that a renderer can
        align the numbers of a column.
    """
    cell = cell or Cell()
    form = "+" + column.format if signed else column.format
    if column.show == "verdict":
        return cell.verdict or EMPTY, ""
    if column.show == "p":
        return EMPTY if cell.p is None else number(cell.p, "p"), ""
    if column.show == "interval":
        return between(cell.low, cell.high, form), ""
    if cell.value is None or isinstance(cell.value, str):
        return EMPTY if cell.value is None else cell.value, ""
    behind = column.unit
    if column.show == "sd" and cell.sd is not None:
        behind += f" ± {number(cell.sd, column.format)}"
    if column.show == "range" and cell.low is not None and cell.high is not None:
        behind += f" [{number(cell.low, form)}, {number(cell.high, form)}]"
    if column.show == "claim":
        behind += f" {cell.verdict}"
    return number(cell.value, form), behind


def number(value: float, form: str) -> str:
    """A number in a column's format."""
    if form == "duration":
        if value < 120:
            return f"~{value:.0f} s"
        return f"~{value / 60:.0f} min" if value < 7200 else f"~{value / 3600:.1f} h"
    if form == "seconds":
        return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"
    if form == "p":
        return "<0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
    return format(value, form)


def between(low: float | None, high: float | None, form: str = "z.1f") -> str:
    """`80.1 to 86.0`; `-` if there is no interval."""
    if low is None or high is None:
        return EMPTY
    return f"{number(low, form)} to {number(high, form)}"


def bounded(lines: Iterable[str], most: int) -> Iterator[str]:
    """The first lines, and how many more there are."""
    found = list(lines)
    yield from found[:most]
    if len(found) > most:
        yield f"and {len(found) - most:,} more"


def printed_rows(table: Table) -> list[tuple[Row, tuple[str, ...], list[tuple[str, str]]]]:
    """Each row with its names as printed and its `printed` cells.

    In a grouped table a first name that repeats the one above is empty.
    """
    found = []
    for above, row in zip((None, *table.rows), table.rows, strict=False):
        repeated = table.grouped and above and above.names[0] == row.names[0]
        names = ("", *row.names[1:]) if repeated else row.names
        cells = [printed(row.cells.get(c.key), c, row.signed) for c in table.columns]
        found.append((row, names, cells))
    return found

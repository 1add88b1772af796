"""A table as the page shows it: sort keys, and rows that stay together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby

from bench.report.formats.markdown import headings, text_rows
from bench.report.tables import EMPTY, Cell, Column, Table, cell_lists


@dataclass(frozen=True)
class GridCell:
    """One cell.

    Attributes:
        text: as in the Markdown table.
        key: the number that its column is sorted by; None for text.
        name: whether it names its row.
        verdict: `better` or `worse` if it claims that.
        empty: whether it has no value: such cells come last in any order.
    """

    text: str
    key: float | None = None
    name: bool = False
    verdict: str = ""
    empty: bool = False


@dataclass(frozen=True)
class Grid:
    """A table of the page.

    Attributes:
        header: the columns' heads.
        names: how many columns, from the left, name the rows.
        blocks: rows that stay together when the table is sorted.
    """

    header: tuple[str, ...]
    names: int
    blocks: tuple[tuple[tuple[GridCell, ...], ...], ...]

    @property
    def sortable(self) -> bool:
        """Whether there is an order to choose."""
        return len(self.blocks) > 1


def grid_of(table: Table) -> Grid | None:
    """The grid of a table; None if it has no rows."""
    if not table.rows:
        return None
    rows = []
    for (names, texts), cells in zip(text_rows(table), cell_lists(table), strict=True):
        shown = [GridCell(name, name=True) for name in names]
        for text, cell, column in zip(texts, cells, table.columns, strict=True):
            shown.append(_cell("".join(text), cell, column))
        rows.append(tuple(shown))
    firsts = [row.names[0] if table.grouped else place for place, row in enumerate(table.rows)]
    blocks = [
        tuple(row for _, row in members)
        for _, members in groupby(zip(firsts, rows, strict=True), key=lambda pair: pair[0])
    ]
    header = tuple(map(_kept_together, headings(table)))
    return Grid(header, len(table.names), tuple(blocks))


def _cell(text: str, cell: Cell | None, column: Column) -> GridCell:
    if cell is None or text == EMPTY:
        return GridCell(text, empty=True)
    key = cell.low if column.show == "interval" else cell.value
    return GridCell(text, None if isinstance(key, str) else key, verdict=cell.verdict)


def _kept_together(head: str) -> str:
    """A head in which a short remark in brackets is not broken: `step 256 (LoRA 2.2 s)`."""
    return re.sub(r"\([^()]{1,20}\)", lambda found: found[0].replace(" ", "\u00a0"), head)

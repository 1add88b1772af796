"""Tables for HTML templates: texts, and what columns are sorted by."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.report.comparison import BETTER, WORSE
from bench.report.formats.markdown import headings, notes_of, superscript, text_rows
from bench.report.tables import Cell, Column, Table


@dataclass(frozen=True)
class HtmlCell:
    """One cell.

    Attributes:
        text: as in Markdown, not escaped.
        key: the value that its column is sorted by; None for text, which is sorted as text.
        verdict: `better` or `worse` if it has such a verdict.
    """

    text: str
    key: float | None = None
    verdict: str = ""


@dataclass(frozen=True)
class HtmlTable:
    """A table, with `names` columns that name the rows.

    Rows of a block stay together when the table is sorted, by the last of them.
    """

    heading: str
    header: tuple[str, ...]
    names: int
    blocks: tuple[tuple[tuple[HtmlCell, ...], ...], ...]
    notes: tuple[str, ...]


def html_table(table: Table) -> HtmlTable:
    """A table as texts and keys."""
    blocks: list[list[tuple[HtmlCell, ...]]] = []
    for row, (names, texts) in zip(table.rows, text_rows(table), strict=True):
        cells = [HtmlCell(name) for name in names]
        for column, text in zip(table.columns, texts, strict=True):
            cells.append(_cell("".join(text), row.cells.get(column.key, Cell()), column))
        if not blocks or not table.grouped or names[0]:
            blocks.append([])
        blocks[-1].append(tuple(cells))
    return HtmlTable(
        heading=table.heading + superscript(table.marks),
        header=tuple(map(_unbroken, headings(table))),
        names=len(table.names),
        blocks=tuple(map(tuple, blocks)),
        notes=tuple(notes_of(table)),
    )


def _cell(text: str, cell: Cell, column: Column) -> HtmlCell:
    key = {"interval": cell.low, "p": cell.p, "verdict": None}.get(column.show, cell.value)
    claims = column.show in ("claim", "verdict", "range") and cell.verdict in (BETTER, WORSE)
    return HtmlCell(text, None if isinstance(key, str) else key, cell.verdict if claims else "")


def _unbroken(header: str) -> str:
    """A header in which a short remark in brackets is not broken: `step 256 (LoRA 2.2 s)`."""
    return re.sub(r"\([^()]{1,20}\)", lambda found: found[0].replace(" ", "\u00a0"), header)

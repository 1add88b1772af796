"""Reports on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from bench.errors import printable
from bench.report.formats.markdown import headings, notes_of, superscript, text_rows
from bench.report.tables import Report, Table


def show(report: Report, console: Console | None = None) -> None:
    """Print a report; a table too wide for the terminal is printed in parts."""
    console = console or Console()
    console.print(_text(report.title, "bold"))
    facts = Grid.grid(padding=(0, 2))
    facts.add_column(style="dim")
    for name, text in report.facts.items():
        facts.add_row(_text(name), _text(text))
    console.print(Padding(facts, (0, 0, 0, 2)))
    for table in report.tables:
        console.print()
        if table.heading:
            console.print(_text(table.heading + superscript(table.marks), "bold"))
        for lines in _parts(table, console.width - 2):
            for number, line in enumerate(lines):
                style = "bold" if number == 0 else "dim" if number == 1 else ""
                console.print(_text("  " + line, style), no_wrap=True, soft_wrap=False)
            console.print()
        for note in notes_of(table):
            console.print(Padding(_text(note, "dim"), (0, 0, 0, 2)))


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style)


def _parts(table: Table, width: int) -> list[list[str]]:
    """The table as blocks of lines: `±` set tight, then the columns split, if it is too wide."""
    if not table.rows:
        return []
    columns = _aligned(table)
    if _width(columns) > width:
        columns = _aligned(table, tight=True)
    names = columns[: len(table.names)]
    parts: list[list[list[str]]] = [[]]
    for column in columns[len(names) :]:
        if parts[-1] and _width([*names, *parts[-1], column]) > width:
            parts.append([])
        parts[-1].append(column)
    return [_lines([*names, *part]) for part in parts]


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(len(column[0]) + 2 for column in columns) - 2


def _lines(columns: Sequence[Sequence[str]]) -> list[str]:
    header, *body = ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]
    return [header, "─" * _width(columns), *body]


def _aligned(table: Table, tight: bool = False) -> list[list[str]]:
    """The columns, each padded to one width: names to the left, numbers aligned at their end."""
    rows = list(text_rows(table))
    columns = [list(names) for names in zip(*(names for names, _ in rows), strict=True)]
    for pairs in zip(*(cells for _, cells in rows), strict=True):
        behind = [text.replace(" ± ", "±") if tight else text for _, text in pairs]
        longest = max(map(len, behind))
        columns.append(
            [text + b.ljust(longest) for (text, _), b in zip(pairs, behind, strict=True)]
        )
    left = [True] * len(table.names) + [column.is_text for column in table.columns]
    found = []
    for head, texts, to_left in zip(headings(table), columns, left, strict=True):
        shown = [printable(text) for text in (head, *texts)]
        width = max(map(len, shown))
        found.append([text.ljust(width) if to_left else text.rjust(width) for text in shown])
    return found

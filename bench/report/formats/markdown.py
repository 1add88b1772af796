"""Reports as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bench.report.formats.escape import in_markdown, markdown_line
from bench.report.tables import Report, Table, cell_lists, printed, shown_names

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def to_markdown(report: Report) -> str:
    """A report for a person to read: numbers rounded as their columns say."""
    lines = [f"# {in_markdown(report.title)}", ""]
    lines += [f"- {in_markdown(f'{name}: {text}')}" for name, text in report.facts.items()]
    for table in report.tables:
        if table.heading:
            lines += ["", f"## {in_markdown(table.heading + superscript(table.marks))}"]
        if table.rows:
            lines += ["", *_grid(table)]
        if table.notes:
            lines += ["", *(f"- {markdown_line(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def text_rows(table: Table) -> Iterator[tuple[list[str], list[tuple[str, str]]]]:
    """Each row's names, and its cells as number and what hangs behind it, marks included."""
    for row, names, cells in zip(table.rows, shown_names(table), cell_lists(table), strict=True):
        texts = []
        for cell, column in zip(cells, table.columns, strict=True):
            text, behind = printed(cell, column)
            texts.append((text, behind + superscript(cell.marks if cell else ())))
        yield [names[0] + superscript(row.marks if names[0] else ()), *names[1:]], texts


def headings(table: Table) -> list[str]:
    """The headings of the name columns, then of the others with their marks."""
    return [*table.names, *(column.label + superscript(column.marks) for column in table.columns)]


def superscript(marks: Iterable[int]) -> str:
    """Footnote marks: `¹,³`."""
    return ",".join(str(mark).translate(SUPERSCRIPTS) for mark in marks)


def _grid(table: Table) -> Iterator[str]:
    rules = ["---"] * len(table.names)
    rules += ["---" if column.is_text else "--:" for column in table.columns]
    rows = [[*names, *map("".join, cells)] for names, cells in text_rows(table)]
    for row in (headings(table), rules, *rows):
        yield "| " + " | ".join(map(in_markdown, row)) + " |"

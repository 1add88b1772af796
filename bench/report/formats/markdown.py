"""Reports as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bench.report.formats.escape import in_markdown, markdown_line
from bench.report.tables import Cell, Report, Table, printed_rows

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def to_markdown(report: Report) -> str:
    """A report for a person to read: numbers rounded as their columns say."""
    lines = [f"# {in_markdown(report.title)}", ""]
    lines += [f"- {markdown_line(f'{name}: {text}')}" for name, text in report.facts.items()]
    for table in report.tables:
        if table.heading:
            lines += ["", f"## {in_markdown(table.heading + superscript(table.marks))}"]
        if table.rows:
            lines += ["", *_grid(table)]
        if notes := notes_of(table):
            lines += ["", *(f"- {markdown_line(note)}" for note in notes)]
    return "\n".join(lines) + "\n"


def text_rows(table: Table) -> Iterator[tuple[list[str], list[tuple[str, str]]]]:
    """Each row's names, and its cells as number and what follows it, marks included."""
    for row, names, cells in printed_rows(table):
        marks = [row.cells.get(column.key, Cell()).marks for column in table.columns]
        texts = [(text, f"{b}{superscript(m)}") for (text, b), m in zip(cells, marks, strict=True)]
        yield [*names[:-1], names[-1] + superscript(row.marks)], texts


def headings(table: Table) -> list[str]:
    """The headings of the name columns, then of the others with their marks."""
    return [*table.names, *(column.label + superscript(column.marks) for column in table.columns)]


def notes_of(table: Table) -> list[str]:
    """A table's notes, then its footnotes with their marks."""
    marked = [f"{superscript((n,))} {note}" for n, note in enumerate(table.footnotes, 1)]
    return [*table.notes, *marked]


def superscript(marks: Iterable[int]) -> str:
    """Footnote marks: `¹,³`."""
    return ",".join(str(mark).translate(SUPERSCRIPTS) for mark in marks)


def _grid(table: Table) -> Iterator[str]:
    rules = ["---"] * len(table.names)
    rules += ["---" if column.is_text else "--:" for column in table.columns]
    rows = [[*names, *map("".join, cells)] for names, cells in text_rows(table)]
    for row in (headings(table), rules, *rows):
        yield "| " + " | ".join(map(in_markdown, row)) + " |"

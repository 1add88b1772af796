r"""Reports as LaTeX: a file of `table` environments for \input, with booktabs and graphicx."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any

from bench.report.formats.escape import one_line
from bench.report.tables import EMPTY, Cell, Column, Report, Table, cell_lists, printed, shown_names

WIDTH = 96  # characters of a full line in \footnotesize
GAP = 2  # between two columns, in characters
DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")

# Shrinks what is wider than the page and leaves the rest as it is.
FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


def to_latex(report: Report) -> str:
    r"""A report as LaTeX.

    Each table with rows becomes a `table` with \label{tab:NAME}, then tab:NAME-2 and so on; the
    facts are printed below the first. A table too wide for a page is split by columns.
    """
    grids = [table for table in report.tables if table.rows]
    lines = [
        f"% {one_line(report.title)}",
        r"% Needs \usepackage{booktabs} and \usepackage{graphicx}.",
    ]
    facts = ". ".join(f"{name}: {text}" for name, text in report.facts.items())
    for place, table in enumerate(grids, 1):
        caption = ": ".join(filter(None, (report.title, table.heading)))
        notes = [f"{facts}."] if facts and place == 1 else []
        notes += [*table.notes, *_notes_behind(table, report)]
        suffix = f"-{place}" if place > 1 else ""
        lines += ["", *_float(table, caption, f"tab:{report.name}{suffix}", notes)]
    return "\n".join(lines) + "\n"


def _notes_behind(table: Table, report: Report) -> Iterator[str]:
    """The notes of tables without rows that follow one with rows."""
    following = report.tables[report.tables.index(table) + 1 :]
    for other in takewhile(lambda other: not other.rows, following):
        yield from (": ".join(filter(None, (other.heading, note))) for note in other.notes)


def _float(table: Table, caption: str, label: str, notes: Sequence[str]) -> Iterator[str]:
    yield r"\begin{table}[tbp]"
    yield r"\centering"
    yield rf"\caption{{{in_latex(caption)}{_marks(table.marks)}}}"
    yield rf"\label{{{label}}}"
    yield r"\par\smallskip\footnotesize"
    for place, columns in enumerate(_parts(table)):
        if place:
            yield r"\par\medskip"
        yield from _tabular(table, columns)
    if notes:
        yield r"\par\smallskip"
        yield r"\begin{minipage}{\linewidth}\scriptsize\raggedright"
        yield from (rf"{in_latex(note)}\par" for note in notes)
        yield r"\end{minipage}"
    yield r"\end{table}"


def _parts(table: Table) -> list[list[int]]:
    """The columns by number, in groups that fit on a page beside the names."""

    def width(texts: Iterable[str]) -> int:
        return max(map(len, texts)) + GAP

    names = [
        (head, *column) for head, *column in zip(table.names, *shown_names(table), strict=True)
    ]
    left = WIDTH - sum(map(width, names))
    cells = cell_lists(table)
    parts: list[list[int]] = [[]]
    room = left
    for place, column in enumerate(table.columns):
        needed = width([column.label, *("".join(printed(row[place], column)) for row in cells)])
        if parts[-1] and needed > room:
            parts.append([])
            room = left
        parts[-1].append(place)
        room -= needed
    return parts


def _tabular(table: Table, places: Sequence[int]) -> Iterator[str]:
    cells, names = cell_lists(table), shown_names(table)
    columns = [table.columns[place] for place in places]
    hanging = [
        max((_hanging(row[place], column) for row in cells), key=len)
        for place, column in zip(places, columns, strict=True)
    ]
    yield FITTED
    layout = "l" * len(table.names) + "".join("l" if c.is_text else "r" for c in columns)
    yield rf"\begin{{tabular}}{{{layout}}}"
    yield r"\toprule"
    heads = [in_latex(column.label) + _marks(column.marks) for column in columns]
    yield _line([*map(in_latex, table.names), *heads])
    yield r"\midrule"
    for number, (row, line, shown) in enumerate(zip(table.rows, cells, names, strict=True)):
        if number and table.grouped and shown[0]:
            yield r"\addlinespace"
        first = in_latex(shown[0]) + _marks(row.marks if shown[0] else ())
        figures = [
            _figure(line[place], column, longest)
            for place, column, longest in zip(places, columns, hanging, strict=True)
        ]
        yield _line([first, *map(in_latex, shown[1:]), *figures])
    yield r"\bottomrule"
    yield r"\end{tabular}}"


def _line(cells: Iterable[str]) -> str:
    # An empty group first: LaTeX takes a bracket or a star at the start of a row for its own.
    return "{}" + " & ".join(cells) + r" \\"


def _hanging(cell: Cell | None, column: Column) -> str:
    return in_latex(printed(cell, column)[1]) + _marks(cell.marks if cell else ())


def _figure(cell: Cell | None, column: Column, longest: str) -> str:
    """A cell aligned at the end of its number: what hangs behind it is padded to the longest."""
    text, _ = printed(cell, column)
    hanging = _hanging(cell, column)
    shown = "--" if text == EMPTY else in_latex(text)
    return shown + hanging + (rf"\phantom{{{longest}}}" if longest and not hanging else "")


def _marks(marks: Iterable[int]) -> str:
    text = ",".join(map(str, marks))
    return rf"\textsuperscript{{{text}}}" if text else ""


def in_latex(text: str) -> str:
    """Text for a paragraph, a caption or a cell; unknown characters are shown as U+4E2D."""
    return _encoder().unicode_to_latex(one_line(text))


@functools.cache
def _encoder() -> Any:
    from pylatexenc.latexencode import (
        RULE_DICT,
        UnicodeToLatexConversionRule,
        UnicodeToLatexEncoder,
    )

    own = {ord("~"): r"$\sim$", ord("−"): "$-$", ord("|"): r"\textbar{}", ord('"'): "''"}
    return UnicodeToLatexEncoder(
        conversion_rules=[UnicodeToLatexConversionRule(RULE_DICT, own), "defaults"],
        unknown_char_policy=lambda character: f"U+{ord(character):04X}",
        replacement_latex_protection="braces-after-macro",
        unknown_char_warning=False,
    )

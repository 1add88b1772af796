r"""Reports as LaTeX: a file of `table` environments for \input, with booktabs and graphicx."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any

from bench.report.formats.escape import one_line
from bench.report.tables import EMPTY, Cell, Report, Table, printed_rows

WIDTH = 96  # characters of a full line in \footnotesize
GAP = 2  # between two columns, in characters

# Shrinks tables that are wider than the page and leaves the others as they are.
FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"

# Characters that LaTeX has a glyph for without further packages; others are shown as U+4E2D.
KNOWN = re.compile(
    "[ -~±×·−≤≥≈≠∞→←↔°µ–—‘’“”…†‡§¹²³⁰⁴-⁹ΓΔΘΛΞΠΣΥΦΨΩα-ξπ-ω"
    "À-ÏÑ-ÖØ-Ýß-ïñ-öø-ýÿĀ-ăĆ-ďĒ-ėĚ-ġĨ-ĭİıŁ-ńŇňŌ-ŕŘ-šŨ-űŴ-ž]"
)
OWN = {
    "~": r"$\sim$",
    "|": r"\textbar{}",
    '"': r"\textquotedblright{}",
    "`": r"\textasciigrave{}",
    "−": "$-$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "°": r"$^\circ$",
    "µ": r"$\mu$",
    **{raised: rf"\textsuperscript{{{n}}}" for n, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}
NEGATIVE = re.compile(r"(?<![\w.)])-(?=\d)")
LIGATURE = re.compile(r"([-',])(?=\1)")


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
        caption = in_latex(": ".join(filter(None, (report.title, table.heading))))
        notes = [in_latex(f"{facts}.")] if facts and place == 1 else []
        notes += _without_rows(report.tables) if place == 1 else ()
        notes += map(in_latex, table.notes)
        notes += _without_rows(report.tables[report.tables.index(table) + 1 :])
        notes += [f"{marked((n,))} {in_latex(note)}" for n, note in enumerate(table.footnotes, 1)]
        suffix = f"-{place}" if place > 1 else ""
        label = f"tab:{report.name}{suffix}"
        lines += ["", *_float(table, caption + marked(table.marks), label, notes)]
    return "\n".join(lines) + "\n"


def _without_rows(tables: Sequence[Table]) -> Iterator[str]:
    """The notes of the tables before the first with rows."""
    for table in takewhile(lambda table: not table.rows, tables):
        for place, note in enumerate(table.notes):
            yield in_latex(": ".join(filter(None, (table.heading * (place == 0), note))))


def _float(table: Table, caption: str, label: str, notes: Sequence[str]) -> Iterator[str]:
    yield r"\begin{table}[tbp]"
    yield r"\centering"
    yield rf"\caption{{{caption}}}"
    yield rf"\label{{{label}}}"
    yield r"\par\smallskip\footnotesize"
    for place, columns in enumerate(_parts(table)):
        if place:
            yield r"\par\medskip"
        yield from _tabular(table, columns)
    if notes:
        yield r"\par\smallskip"
        yield r"\begin{minipage}{\linewidth}\scriptsize\raggedright"
        yield from (rf"{note}\par" for note in notes)
        yield r"\end{minipage}"
    yield r"\end{table}"


def _parts(table: Table) -> list[range]:
    """The columns by number, in groups that fit on a page with the names."""

    texts = [[*table.names, *(column.label for column in table.columns)]]
    texts += [[*names, *map("".join, cells)] for _, names, cells in printed_rows(table)]
    widths = [max(map(len, column)) + GAP for column in zip(*texts, strict=True)]
    heads, widths = widths[: len(table.names)], widths[len(table.names) :]
    starts, used = [0], sum(heads)
    for place, needed in enumerate(widths):
        if place > starts[-1] and used + needed > WIDTH:
            starts.append(place)
            used = sum(heads)
        used += needed
    return [range(a, b) for a, b in zip(starts, [*starts[1:], len(widths)], strict=True)]


def _tabular(table: Table, places: range) -> Iterator[str]:
    rows = printed_rows(table)
    columns = [table.columns[place] for place in places]
    longest = {
        place: max(
            (_hanging(cells[place], row.cells.get(column.key)) for row, _, cells in rows), key=len
        )
        for place, column in zip(places, columns, strict=True)
    }
    yield FITTED
    layout = "l" * len(table.names) + "".join("l" if c.is_text else "r" for c in columns)
    yield rf"\begin{{tabular}}{{{layout}}}"
    yield r"\toprule"
    yield _line(
        [*map(in_latex, table.names), *(in_latex(c.label) + marked(c.marks) for c in columns)]
    )
    yield r"\midrule"
    for number, (row, names, cells) in enumerate(rows):
        if number and table.grouped and names[0]:
            yield r"\addlinespace"
        line = [*map(in_latex, names)]
        line[-1] += marked(row.marks)
        for place, column in zip(places, columns, strict=True):
            text = cells[place][0]
            hanging = _hanging(cells[place], row.cells.get(column.key))
            # Numbers are aligned at their end: what follows them is padded to the longest.
            missing = longest[place] if not hanging and not column.is_text else ""
            padding = rf"\phantom{{{missing}}}" if missing else ""
            line.append(("--" if text == EMPTY else in_latex(text)) + hanging + padding)
        yield _line(line)
    yield r"\bottomrule"
    yield r"\end{tabular}}"


def _line(cells: Iterable[str]) -> str:
    # An empty group first: LaTeX takes a bracket or a star at the start of a row for its own.
    return "{}" + " & ".join(cells) + r" \\"


def _hanging(shown: tuple[str, str], cell: Cell | None) -> str:
    return in_latex(shown[1]) + marked(cell.marks if cell else ())


def marked(marks: Iterable[int]) -> str:
    """Marks of footnotes."""
    text = ",".join(map(str, marks))
    return rf"\textsuperscript{{{text}}}" if text else ""


def in_latex(text: str) -> str:
    """Text for a paragraph, a caption or a cell."""
    line = NEGATIVE.sub("−", one_line(text))
    known = "".join(c if KNOWN.match(c) else f"U+{ord(c):04X}" for c in line)
    return LIGATURE.sub(r"\1{}", _encoder().unicode_to_latex(known))


@functools.cache
def _encoder() -> Any:
    from pylatexenc.latexencode import (
        RULE_DICT,
        UnicodeToLatexConversionRule,
        UnicodeToLatexEncoder,
    )

    own = {ord(character): text for character, text in OWN.items()}
    return UnicodeToLatexEncoder(
        conversion_rules=[UnicodeToLatexConversionRule(RULE_DICT, own), "defaults"],
        replacement_latex_protection="braces-after-macro",
    )

r"""Documents as LaTeX: a file of `table` environments, to be read by \input.

It needs the packages booktabs and graphicx, says so in its first line, and any engine sets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile

from bench.report.formats.escape import one_line
from bench.report.formats.latex import in_latex
from bench.report.layout import EMPTY, Document, Section, tail

WIDTH = 96  # characters that a line of a full page holds in LaTeX's \footnotesize
GAP = 2  # between two columns, in characters

# Shrinks what is wider than the page and leaves the rest as it is.
FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


def latex(document: Document, label: str) -> str:
    r"""A document as LaTeX.

    What was compared stands under the first table, each section's notes under its own. A grid too
    wide for a page is split by columns, the names again in each part.

    Args:
        document: of which each section with a grid becomes a `table`.
        label: for \ref: `tab:LABEL`, then `tab:LABEL-2` and so on.
    """
    grids = [section for section in document.sections if section.rows]
    lines = [
        f"% {one_line(document.title)}",
        r"% Needs \usepackage{booktabs} and \usepackage{graphicx}.",
    ]
    facts = ". ".join(f"{name}: {text}" for name, text in document.facts.items())
    for number, section in enumerate(grids, 1):
        caption = ": ".join(filter(None, (document.title, section.heading)))
        notes = [f"{facts}."] if facts and number == 1 else []
        notes += [*section.notes, *_words_after(section, document)]
        suffix = f"-{number}" if number > 1 else ""
        lines += ["", *_table(section, caption, f"tab:{label}{suffix}", notes)]
    return "\n".join(lines) + "\n"


def _words_after(section: Section, document: Document) -> Iterable[str]:
    """The notes of sections without a grid that follow one with a grid."""
    following = document.sections[document.sections.index(section) + 1 :]
    for other in takewhile(lambda other: not other.rows, following):
        yield from (": ".join(filter(None, (other.heading, note))) for note in other.notes)


def _table(section: Section, caption: str, label: str, notes: Sequence[str]) -> Iterable[str]:
    yield r"\begin{table}[tbp]"
    yield r"\centering"
    yield rf"\caption{{{in_latex(caption)}}}"
    yield rf"\label{{{label}}}"
    yield r"\par\smallskip\footnotesize"
    for number, columns in enumerate(_parts(section)):
        if number:
            yield r"\par\medskip"
        yield from _grid(section, columns)
    if notes:
        yield r"\par\smallskip"
        yield r"\begin{minipage}{\linewidth}\scriptsize\raggedright"
        yield from (rf"{in_latex(note)}\par" for note in notes)
        yield r"\end{minipage}"
    yield r"\end{table}"


def _parts(section: Section) -> list[list[int]]:
    """The columns beside the names, by number, in groups that fit on a page."""
    rows = (section.header, *section.rows)
    widths = [max(map(len, column)) + GAP for column in zip(*rows, strict=True)]
    left = WIDTH - sum(widths[: section.names])
    parts: list[list[int]] = [[]]
    room = left
    for number, width in list(enumerate(widths))[section.names :]:
        if parts[-1] and width > room:
            parts.append([])
            room = left
        parts[-1].append(number)
        room -= width
    return parts


def _grid(section: Section, columns: Sequence[int]) -> Iterable[str]:
    names = list(range(section.names))
    tails = {
        number: max((tail(row[number]) for row in section.rows), key=len) for number in columns
    }
    grouped = any(not row[0] for row in section.rows)
    yield FITTED
    yield rf"\begin{{tabular}}{{{'l' * len(names)}{'r' * len(columns)}}}"
    yield r"\toprule"
    yield _row(in_latex(section.header[number]) for number in [*names, *columns])
    yield r"\midrule"
    for place, row in enumerate(section.rows):
        if place and grouped and row[0]:
            yield r"\addlinespace"
        cells = [in_latex(row[number]) for number in names]
        cells += [_figure(row[number], tails[number]) for number in columns]
        yield _row(cells)
    yield r"\bottomrule"
    yield r"\end{tabular}}"


def _row(cells: Iterable[str]) -> str:
    # An empty group first: LaTeX takes a bracket or a star at the beginning of a row for its own.
    return "{}" + " & ".join(cells) + r" \\"


def _figure(text: str, longest: str) -> str:
    """A cell that lines up with its column at the end of the number.

    Args:
        text: of the cell.
        longest: of what follows the numbers in its column (a deviation, a footnote's mark).
    """
    if text == EMPTY:
        text = "–"
    hanging = tail(text)
    missing = longest[len(hanging) :]
    return in_latex(text) + (rf"\phantom{{{in_latex(missing)}}}" if missing else "")

"""Text that models wrote and people named, made harmless in what a report is written as.

A folder's name, a method's, or an answer may hold markup, a spreadsheet's formula or a terminal's
control codes. Here it becomes what it says and nothing else. On a terminal
`bench.errors.printable` does; for LaTeX `bench.report.latex_text`; HTML is escaped by the templates
of the page.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import TextIO, TypeVar

from bench.errors import printable

T = TypeVar("T")

# What begins a formula in a spreadsheet, in the full-width forms too that some take for the same.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

# An underscore counts only at the edge of a word, so the names of layers stay as they are. Of a
# link it is enough to break the join between its brackets.
_MARKUP = re.compile(r"[\\`*|$]|(?<![^\W_])_|_(?![^\W_])|~(?=~)|(?<=~)~|\](?=[(\[:])")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_BLOCK = re.compile(r"^[#>+=-]")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")


def in_markdown(text: str) -> str:
    """Text within a line of Markdown: of a paragraph, a heading, or a cell of a grid."""
    text = _MARKUP.sub(r"\\\g<0>", one_line(text))
    return _ENTITY.sub("&amp;", text).replace("<", "&lt;")


def markdown_line(text: str) -> str:
    """Text that a line or an item of Markdown begins with: no heading, quotation or list either."""
    return _NUMBERED.sub(r"\1\\\2", _BLOCK.sub(r"\\\g<0>", in_markdown(text).strip()))


def in_csv(value: T) -> T | str:
    """A field of a CSV file: text that a spreadsheet would compute gets a `'` before it.

    Numbers stay numbers, negative ones too.
    """
    if not isinstance(value, str):
        return value
    shown = printable(value)
    return f"'{shown}" if value.startswith(FORMULA) else shown


class CsvWriter:
    """`csv.writer` with every field as `in_csv` has it."""

    def __init__(self, stream: TextIO) -> None:
        self._writer = csv.writer(stream, lineterminator="\n")

    def writerow(self, fields: Iterable[object]) -> None:
        """Write a row."""
        self._writer.writerow(map(in_csv, fields))


def one_line(text: str) -> str:
    """Text without line breaks, and with its control characters written out."""
    return printable(text.replace("\n", " "))

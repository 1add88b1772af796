"""Escaping of text from models and users: of markup in Markdown and of formulas in CSV.

The terminal has `bench.errors.printable`, LaTeX `latex.in_latex`; HTML is escaped by the templates.
"""

from __future__ import annotations

import re
from typing import TypeVar

from bench.errors import printable

T = TypeVar("T")

# The start of a formula in a spreadsheet, also in the full-width forms that some accept.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

# Underscores are escaped only at the edge of a word, so that names of layers stay readable. Links
# are broken between their brackets.
_MARKUP = re.compile(r"[\\`*|$]|(?<![^\W_])_|_(?![^\W_])|~(?=~)|(?<=~)~|\](?=[(\[:])")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_BLOCK = re.compile(r"^[#>+=-]")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")


def in_markdown(text: str) -> str:
    """Text within a line of Markdown: a paragraph, a heading, or a cell of a table."""
    text = _MARKUP.sub(r"\\\g<0>", one_line(text))
    return _ENTITY.sub("&amp;", text).replace("<", "&lt;")


def markdown_line(text: str) -> str:
    """Text at the start of a line or list item of Markdown."""
    return _NUMBERED.sub(r"\1\\\2", _BLOCK.sub(r"\\\g<0>", in_markdown(text).strip()))


def in_csv(value: T) -> T | str:
    """A field of a CSV file: text that a spreadsheet would compute gets a `'` before it."""
    if not isinstance(value, str):
        return value
    shown = printable(value)
    return f"'{shown}" if value.startswith(FORMULA) else shown


def one_line(text: str) -> str:
    """Text without line breaks, and with its control characters escaped."""
    return printable(text.replace("\n", " "))

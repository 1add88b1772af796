"""Numbers in README and docs: written there from the tables' files, between markers.

A number follows a comment with its place in a CSV file and a format:

    <!-- table2, scores, LoRA, micro: {value:.1f} ± {sd:.1f} -->74.7 ± 0.4<!-- end -->

The names are those of the file, the table in it, the row and the column; the fields `value`, `sd`,
`low`, `high`, `p`, `n`, `runs` and `text`. A whole table follows its file's name, and is the first
table of the Markdown file:

    <!-- table2 -->
    ...
    <!-- end -->
"""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path
from typing import Any

from bench.errors import InputError
from bench.files import write_text
from bench.report.published import FOLDER

PROJECT = FOLDER.parent.parent
TABLES = PROJECT / "results" / "tables"
MARKED = re.compile(r"(<!-- (?P<place>[\w.-]+(?:, [^,]+, [^:]+)?)(?:: (?P<form>[^>]*?))? -->)"
                    r"(?P<found>.*?)(?P<end><!-- end -->)", re.DOTALL)  # fmt: skip
NUMBERS = ("value", "sd", "low", "high", "p", "n", "runs")


def documents() -> list[Path]:
    """README and the files in docs/."""
    return [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]


def filled(text: str, tables: Path = TABLES) -> str:
    """A document with the numbers of today's tables between its markers.

    Raises:
        ValueError: a marker names what is not in a table, or its format can't be used.
    """

    def fill(marker: re.Match[str]) -> str:
        try:
            if marker["form"] is None:
                inside = f"\n{_first_table(tables / (marker['place'] + '.md'))}\n"
            else:
                inside = marker["form"].format(**_cell(tables, *_parts(marker["place"])))
        except (OSError, LookupError, ValueError, TypeError) as error:
            raise ValueError(f"{marker[1]}: {error}") from error
        return marker[1] + inside + marker["end"]

    return MARKED.sub(fill, text)


def docs(config: dict[str, Any]) -> dict[str, Any]:
    """action=docs: write the numbers of the committed tables into README and docs."""
    changed = []
    for path in documents():
        text = path.read_text(encoding="utf-8")
        try:
            new = filled(text)
        except ValueError as error:
            raise InputError(f"{path.relative_to(PROJECT)}: {error}") from error
        if new != text:
            write_text(path, new)
            changed.append(str(path.relative_to(PROJECT)))
    return {"summary": f"written: {', '.join(changed) or 'nothing, all numbers are current'}"}


def _parts(place: str) -> list[str]:
    parts = place.split(", ")
    name, table, *row, column = parts
    return [name, table, ", ".join(row), column]


def _cell(tables: Path, name: str, table: str, row: str, column: str) -> dict[str, Any]:
    lines = [
        line
        for line in _lines(tables / f"{name}.csv")
        if (line["table"], line["row"], line["column"]) == (table, row, column)
    ]
    if len(lines) != 1:
        raise LookupError(f"{len(lines)} cells of {name}.csv are at {table}, {row}, {column}")
    return {
        key: float(value) if key in NUMBERS and value else value for key, value in lines[0].items()
    }


@cache
def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _first_table(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    length = next((n for n, line in enumerate(lines[start:]) if not line.startswith("|")), None)
    return "\n".join(lines[start:][:length])

"""Numbers in README and docs: written there from the tables' files, between markers.

A number follows a comment with its place in a CSV file and a format:

    <!-- table2 / scores / LoRA / micro: {value:.1f} ± {sd:.1f} -->74.7 ± 0.4<!-- end -->

The place is file, table, row and column; the fields are `value`, `sd`, `low`, `high`, `p`, `n`,
`runs` and `text`. A whole table follows the name of its Markdown file, and the beginning of its
heading unless it is the first; without the names of columns, all columns are shown:

    <!-- table2 / Comparisons -->
    ...
    <!-- end -->
    <!-- table2 | Micro | NLL, micro -->
    ...
    <!-- end -->
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas

from bench.errors import InputError
from bench.files import write_text
from bench.report.published import FOLDER

PROJECT = FOLDER.parent.parent
TABLES = PROJECT / "results" / "tables"
MARKED = re.compile(
    r"(<!-- (?P<place>[\w.-]+(?: / [^>{|]+?)*)"
    r"(?:: (?P<form>[^>]*\{[^>]+)|(?P<columns>(?: \| [^>{|]+?)+))? -->)"
    r"(?P<found>.*?)(?P<end><!-- end -->)",
    re.DOTALL,
)


def documents() -> list[Path]:
    """README and the files in docs/."""
    return [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]


def filled(text: str, tables: Path = TABLES) -> str:
    """A document with the numbers of the current tables between its markers.

    Raises:
        ValueError: a marker names something that is not in a table, or its format is invalid.
    """

    def fill(marker: re.Match[str]) -> str:
        try:
            if marker["form"] is None:
                lines = _table(tables, *marker["place"].split(" / "))
                names = (marker["columns"] or "").split(" | ")[1:]
                inside = "\n".join(["", *(_chosen(lines, names) if names else lines), ""])
            else:
                inside = marker["form"].format(**_cell(tables, *marker["place"].split(" / ")))
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


def _cell(tables: Path, name: str, table: str, row: str, column: str) -> dict[str, Any]:
    cells = _cells(tables / f"{name}.csv")
    place = {"table": table, "row": row, "column": column}
    found = cells[(cells[list(place)] == list(place.values())).all(axis=1)]
    if len(found) != 1:
        raise LookupError(f"{len(found)} cells of {name}.csv are at {table}, {row}, {column}")
    return found.iloc[0].dropna().to_dict()


@cache
def _cells(path: Path) -> pandas.DataFrame:
    return pandas.read_csv(path, float_precision="round_trip")


def _table(tables: Path, name: str, heading: str = "") -> list[str]:
    lines = (tables / f"{name}.md").read_text(encoding="utf-8").splitlines()
    if heading:
        starts = [n for n, line in enumerate(lines) if line.startswith(f"## {heading}")]
        if len(starts) != 1:
            raise LookupError(f"{len(starts)} headings of {name}.md begin with {heading!r}")
        lines = lines[starts[0] :]
    rows = itertools.dropwhile(lambda line: not line.startswith("|"), lines)
    return list(itertools.takewhile(lambda line: line.startswith("|"), rows))


def _chosen(lines: list[str], names: list[str]) -> Iterator[str]:
    """The first column of a table and those with these headings, without rows of dashes alone."""
    cells = [re.split(r"(?<!\\) *\| *", line)[1:-1] for line in lines]
    places = [0, *map(cells[0].index, names)]
    for row in cells:
        chosen = [row[place] for place in places]
        if set(chosen[1:]) != {"-"}:
            yield f"| {' | '.join(chosen)} |"

"""Reports as data: a pandas frame with one number per column, CSV and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.report.formats.escape import in_csv
from bench.report.tables import Cell, Report, Row, Table

if TYPE_CHECKING:
    import pandas

NUMBERS = ("value", "sd", "low", "high", "p", "n", "runs")


def frame(report: Report) -> pandas.DataFrame:
    """One line per cell, unrounded.

    Returns:
        The columns `table`, `row`, those of `Row.keys`, `column`, `value`, `sd`, `low`, `high`,
        `p`, `n` (items), `runs` (their number) and `text` (text cells and verdicts).
        Missing numbers are NaN.
    """
    import pandas

    lines = [
        _line(table, row, key, cell)
        for table in report.tables
        if not table.view
        for row in table.rows
        for key, cell in row.cells.items()
    ]
    keys = dict.fromkeys(key for line in lines for key in line)
    first, last = ("table", "row"), ("column", *NUMBERS, "text")
    between = [key for key in keys if key not in (*first, *last)]
    found = pandas.DataFrame(lines, columns=[*first, *between, *last])
    for name in NUMBERS:
        found[name] = pandas.to_numeric(found[name])
    return found.astype({"n": "Int64", "runs": "Int64"})


def _line(table: Table, row: Row, column: str, cell: Cell) -> dict[str, Any]:
    text = cell.value if isinstance(cell.value, str) else cell.verdict
    return {
        "table": table.key,
        "row": ", ".join(filter(None, row.names)),
        **row.keys,
        "column": column,
        "value": None if isinstance(cell.value, str) else cell.value,
        "sd": cell.sd,
        "low": cell.low,
        "high": cell.high,
        "p": cell.p,
        "n": cell.n,
        "runs": len(cell.runs) or None,
        "text": text or None,
    }


def to_csv(report: Report) -> str:
    """`frame` as CSV; an empty field is a missing value."""
    found = frame(report)
    texts = found.select_dtypes(exclude="number").columns
    found[texts] = found[texts].map(in_csv, na_action="ignore")
    return found.to_csv(index=False, lineterminator="\n")


def to_json(report: Report, data: dict[str, Any] | None = None) -> str:
    """The whole report, unrounded, with the value of each run and further `data`."""
    tables = {
        table.key: {
            "heading": table.heading,
            "columns": [{"key": column.key, "label": column.label} for column in table.columns],
            "rows": [
                {"names": list(row.names), **row.keys, "cells": _cells(row)} for row in table.rows
            ],
            "notes": [*table.notes, *table.footnotes],
        }
        for table in report.tables
        if not table.view
    }
    content = {"name": report.name, "title": report.title, "facts": dict(report.facts)}
    content |= {"tables": tables, **(data or {})}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _cells(row: Row) -> dict[str, Any]:
    return {
        key: {name: value for name, value in asdict(cell).items() if value not in (None, "", ())}
        for key, cell in row.cells.items()
    }

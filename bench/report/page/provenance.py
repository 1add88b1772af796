"""Where the numbers of a report come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from bench.report.selection import Selection
from bench.report.tables import EMPTY, Cell, Column, Row, Table

LISTED = 4  # values of a cell
PACKAGES = ("python", "torch", "transformers", "peft", "lightning")


def provenance(selections: Sequence[Selection]) -> Table:
    """One row per table: its runs, commits, devices, protocol and versions."""
    rows = tuple(_row(selection) for selection in selections)
    notes = (
        "In brackets: number of runs, if a table has several values. The tracking store has the "
        "full record of each run: make dashboard.",
    )
    columns = tuple(
        Column(key, key, "," if key in ("Runs", "Uncommitted changes") else "text")
        for key in (rows[0].cells if rows else ())
    )
    return Table("provenance", "", columns, rows, ("Table",), notes)


def _row(selection: Selection) -> Row:
    runs = selection.records
    cells: dict[str, float | str] = {
        "Runs": len(runs),
        "Commit": _counted((run["git"]["commit"] or "unknown")[:10] for run in runs),
        "Uncommitted changes": sum(bool(run["git"]["dirty"]) for run in runs),
        "Device": _counted(run["device"] for run in runs),
        "Precision": _counted(run["train"].get("precision") for run in runs),
        "Protocol": _counted(run["protocol"] for run in runs),
        "Base (sha256)": _counted(run["hashes"]["base"][:10] for run in runs),
        "Test rows (sha256)": _counted(run["hashes"]["tests"][:10] for run in runs),
        "Versions": _counted(
            ", ".join(
                f"{name} {run['versions'][name]}" for name in PACKAGES if name in run["versions"]
            )
            for run in runs
        ),
    }
    name = f"{selection.spec.title} ({selection.name})"
    return Row((name,), {key: Cell(value) for key, value in cells.items()})


def _counted(values: Iterable[Any]) -> str:
    counts = Counter(str(value) for value in values if value)
    if len(counts) < 2:
        return next(iter(counts), EMPTY)
    listed = [f"{value} ({count})" for value, count in counts.most_common(LISTED)]
    more = len(counts) - LISTED
    return "; ".join(listed) + (f"; {more} more" if more > 0 else "")

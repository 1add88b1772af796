"""Where the numbers of a report come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.report.selection import Selection
from bench.report.tables import EMPTY, Cell, Column, Row, Table

LISTED = 4  # values of a cell
PACKAGES = ("python", "torch", "transformers", "peft", "lightning")


def provenance(selections: Sequence[Selection]) -> Table:
    """One row per table: its runs, commits, devices, protocol and versions."""
    columns = (
        Column("runs", "Runs", ","),
        Column("commit", "Commit", "text"),
        Column("dirty", "Uncommitted changes", ","),
        *(
            Column(key, label, "text")
            for key, label in (
                ("device", "Device"),
                ("precision", "Precision"),
                ("protocol", "Protocol"),
                ("base", "Base (sha256)"),
                ("tests", "Test rows (sha256)"),
                ("versions", "Versions"),
            )
        ),
    )
    rows = tuple(_row(selection) for selection in selections)
    notes = (
        "In brackets: number of runs, if a table has several values. The tracking store has the "
        "full record of each run: make dashboard.",
    )
    return Table("provenance", "", columns, rows, ("Table",), notes)


def _row(selection: Selection) -> Row:
    runs = selection.records
    texts = {
        "commit": (str(run["git"]["commit"] or "unknown")[:10] for run in runs),
        "device": (run["device"] for run in runs),
        "precision": (run["train"].get("precision") for run in runs),
        "protocol": (run["protocol"] for run in runs),
        "base": (run["hashes"]["base"][:10] for run in runs),
        "tests": (run["hashes"]["tests"][:10] for run in runs),
        "versions": (_versions(run["versions"]) for run in runs),
    }
    cells = {key: Cell(_counted(values)) for key, values in texts.items()}
    cells["runs"] = Cell(len(runs))
    cells["dirty"] = Cell(sum(bool(run["git"]["dirty"]) for run in runs))
    return Row((f"{selection.spec.title} ({selection.name})",), cells)


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {found[name]}" for name in PACKAGES if name in found)


def _counted(values: Iterable[Any]) -> str:
    counts = Counter(str(value) for value in values if value)
    if len(counts) < 2:
        return next(iter(counts), EMPTY)
    listed = [f"{value} ({count})" for value, count in counts.most_common(LISTED)]
    more = len(counts) - LISTED
    return "; ".join(listed) + (f"; {more} more" if more > 0 else "")

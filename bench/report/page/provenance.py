"""Where the figures of a report come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from bench.report.collected import CollectedTable
from bench.report.layout import EMPTY, Section

NAMED = 4  # values of a cell that are written out
PACKAGES = ("python", "torch", "transformers", "peft", "lightning")


def provenance(tables: Sequence[CollectedTable]) -> Section:
    """A row a table: its runs, commits, devices, protocol and the versions they ran with."""
    rows = []
    for part in tables:
        runs = part.records
        git = [run.get("git") or {} for run in runs]
        hashes = [run.get("hashes") or {} for run in runs]
        rows.append(
            (
                f"{part.table.title} ({part.name})",
                str(len(runs)),
                _counted((state.get("commit") or "unknown")[:10] for state in git),
                str(sum(bool(state.get("dirty")) for state in git)),
                _counted(run.get("device") or "unknown" for run in runs),
                _counted((run.get("train") or {}).get("precision") for run in runs),
                _counted(run.get("protocol") for run in runs),
                _counted(str(found.get("base") or "")[:10] for found in hashes),
                _counted(str(found.get("tests") or "")[:10] for found in hashes),
                _counted(_versions(run) for run in runs),
            )
        )
    header = (
        "Table", "Runs", "Commit", "Uncommitted changes", "Device", "Precision", "Protocol",
        "Base (sha256)", "Test rows (sha256)", "Versions",
    )  # fmt: skip
    notes = (
        "Behind a value the number of its runs, where there are several. Every run's full record "
        "is in the tracking store: make dashboard.",
    )
    return Section("", header, tuple(rows), notes, names=len(header))


def _versions(run: Any) -> str:
    found = run.get("versions") or {}
    return ", ".join(f"{name} {found[name]}" for name in PACKAGES if name in found)


def _counted(values: Iterable[Any]) -> str:
    counts = Counter(str(value) for value in values if value)
    if not counts:
        return EMPTY
    if len(counts) == 1:
        return next(iter(counts))
    told = [f"{value} ({count})" for value, count in counts.most_common(NAMED)]
    more = len(counts) - NAMED
    return "; ".join(told) + (f"; {more} more" if more > 0 else "")

"""The runs of one table, sorted into its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.report.spec import TableSpec
from bench.tracking.sweeps import Contrast

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """The finished runs of one row, in the order of their seeds."""

    key: str
    label: str
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Missing:
    """A row that lacks runs.

    Attributes:
        label: what the table calls the row.
        seeds: without a finished run; empty if the row has no seed.
        why: how those that were tried ended, one line each.
    """

    label: str
    seeds: tuple[int, ...]
    why: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """E.g. `DoRA (seeds 0, 2)`."""
        seeds = ", ".join(map(str, self.seeds))
        return self.label + (f" (seed{'s' * (len(self.seeds) > 1)} {seeds})" if seeds else "")


@dataclass(frozen=True)
class Selection:
    """What a table is made from.

    Attributes:
        spec: of the table; its name is the stem of the files, unique in a report.
        groups: its rows with at least one finished run, in its order.
        contrasts: the comparisons asked for, by row key; rows without runs may be named.
        missing: rows that lack runs.
        total: number of runs that were asked for.
        command: what runs the missing ones; empty if none is missing.
        remarks: notes of the sweep.
        sweep: name of the sweep; None for runs outside of any.
        sweep_runs: ids of the sweeps' own runs in the store, the newest first.
    """

    spec: TableSpec
    groups: tuple[Group, ...]
    contrasts: tuple[Contrast, ...] = ()
    missing: tuple[Missing, ...] = ()
    total: int = 0
    command: str = ""
    remarks: tuple[str, ...] = ()
    sweep: str | None = None
    sweep_runs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Stem of its files."""
        return self.spec.name

    @property
    def records(self) -> tuple[Record, ...]:
        """All its runs, row by row."""
        return tuple(record for group in self.groups for record in group.records)

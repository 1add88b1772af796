"""What a report is made of, as plain data: tables with their runs, and what they lack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.report.pretraining.spec import PretrainingSpec
from bench.report.published import Published
from bench.report.records import Record
from bench.report.spec import TableSpec
from bench.report.table import Table

if TYPE_CHECKING:
    from bench.tracking.holdings import Measurement

# The lines of a run's predictions.jsonl as dictionaries, by its run_id; empty where it is gone.
Predictions = Callable[[str], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Missing:
    """A row of a sweep's grid that lacks runs.

    Attributes:
        label: what the table calls the row.
        seeds: those without a run; empty where the row has no seed.
        command: what makes them.
        why: of those that were tried: how they ended, in one line each.
    """

    label: str
    seeds: tuple[int, ...]
    command: str
    why: tuple[str, ...] = ()


def lacking(missing: Missing) -> str:
    """A row that lacks runs, and the seeds that it lacks, in words."""
    seeds = ", ".join(map(str, missing.seeds))
    return missing.label + (f" (seed{'s' * (len(missing.seeds) > 1)} {seeds})" if seeds else "")


@dataclass(frozen=True)
class LeftOut:
    """Runs that are in no table, and why; `what` says in words which they are."""

    what: str
    runs: int
    why: str


@dataclass(frozen=True)
class CollectedTable:
    """One table and what it was made of.

    Attributes:
        sweep: stem of the file in sweeps/; None for runs that no sweep file asks for.
        spec: of the table. Its name is the stem of the files, unique in a report: `table2`, and for
            further groups of runs of the same sweep `table2-llama3-8b` and the like.
        records: the runs, the newest first; each stands in exactly one row of `table`. A record is
            the run's record.json, less what no table or figure needs.
        table: as it is printed and written.
        published: the published figures beside which it is set.
        missing: rows of the sweep's grid that lack runs.
        total: number of runs that are there or missing.
        command: what makes all runs that are missing; empty where none is.
        swept_by: the store's id of the newest sweep that made this table.
    """

    sweep: str | None
    spec: TableSpec
    records: tuple[Record, ...]
    table: Table
    published: Published | None = None
    missing: tuple[Missing, ...] = ()
    total: int = 0
    command: str = ""
    swept_by: str | None = None

    @property
    def name(self) -> str:
        """Stem of its files."""
        return self.spec.name


@dataclass(frozen=True)
class CollectedPretraining:
    """Pretraining runs that may be set beside each other, and the report that is made of them.

    Attributes:
        spec: of the report. Its name is the stem of the files, unique in a report.
        records: the runs, the newest first.
    """

    spec: PretrainingSpec
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Collected:
    """A report's contents.

    Attributes:
        tables: in the order of the sweep files' names, of one sweep the largest first; runs that no
            sweep file asks for come last.
        pretrainings: that of the newest run first.
        measurements: the newest of each kind that is no run: `efficiency`, `embeddings`.
        absent: by sweep why there is no table of it.
        left_out: finished runs that are in no table.
        states: number of the store's runs by state: `finished`, `failed`, `killed`, `running`.
        unfinished: lines on runs without a result, alike ones as one line.
        predictions: reads what the model wrote in a run.
    """

    tables: tuple[CollectedTable, ...] = ()
    pretrainings: tuple[CollectedPretraining, ...] = ()
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    states: Mapping[str, int] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    predictions: Predictions = lambda run_id: ()

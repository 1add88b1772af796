"""From all that a store holds to the tables of a report, and what is missing or left out.

A sweep's record names its runs, so nothing is inferred. Runs of no sweep are grouped by what they
were asked and trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.report.asked import asked_for, select, spec_of, sweep_records
from bench.report.cases import Predictions
from bench.report.design import Spec
from bench.report.pretraining.spec import PretrainingSpec
from bench.report.selection import Record, Selection
from bench.report.spec import TableSpec
from bench.tracking.contents import Contents, Measurement, SweepRun, Unfinished
from bench.tracking.record import PRETRAIN

LISTED = 6  # names in a line
FIGURES = ("accuracy", "differences", "cost")
OTHER = TableSpec(name="other", title="Other runs", figures=FIGURES, place=90)
SAVED = TableSpec(name="adapters", title="Saved adapters", figures=FIGURES, place=91)
PRETRAINED = PretrainingSpec(name="pretraining", title="Other pretraining runs")


@dataclass(frozen=True)
class LeftOut:
    """Runs that are in no table, and why; `what` names them."""

    what: str
    runs: int
    why: str


@dataclass(frozen=True)
class Collected:
    """A report's contents.

    Attributes:
        tables: in the order of their sweep files; runs of no sweep come last.
        pretrainings: reports on pretraining runs.
        measurements: the newest of each kind: `efficiency`, `embeddings`.
        absent: by stem of a sweep file why there is no table of it.
        left_out: finished runs that are in no table.
        states: number of the store's runs by state: `finished`, `failed`, `killed`, `running`.
        unfinished: lines on runs without a result, one for all that ended alike.
        predictions: reads what the model wrote in a run.
    """

    tables: tuple[Selection, ...] = ()
    pretrainings: tuple[Selection, ...] = ()
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    states: Mapping[str, int] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    predictions: Predictions = lambda run_id: ()


def collect(
    contents: Contents,
    files: Mapping[str, Spec],
    result_version: int,
    predictions: Predictions = lambda run_id: (),
    also: Sequence[str] = (),
) -> Collected:
    """Sort a store's runs into tables.

    Args:
        contents: of the store.
        files: the specs of the sweep files by their stems.
        result_version: of the code; runs of other versions are left out.
        predictions: reads what a run wrote.
        also: arguments that a command needs, if runs are recorded in an unusual place.
    """
    records, left_out = _current(contents, result_version)
    known = {record["identity"]: record for record in (*records, *contents.pretrainings)}
    unfinished = {run.identity: run for run in contents.unfinished}
    sweeps, unusable = readable(contents.sweeps)
    left_out += unusable
    taken: set[str] = set()
    tables = [select(asked, known, unfinished, also) for asked in asked_for(sweeps, known, taken)]
    rest = _unused(known.values(), tables)
    rest, trials = _without_trials(rest, contents.sweeps)
    others = _other_tables(rest, taken)
    replaced = len(_unused(rest, others))
    left_out += [
        LeftOut("runs on validation rows", trials, "trials of a search, whose winners are shown"),
        LeftOut("runs", replaced, "a newer one has the same settings and seed"),
        LeftOut("runs", contents.superseded, "run again with force=true; the newest counts"),
    ]
    begun = {sweep.name for run in contents.sweeps for sweep in run.sweeps}
    made = {table.sweep for table in tables}
    tables += others
    return Collected(
        tables=tuple(table for table in tables if isinstance(table.spec, TableSpec)),
        pretrainings=tuple(t for t in tables if isinstance(t.spec, PretrainingSpec)),
        measurements=contents.measurements,
        absent={
            stem: "no finished runs" if spec.name in begun else "not begun"
            for stem, spec in files.items()
            if spec.name not in made
        },
        left_out=tuple(one for one in left_out if one.runs),
        states=_states(contents),
        unfinished=tuple(_unfinished_lines(contents.unfinished)),
        predictions=predictions,
    )


def readable(sweeps: Iterable[SweepRun]) -> tuple[list[SweepRun], list[LeftOut]]:
    """Sweeps without those whose table can't be used, and these."""
    kept, left_out = [], []
    for run in sweeps:
        try:
            for sweep in run.sweeps:
                spec_of(sweep)
            kept.append(run)
        except ValueError as error:
            left_out.append(LeftOut(f"the sweep {run.name} ({run.run_id})", 1, str(error)))
    return kept, left_out


def _current(contents: Contents, version: int) -> tuple[list[Record], list[LeftOut]]:
    """The records that count, each base under the name that it was given last."""
    left_out = [LeftOut(f"{run.name} ({run.run_id})", 1, run.reason) for run in contents.unreadable]
    kept = [record for record in contents.records if record["result_version"] == version]
    why = f"their results are of another version of the code than this one's, {version}"
    left_out.append(LeftOut("runs", len(contents.records) - len(kept), why))
    names: dict[str, dict[str, Any]] = {}
    for record in kept:
        name = {key: record.get(key) for key in ("model", "published_base")}
        given = names.setdefault(record["hashes"]["base"], name)
        given["published_base"] = given["published_base"] or name["published_base"]
    return [{**record, **names[record["hashes"]["base"]]} for record in kept], left_out


def _unused(records: Iterable[Record], tables: Iterable[Selection]) -> list[Record]:
    used = {record["identity"] for table in tables for record in table.records}
    return [record for record in records if record["identity"] not in used]


def _without_trials(
    records: Sequence[Record], sweeps: Iterable[SweepRun]
) -> tuple[list[Record], int]:
    """Records less the trials of searches on validation rows, and how many those are."""
    searches = {run.run_id for run in sweeps if run.name != "grid"}
    kept = [
        record
        for record in records
        if record.get("split", "test") == "test" or record["parent"] not in searches
    ]
    return kept, len(records) - len(kept)


def _other_tables(records: Iterable[Record], taken: set[str]) -> list[Selection]:
    """Tables of runs that are part of no sweep; of one setting and seed the newest counts."""
    records = list(records)
    tables = []
    for spec in (OTHER, SAVED, PRETRAINED):
        runs = [record for record in records if _kind(record) is spec]
        known = {record["identity"]: record for record in runs}
        sweeps = [
            replace(sweep, created=min(known[i]["ended"] for i in sweep.identities))
            for sweep in sweep_records(runs, spec)
        ]
        for asked in asked_for([SweepRun("", spec.name, tuple(sweeps))], known, taken):
            tables.append(replace(select(asked, known), sweep=None, sweep_runs=()))
    return tables


def _kind(record: Record) -> Spec:
    if record.get("kind") == PRETRAIN:
        return PRETRAINED
    # How a saved adapter was trained is not known: it is compared with no run that was.
    return SAVED if record["seed"] is None and record["method"] != "none" else OTHER


def _states(contents: Contents) -> dict[str, int]:
    held = (contents.records, contents.unreadable, contents.pretrainings)
    finished = sum(map(len, held)) + contents.superseded
    return {"finished": finished} | Counter(run.status.lower() for run in contents.unfinished)


def _unfinished_lines(unfinished: Iterable[Unfinished]) -> Iterator[str]:
    alike: dict[tuple[str, str], list[str]] = {}
    for run in unfinished:
        alike.setdefault((run.status, run.reason), []).append(run.name)
    for (status, reason), names in sorted(alike.items()):
        shown = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
        state = {"RUNNING": "running or interrupted"}.get(status, status.lower())
        yield f"{len(names)} {state}: {shown}" + (f" ({reason})" if reason else "")

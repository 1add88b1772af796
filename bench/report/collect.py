"""A store's runs as the tables of a report, and what is missing or left out.

A sweep's record names its runs; runs of no sweep are grouped by the question that they answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.report.cases import Predictions
from bench.report.design import sweep_records
from bench.report.records import NAMES, Record
from bench.report.selection import Selection, select, spec_of
from bench.report.spec import PretrainingSpec, Spec, TableSpec
from bench.tracking.contents import Contents, Measurement, SweepRun
from bench.tracking.record import PRETRAIN

LISTED = 6  # names in a line
FIGURES = ("accuracy", "differences", "cost")
OTHER = TableSpec(name="other", title="Other runs", figures=FIGURES, place=90)
SAVED = TableSpec(name="adapters", title="Saved adapters", figures=FIGURES, place=91)
PRETRAINED = PretrainingSpec(name="pretraining", title="Other pretraining runs")


@dataclass(frozen=True)
class Collected:
    """A report's contents.

    Attributes:
        tables: in the order of their sweep files, runs of no sweep after those; then those of
            pretraining runs.
        measurements: the newest of each name, such as `efficiency`.
        absent: by stem of a sweep file why there is no table of it.
        left_out: lines on finished runs that are in no table, with the reason.
        states: number of the store's runs by state: `finished`, `failed`, `killed`, `running`.
        unfinished: lines on runs without a result, one for all that ended alike.
        predictions: reads what the model wrote in a run.
    """

    tables: tuple[Selection, ...] = ()
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    states: Mapping[str, int] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    predictions: Predictions = lambda run_id: ()


def collect(
    contents: Contents,
    files: Mapping[str, Spec],
    versions: tuple[int, int],
    predictions: Predictions = lambda run_id: (),
    arguments: Sequence[str] = (),
) -> Collected:
    """Sort a store's runs into tables.

    Args:
        contents: the store's contents.
        files: the specs of the sweep files by their stems.
        versions: current versions of results and of pretraining; other runs are left out.
        predictions: reads what a run wrote.
        arguments: arguments that a command needs if runs are recorded in an unusual place.
    """
    current = [r for r in contents.records if r["result_version"] == versions[0]]
    pretrained = [r for r in contents.pretrainings if r["version"] == versions[1]]
    known = {r["identity"]: r for r in (*_with_last_names(current), *pretrained)}
    unfinished = {run.identity: run for run in contents.unfinished}
    sweeps, unusable = readable(contents.sweeps)
    taken: set[str] = set()
    tables = select(sweeps, known, unfinished, arguments, taken)
    rest = _unused(known.values(), tables)
    searches = {run.run_id for run in contents.sweeps if run.name != "grid"}
    kept = [
        r  # of pretraining runs, all have a result
        for r in rest
        if r.get("scores", True) and (r["split"] == "test" or r["parent"] not in searches)
    ]
    others = _other_tables(kept, taken)
    old = len(contents.records) + len(contents.pretrainings) - len(current) - len(pretrained)
    why = "their results are of another version of the code than this one"
    choosing = "they choose settings: trials of a search, or runs with evaluation.split=none"
    left_out = (
        *(f"{run.name} ({run.run_id}): {run.reason}" for run in contents.unreadable),
        *_counted(old, f"runs: {why}"),
        *unusable,
        *_counted(len(rest) - len(kept), f"runs without test results: {choosing}"),
        *_counted(len(_unused(kept, others)), "runs: a newer one has the same settings and seed"),
        *_counted(contents.superseded, "runs: run again with force=true; the newest counts"),
    )
    begun = {sweep.name for run in contents.sweeps for sweep in run.sweeps}
    made = {table.sweep.name for table in tables}
    return Collected(
        tables=tuple(sorted([*tables, *others], key=lambda table: table.spec.place)),
        measurements=contents.measurements,
        absent={
            stem: "no finished runs" if spec.name in begun else "not begun"
            for stem, spec in files.items()
            if spec.name not in made
        },
        left_out=left_out,
        states=_states(contents),
        unfinished=tuple(_unfinished_lines(contents)),
        predictions=predictions,
    )


def readable(sweeps: Iterable[SweepRun]) -> tuple[list[SweepRun], list[str]]:
    """Sweeps without those whose table can't be used, and why these can't be."""
    kept, left_out = [], []
    for run in sweeps:
        try:
            for sweep in run.sweeps:
                spec_of(sweep)
            kept.append(run)
        except ValueError as error:
            left_out.append(f"the sweep {run.name} ({run.run_id}): {error}")
    return kept, left_out


def _counted(runs: int, text: str) -> list[str]:
    return [f"{runs:,} {text}"] if runs else []


def _with_last_names(records: Iterable[Record]) -> Iterator[Record]:
    """Records, the newest first, each base under the name that it was last given."""
    names: dict[str, dict[str, Any]] = {}
    records = list(records)
    for record in records:
        given = names.setdefault(record["hashes"]["base"], {key: record.get(key) for key in NAMES})
        given["published_base"] = given["published_base"] or record.get("published_base")
    return ({**record, **names[record["hashes"]["base"]]} for record in records)


def _unused(records: Iterable[Record], tables: Iterable[Selection]) -> list[Record]:
    used = {record["identity"] for table in tables for record in table.records}
    return [record for record in records if record["identity"] not in used]


def _other_tables(records: Sequence[Record], taken: set[str]) -> list[Selection]:
    """Tables of runs that are part of no sweep; of one setting and seed the newest counts."""
    tables = []
    for spec in (OTHER, SAVED, PRETRAINED):
        known = {record["identity"]: record for record in records if _kind(record) is spec}
        sweeps = tuple(
            replace(sweep, created=min(known[i]["ended"] for i in sweep.identities))
            for sweep in sweep_records(known.values(), spec)
        )
        found = select([SweepRun("", spec.name, sweeps)], known, taken=taken)
        tables += [replace(table, sweep_runs=()) for table in found]
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


def _unfinished_lines(contents: Contents) -> Iterator[str]:
    alike: dict[tuple[str, str], list[str]] = {}
    for run in contents.unfinished:
        alike.setdefault((run.status, run.reason), []).append(run.name)
    for (status, reason), names in sorted(alike.items()):
        shown = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
        state = {"RUNNING": "running or interrupted"}.get(status, status.lower())
        yield f"{len(names)} {state}: {shown}" + (f" ({reason})" if reason else "")

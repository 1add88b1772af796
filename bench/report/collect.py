"""From all that a store holds to a report: its tables, and what is missing, left out, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.report.collected import (
    Collected,
    CollectedPretraining,
    CollectedTable,
    LeftOut,
    Missing,
    Predictions,
)
from bench.report.drafts import Draft, drafts_of, other_drafts, parts_of
from bench.report.grid import Grid, GridRow
from bench.report.made import make_table
from bench.report.pretraining.rows import comparable
from bench.report.pretraining.spec import PretrainingSpec
from bench.report.published import Published
from bench.report.records import SHARED, Record
from bench.report.spec import TableSpec
from bench.report.table import row_labels
from bench.tracking.holdings import Holdings, Unfinished

NAMED = ("model", "data", "protocol", "split")  # what tells tables of one sweep apart, in words
LISTED = 6  # names in a line
NAME = 60  # characters of a base in a file's name

# The command line for rows of a sweep: grid, row (None for all), seeds (none for all), and the
# record of a run to which they are to be comparable.
Command = Callable[[Grid, GridRow | None, Sequence[int], Record | None], str]


def collect(
    holdings: Holdings,
    specs: Mapping[str, TableSpec],
    grids: Sequence[Grid],
    published: Mapping[str, Published],
    command: Command,
    result_version: int,
    predictions: Predictions,
    pretraining: Mapping[str, PretrainingSpec],
) -> Collected:
    """Sort a store's runs into tables.

    Args:
        holdings: of the store.
        specs: of the tables, by the stem of the sweep file.
        grids: what the sweep files ask for.
        published: published figures by the name that specs have for them.
        command: what to type for runs that are missing.
        result_version: of the code; runs of other versions are left out.
        predictions: reads what a run wrote.
        pretraining: of the reports on pretraining runs, by the stem of the sweep file.
    """
    records, left_out = _current(holdings, result_version)
    drafts = drafts_of(parts_of(records), specs, grids, holdings.sweeps)
    rest = _unused(records, drafts)
    rest, trials = _without_trials(rest, holdings)
    drafts += other_drafts(rest)
    tables = []
    for draft in _named(drafts):
        try:
            tables.append(_table(draft, holdings.unfinished, published, command))
        except ValueError as error:
            left_out.append(LeftOut(f"a table {draft.spec.name}", len(draft.records), str(error)))
    replaced = len({record["identity"] for draft in drafts for record in draft.replaced})
    left_out += [
        LeftOut("runs on validation rows", trials, "trials of a search, whose winners are shown"),
        LeftOut("runs", replaced, "a newer one has the same settings and seed"),
        LeftOut("runs", holdings.superseded, "run again with force=true; the newest counts"),
    ]
    return Collected(
        tables=tuple(tables),
        pretrainings=tuple(_pretrainings(holdings.pretrainings, pretraining.values())),
        measurements=holdings.measurements,
        absent=_absent(specs, grids, tables, records)
        | ({} if holdings.pretrainings else dict.fromkeys(pretraining, "no runs")),
        left_out=tuple(one for one in left_out if one.runs),
        states=_states(holdings),
        unfinished=tuple(_told(holdings.unfinished)),
        predictions=predictions,
    )


def _pretrainings(
    records: Sequence[Record], specs: Iterable[PretrainingSpec]
) -> Iterable[CollectedPretraining]:
    """A report of each group of comparable runs; that of the newest run has the plain name."""
    for spec in specs:
        for number, group in enumerate(comparable(records), 1):
            name = spec.name if number == 1 else f"{spec.name}-{number}"
            yield CollectedPretraining(replace(spec, name=name), tuple(group))


def _unused(records: Iterable[Record], drafts: Iterable[Draft]) -> list[Record]:
    used = {r["identity"] for draft in drafts for r in (*draft.records, *draft.replaced)}
    return [record for record in records if record["identity"] not in used]


def _current(holdings: Holdings, version: int) -> tuple[list[Record], list[LeftOut]]:
    """The records that count, each base under the name that it was given last."""
    left_out = [LeftOut(f"{run.name} ({run.run_id})", 1, run.why) for run in holdings.unreadable]
    field = "result_version"
    kept = [r for r in holdings.records if r.get(field, SHARED[field]) == version]
    others = len(holdings.records) - len(kept)
    why = f"their results are of another version of the code than this one's, {version}"
    left_out.append(LeftOut("runs", others, why))
    return _as_named_last(kept), left_out


def _as_named_last(records: Sequence[Record]) -> list[Record]:
    """Records whose base goes by the name that it was given last: names are no part of a result.

    A name in the paper is given to the runs from before it was said, too.
    """
    names: dict[str, dict[str, Any]] = {}
    for record in records:
        name = {key: record.get(key) for key in ("model", "published_base")}
        known = names.setdefault(_contents(record), name)
        known["published_base"] = known["published_base"] or name["published_base"]
    return [{**record, **names[_contents(record)]} for record in records]


def _contents(record: Record) -> str:
    return (record.get("hashes") or {}).get("base") or record["model"]


def _without_trials(records: Sequence[Record], holdings: Holdings) -> tuple[list[Record], int]:
    """Records less the trials of searches on validation rows, and how many those are."""
    searches = {sweep.run_id for sweep in holdings.sweeps if sweep.name != "grid"}
    kept = [
        record
        for record in records
        if record.get("split", "test") == "test" or record.get("parent") not in searches
    ]
    return kept, len(records) - len(kept)


def _named(drafts: Sequence[Draft]) -> list[Draft]:
    """Drafts in the order of a report, each with a name of its own.

    A sweep's table as its file has it comes first and has the plain name; where there is none, the
    most complete one. The others are named by what tells them from it.
    """
    by_name: dict[tuple[bool, int, str, str], list[Draft]] = {}
    for draft in drafts:
        key = (draft.sweep is None, draft.spec.place, draft.sweep or "", draft.spec.name)
        by_name.setdefault(key, []).append(draft)
    ordered: list[Draft] = []
    taken: set[str] = set()
    for key in sorted(by_name):
        alike = sorted(by_name[key], key=_place)
        first, stem = alike[0], alike[0].spec.name
        # Numbers go by age: a group that comes later renames no other.
        for draft in (first, *sorted(alike[1:], key=_age)):
            base = "-".join([stem, *(_unlike(draft, first) if draft is not first else ())])
            name, number = base, 1
            while name in taken:
                number += 1
                name = f"{base}-{number}"
            taken.add(name)
            draft.spec = replace(draft.spec, name=name)
        ordered += alike
    return ordered


def _place(draft: Draft) -> tuple[Any, ...]:
    complete = len(draft.records) / (len(draft.records) + draft.lacks)
    return (not _at_home(draft), -complete, -len(draft.records), _age(draft))


def _at_home(draft: Draft) -> bool:
    """Whether all is as the sweep file has it."""
    grid, first = draft.grid, draft.records[0]
    if grid is None or not draft.exact or grid.preset != "default":
        return False
    return all(first.get(key, SHARED[key]) == value for key, value in grid.home.items())


def _age(draft: Draft) -> int:
    return min(record.get("ended", 0) for record in draft.records)


def _unlike(draft: Draft, first: Draft) -> list[str]:
    """Words for what tells a table from the first of its sweep."""
    mine, theirs = draft.records[0], first.records[0]
    words = [
        re.sub(r"[^\w.]+", "_", str(mine.get(key, SHARED[key]))).strip("._")[:NAME]
        for key in NAMED
        if mine.get(key, SHARED[key]) != theirs.get(key, SHARED[key])
    ]
    presets = [d.grid.preset if d.grid and d.exact else None for d in (draft, first)]
    if presets[0] and presets[0] != presets[1]:
        words.append(f"train_{presets[0]}")
    return words


def _table(
    draft: Draft,
    unfinished: Sequence[Unfinished],
    published: Mapping[str, Published],
    command: Command,
) -> CollectedTable:
    """The table of a draft.

    Raises:
        ValueError: its runs make none.
    """
    figures = published.get(draft.spec.published or "")
    grid, made_by = draft.grid, draft.made_by
    missing = tuple(_missing(draft, unfinished, command))
    remarks = [*(made_by.remarks if made_by else ()), *_incomplete(draft, missing)]
    return CollectedTable(
        sweep=draft.sweep,
        spec=draft.spec,
        records=tuple(draft.records),
        table=make_table(draft.records, draft.spec, figures, remarks),
        published=figures,
        missing=missing,
        command=command(grid, None, (), draft.records[0]) if grid and missing else "",
        total=len(draft.records) + draft.lacks,
        swept_by=made_by.run_id if made_by else None,
    )


def _incomplete(draft: Draft, missing: Sequence[Missing]) -> Iterable[str]:
    sweep = draft.made_by
    as_asked = sweep and sweep.status == "FINISHED" and set(sweep.identities) == draft.identities
    # A sweep may have been told on the command line to run a part of its file.
    if missing and not as_asked:
        shown = [lacking(one) for one in missing[:LISTED]]
        shown += [f"{len(missing) - LISTED} more rows"] if len(missing) > LISTED else []
        yield (
            f"Not complete: {len(draft.records)} of {len(draft.records) + draft.lacks} runs are "
            f"there. Missing: {'; '.join(shown)}."
        )


def lacking(missing: Missing) -> str:
    """A row that lacks runs, and the seeds that it lacks, in words."""
    seeds = ", ".join(map(str, missing.seeds))
    return missing.label + (f" (seed{'s' * (len(missing.seeds) > 1)} {seeds})" if seeds else "")


def _missing(draft: Draft, unfinished: Sequence[Unfinished], command: Command) -> Iterable[Missing]:
    grid = draft.grid
    lacking = draft.missing()
    if grid is None or not lacking:
        return
    labels = row_labels([[_as_record(row)] for row in grid.rows], draft.spec)
    for number, seeds in lacking:
        row = grid.rows[number]
        yield Missing(
            label=labels[number],
            seeds=seeds,
            command=command(grid, row, seeds, draft.records[0]),
            why=tuple(_ends(row, seeds, unfinished)),
        )


def _as_record(row: GridRow) -> Record:
    return {
        "method": row.method,
        "curvature": row.curvature,
        "seed": 0 if row.trained else None,
        "options": row.options,
        "train": row.train,
    }


def _ends(row: GridRow, seeds: Sequence[int], unfinished: Iterable[Unfinished]) -> Iterable[str]:
    """How runs ended that have the name of one of these, and their options as far as known."""
    K = row.curvature
    named = row.method + ("" if K is None else f" K={K:g}" if isinstance(K, float) else f" K={K}")
    names = [f"{named} seed {seed}" for seed in seeds] or [named]
    for run in unfinished:
        # Behind that, what tells a run from others of its name.
        named_so = any(run.name == name or run.name.startswith(f"{name} ") for name in names)
        if named_so and all(run.options.get(k, str(v)) == str(v) for k, v in row.options.items()):
            yield f"{run.name}: {run.status.lower()}" + (f", {run.reason}" if run.reason else "")


def _absent(
    specs: Mapping[str, TableSpec],
    grids: Sequence[Grid],
    tables: Sequence[CollectedTable],
    records: Sequence[Record],
) -> dict[str, str]:
    """Why there is no table of a sweep."""
    found = {}
    for sweep in sorted(specs, key=lambda name: specs[name].place):
        if any(table.sweep == sweep for table in tables):
            continue
        home = next((g for g in grids if g.sweep == sweep and g.base == g.model), None)
        there = {
            record["identity"]
            for record in records
            if home and all(record.get(k, SHARED[k]) == v for k, v in home.home.items())
            if any(row.matches(record) for row in home.rows)
        }
        found[sweep] = "no runs"
        if home and there:
            found[sweep] = f"{len(there)} of its {home.total} runs are there, in other tables"
    return found


def _states(holdings: Holdings) -> dict[str, int]:
    held = (holdings.records, holdings.unreadable, holdings.pretrainings)
    finished = sum(map(len, held)) + holdings.superseded
    return {"finished": finished} | Counter(run.status.lower() for run in holdings.unfinished)


def _told(unfinished: Iterable[Unfinished]) -> Iterable[str]:
    """A line for the runs that ended alike."""
    alike: dict[tuple[str, str], list[str]] = {}
    for run in unfinished:
        alike.setdefault((run.status, run.reason), []).append(run.name)
    for (status, reason), names in sorted(alike.items()):
        shown = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
        state = {"RUNNING": "at work, or cut short"}.get(status, status.lower())
        yield f"{len(names)} {state}: {shown}" + (f" ({reason})" if reason else "")

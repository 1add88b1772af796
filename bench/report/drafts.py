"""Which runs of a store make which table: none is mixed with one that it can't be compared with.

Runs are first parted by what they were asked and taught. In each part a sweep file's runs are those
with its rows' settings; what a sweep was run with beside its file is found by its runs' common
settings, or by the table that it left. All others are sorted into tables by their settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.names import key_of
from bench.report.grid import Grid
from bench.report.records import Record, asked, setting, settings_of, taught, training_settings
from bench.report.spec import TableSpec
from bench.tracking.holdings import SweepRun

# By which methods differ that were trained alike: each has its own rate.
OWN = ("lr", "precision")
# Of runs that no sweep file asks for.
FIGURES = ("accuracy", "differences", "cost")
OTHER = TableSpec(name="other", title="Other runs", figures=FIGURES)
SAVED = TableSpec(name="adapters", title="Saved adapters", figures=FIGURES)


@dataclass
class Draft:
    """A table to be made.

    Attributes:
        sweep: stem of the sweep file; None for runs that none asks for.
        spec: of the table.
        records: its runs, in the sweep's order.
        grid: what the sweep file asks for; None where that is not known.
        exact: whether all settings are those of the file and the grid's preset.
        made_by: the newest sweep that made this table, where one did.
        replaced: runs with the setting and seed of a newer one.
    """

    sweep: str | None
    spec: TableSpec
    records: list[Record]
    grid: Grid | None = None
    exact: bool = False
    made_by: SweepRun | None = None
    replaced: list[Record] = field(default_factory=list)

    @property
    def identities(self) -> set[str]:
        """Of its runs."""
        return {record["identity"] for record in self.records}

    @property
    def lacks(self) -> int:
        """How many of the grid's runs are not there."""
        return sum(max(1, len(seeds)) for _, seeds in self.missing())

    def missing(self) -> list[tuple[int, tuple[int, ...]]]:
        """The number of each row of the grid that lacks runs, and the seeds that it lacks."""
        found = []
        for number, row in enumerate(self.grid.rows if self.grid else ()):
            there = {r.get("seed") for r in self.records if row.options_match(r)}
            seeds = tuple(s for s in self.grid.seeds if s not in there) if self.grid else ()
            if row.trained and seeds:
                found.append((number, seeds))
            elif not row.trained and not there:
                found.append((number, ()))
        return found


@dataclass
class Part:
    """Runs that were asked the same of the same base, and were trained on the same rows."""

    asked: dict[str, Any]
    trained: list[Record] = field(default_factory=list)
    untrained: list[Record] = field(default_factory=list)

    @property
    def tests(self) -> set[str]:
        """Keys of the sets that some of its runs was scored on."""
        return {key_of(key) for run in (*self.trained, *self.untrained) for key in run["scores"]}


def parts_of(records: Iterable[Record]) -> list[Part]:
    """Records parted by what they were asked and taught.

    What was never trained is in each part that asks the same.
    """
    parts: dict[str, Part] = {}
    untrained: dict[str, list[Record]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for record in records:
        question = asked(record)
        key = json.dumps(question, sort_keys=True)
        facts[key] = question
        if record.get("seed") is None:
            untrained.setdefault(key, []).append(record)
        else:
            both = key + json.dumps(taught(record), sort_keys=True)
            parts.setdefault(both, Part(question)).trained.append(record)
    for key, runs in untrained.items():
        alike = [part for part in parts.values() if part.asked == facts[key]]
        for part in alike or [parts.setdefault(key, Part(facts[key]))]:
            part.untrained += runs
    return list(parts.values())


def drafts_of(
    parts: Sequence[Part],
    specs: Mapping[str, TableSpec],
    grids: Sequence[Grid],
    sweeps: Sequence[SweepRun],
) -> list[Draft]:
    """The tables of the sweep files.

    A table is made where its sweep was begun, or where each row of its grid has a run: a few runs
    that belong to other tables, too, make no table of their own.

    Args:
        parts: of the records.
        specs: by stem of the sweep file.
        grids: of the sweep files.
        sweeps: that were run, the newest first.
    """
    begun = {sweep.run_id: sweep.name for sweep in sweeps}
    drafts: list[Draft] = []
    for part in parts:
        fitting = [grid for grid in grids if _asks(grid, part)]
        exact = [d for grid in fitting if (d := _exact(grid, part, begun))]
        drafts += exact
        rows = [row for draft in exact if draft.grid for row in draft.grid.rows]
        rest = [run for run in part.trained if not any(row.matches(run) for row in rows)]
        drafts += _loose(fitting, Part(part.asked, rest, part.untrained), begun)
    _as_swept(drafts, parts, specs, grids, sweeps)
    return [draft for draft in drafts if not _within_another(draft, drafts)]


def _asks(grid: Grid, part: Part) -> bool:
    """Whether a grid is for a part's base, and for some of its test sets."""
    return grid.base == part.asked["model"] and bool(part.tests & set(map(key_of, grid.tests)))


def _exact(grid: Grid, part: Part, begun: Mapping[str, str]) -> Draft | None:
    """The table of the runs whose settings are a grid's to the letter."""
    found = [
        (number, record)
        for record in (*part.trained, *part.untrained)
        for number, row in enumerate(grid.rows)
        if row.matches(record)
    ]
    if not _is_wanted(grid, found, begun):
        return None
    kept, replaced = _once(found)
    return Draft(grid.sweep, grid.spec, grid.in_order(kept), grid, True, None, replaced)


def _loose(grids: Sequence[Grid], part: Part, begun: Mapping[str, str]) -> Iterator[Draft]:
    """Tables of runs with a grid's rows that were trained alike, but not as the file has it."""
    alike: dict[str, list[Record]] = {}
    for run in part.trained:
        settings = {k: v for k, v in training_settings(run).items() if k not in OWN}
        alike.setdefault(json.dumps(settings, sort_keys=True), []).append(run)
    for runs in alike.values():
        made: set[str] = set()
        for grid in grids:
            found = [
                (number, record)
                for record in (*runs, *part.untrained)
                for number, row in enumerate(grid.rows)
                if row.trained == (record.get("seed") is not None) and row.options_match(record)
            ]
            if grid.sweep not in made and _is_wanted(grid, found, begun):
                made.add(grid.sweep)
                kept, replaced = _once(found)
                yield Draft(grid.sweep, grid.spec, grid.in_order(kept), grid, replaced=replaced)


def _is_wanted(grid: Grid, found: Sequence[tuple[int, Record]], begun: Mapping[str, str]) -> bool:
    """Whether a sweep was begun, by the runs that it made, or each of its rows has a run."""
    trained = [record for _, record in found if record.get("seed") is not None]
    # The base alone is in the table of each preset.
    counted = trained or [record for _, record in found if grid.preset == "default"]
    if not counted:
        return False
    children = any(begun.get(record.get("parent") or "") == grid.spec.name for record in counted)
    return children or len({number for number, _ in found}) == len(grid.rows)


def _once(
    found: Iterable[tuple[int, Record]],
) -> tuple[list[tuple[int, Record]], list[Record]]:
    """One run for each row and seed, the newest: the first, as records come. And the others.

    A run with another setting than its row's newest, of before there was a key, is in neither.
    """
    unique: dict[tuple[int, Any], tuple[int, Record]] = {}
    settings: dict[int, dict[str, str]] = {}
    replaced = []
    for number, record in found:
        if settings.setdefault(number, settings_of(record)) != settings_of(record):
            continue
        kept = unique.setdefault((number, record.get("seed")), (number, record))
        if kept[1] is not record:
            replaced.append(record)
    return list(unique.values()), replaced


def _as_swept(
    drafts: list[Draft],
    parts: Sequence[Part],
    specs: Mapping[str, TableSpec],
    grids: Sequence[Grid],
    sweeps: Sequence[SweepRun],
) -> None:
    """Add the tables that sweeps left, where they have runs that no draft has.

    That finds what a sweep was run with on the command line, and the winners of a search.
    """
    records = {
        record["identity"]: record for part in parts for record in (*part.trained, *part.untrained)
    }
    stems = {spec.name: sweep for sweep, spec in specs.items()}
    for run in sweeps:
        sweep = stems.get(run.name)
        ours = [records[identity] for identity in run.identities if identity in records]
        if sweep is None or not ours:
            continue
        named = {record["identity"] for record in ours}
        same = [draft for draft in drafts if draft.sweep == sweep]
        wider = [draft for draft in same if named <= draft.identities]
        narrower = [draft for draft in same if draft.identities < named]
        if wider:
            wider[0].made_by = wider[0].made_by or run
        elif narrower:
            narrower[0].records, narrower[0].made_by = ours, run
        else:
            for_base = [g for g in grids if (g.sweep, g.base) == (sweep, ours[0]["model"])]
            grid = next((g for g in for_base if g.rows), None)
            drafts.append(Draft(sweep, specs[sweep], ours, grid, made_by=run))


def _within_another(draft: Draft, drafts: Sequence[Draft]) -> bool:
    """Whether a sweep has a table with all of a draft's runs and more, or an earlier same one."""
    mine = draft.identities
    for place, other in enumerate(drafts):
        if other is draft or other.sweep != draft.sweep:
            continue
        theirs = other.identities
        if mine < theirs or (mine == theirs and place < drafts.index(draft)):
            return True
    return False


def other_drafts(records: Sequence[Record]) -> list[Draft]:
    """Tables of runs that no sweep file asks for.

    Each row is one setting, and is called by what tells it from the others of its method.

    Args:
        records: the newest first.
    """
    # How a saved adapter was trained is not known: it stands beside no run that was.
    saved = [r for r in records if r.get("seed") is None and r["method"] != "none"]
    identities = {record["identity"] for record in saved}
    rest = [record for record in records if record["identity"] not in identities]
    drafts = []
    for spec, runs in ((OTHER, rest), (SAVED, saved)):
        for part in parts_of(runs):
            rows: dict[str, int] = {}
            found = [
                (rows.setdefault(_row_key(run), len(rows)), run)
                for run in (*part.trained, *part.untrained)
            ]
            once, replaced = _once(found)
            kept = [record for _, record in once]
            apart = apart_of(kept)
            kept.sort(key=lambda run: [*(_rank(setting(run, name)) for name in apart), _seed(run)])
            drafts.append(Draft(None, replace(spec, apart=apart), kept, replaced=replaced))
    return drafts


def _row_key(record: Record) -> str:
    adapter = (record.get("hashes") or {}).get("adapter")
    key = [record["method"], record.get("curvature"), adapter, settings_of(record)]
    return json.dumps(key, sort_keys=True)


def _rank(value: Any) -> tuple[bool, float, str]:
    """Sorting key: numbers by their size, then the rest as text."""
    number = isinstance(value, int | float)
    return (not number, float(value) if number else 0.0, str(value))


def _seed(record: Record) -> tuple[bool, float, str]:
    return _rank(-1 if record.get("seed") is None else record["seed"])


def apart_of(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """The settings in which runs of one method and curvature differ, each value with its name.

    Args:
        records: of a table whose spec does not say what makes rows of their own.

    Returns:
        What `TableSpec.apart` takes.
    """
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record in records:
        given = {f"train.{key}": value for key, value in training_settings(record).items()}
        given |= {k: v for k, v in (record.get("options") or {}).items() if k != "curvature"}
        given["adapter"] = setting(record, "adapter")
        rows.setdefault((record["method"], record.get("curvature")), []).append(given)
    apart: dict[str, dict[str, Any]] = {}
    for settings in rows.values():
        for name in dict.fromkeys(name for given in settings for name in given):
            named = {_named(name, given.get(name)): given.get(name) for given in settings}
            if len(named) > 1:
                apart[name] = apart.get(name, {}) | named
    return apart


def _named(name: str, value: Any) -> str:
    plain = " ".join(map(str, value)) if isinstance(value, list | tuple) else f"{value}"
    return f"{name.removeprefix('train.')} {plain}"

"""The runs of a table, sorted into its rows: those that sweeps asked for, as they recorded it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.files import digest
from bench.names import seeds_label
from bench.report.design import contrasts, labelled
from bench.report.measurements import LENGTH, PUBLISHED, SHORT, file_stem
from bench.report.records import Record, answers
from bench.report.shared_record import shared_arguments
from bench.report.spec import PretrainingSpec, Spec, TableSpec
from bench.tracking.contents import SweepRun, Unfinished
from bench.tracking.record import PRETRAIN
from bench.tracking.sweeps import SWEEP_FILE, SweepMember, SweepRecord

LISTED = 6  # incomplete rows that a note names
NAMED = ("model", "data", "protocol", "split", "size")  # facts that tables are named by
# Arguments that change nothing in a table, and those that a command is given again.
NEUTRAL = re.compile(
    r"[+~]*(tracking\.|force=|plan=|sweep=|hydra[./](?!sweeper)"
    r"|hydra\.sweeper\.(max_retries|n_jobs|storage|study_name)=)"
)
REPEATED = re.compile(r"[+~]*(tracking\.|force=|plan=)")
Begun = tuple[SweepRecord, str]  # what a sweep asked for, and the id of its own run


@dataclass(frozen=True)
class Group:
    """The finished runs of one row, in the order of their seeds; `details` as in `SweepRow`."""

    key: str
    label: str
    records: tuple[Record, ...]
    details: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def first(self) -> Record:
        """The record of the first run, for what all runs of a row share."""
        return self.records[0]

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seeds of its runs."""
        return tuple(record["seed"] for record in self.records)


@dataclass(frozen=True)
class Missing:
    """A row that lacks runs: of these seeds (none if it has no seed), and how they ended."""

    label: str
    seeds: tuple[int, ...]
    why: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """E.g. `DoRA (seeds 0, 2)`."""
        return self.label + (f" ({seeds_label(self.seeds)})" if self.seeds else "")

    @property
    def line(self) -> str:
        """The same with how they ended."""
        return "; ".join([self.text, *self.why])


@dataclass(frozen=True)
class Selection:
    """What a table is made from.

    Attributes:
        spec: of the table; its name is the stem of the files, unique in a report.
        sweep: all sweeps of one name and question as one.
        groups: its rows with at least one finished run, in its order.
        missing: rows that lack runs.
        total: number of runs that were asked for.
        command: what runs the missing ones; empty if none is missing.
        sweep_runs: ids of the sweeps' own runs in the store, the newest first; empty for runs that
            are part of no sweep.
    """

    spec: TableSpec
    sweep: SweepRecord
    groups: tuple[Group, ...]
    missing: tuple[Missing, ...] = ()
    total: int = 0
    command: str = ""
    sweep_runs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Stem of its files."""
        return self.spec.name

    @property
    def incomplete(self) -> str:
        """A sentence on the runs that are missing; empty if none is."""
        if not self.missing:
            return ""
        listed = [row.text for row in self.missing[:LISTED]]
        if more := len(self.missing[LISTED:]):
            listed.append(f"{more} more row{'s' * (more > 1)}")
        return (
            f"Incomplete: {len(self.records)} of {self.total} runs have finished. "
            f"Missing: {'; '.join(listed)}."
        )

    @property
    def records(self) -> tuple[Record, ...]:
        """All its runs, row by row."""
        return tuple(record for group in self.groups for record in group.records)


def spec_of(sweep: SweepRecord) -> Spec:
    """The spec of a sweep's table.

    Raises:
        ValueError: it can't be used.
    """
    kind: type[Spec] = PretrainingSpec if sweep.kind == PRETRAIN else TableSpec
    spec = kind.from_mapping(sweep.table)
    if spec.name != sweep.name:
        raise ValueError(f"the sweep {sweep.name} has the table {spec.name}")
    return spec


def select(
    sweeps: Iterable[SweepRun],
    known: Mapping[str, Record],
    unfinished: Mapping[str, Unfinished] | None = None,
    arguments: Sequence[str] = (),
    taken: set[str] | None = None,
) -> list[Selection]:
    """The tables that sweeps asked for and that have a finished run, in a report's order.

    Sweeps with the same name and question extend each other. If that would give one label to two
    settings, the newest sweep keeps the name and the others get numbers. Of several questions, the
    one asked with the fewest arguments has the plain name. The name of a published table belongs to
    its own command only, so that other commands do not replace the committed files.

    Args:
        sweeps: the sweeps that were begun.
        known: finished records by identity.
        unfinished: runs without a result, by identity.
        arguments: arguments that a command needs.
        taken: names of tables; those of the new tables are added.
    """
    taken = set() if taken is None else taken
    begun = [(s, run.run_id) for run in sweeps for s in run.sweeps if s.identities & known.keys()]
    # The question of a base model alone is a part of that of runs trained on some rows: it is last.
    begun.sort(key=lambda pair: (-len(pair[0].question), -pair[0].created))
    by_name: dict[str, list[list[Begun]]] = {}
    for sweep, run_id in begun:
        questions = by_name.setdefault(sweep.name, [])
        group = next((g for g in questions if answers(sweep.question, g[0][0].question)), None)
        if group is None:
            questions.append(group := [])
        group.append((sweep, run_id))
    found = []
    for name, questions in sorted(by_name.items()):
        published = published_sweep(name)
        questions.sort(key=lambda group: _plainness(group, known, published))
        plain = published or questions[0][0][0]
        for group in questions:
            words = _other_facts(group[0][0], plain)
            for members, more in _tables(group, published):
                table = _unused(file_stem(name, words or more), taken)
                found.append(_selection(table, members, known, unfinished or {}, arguments))
    return sorted(found, key=lambda table: table.spec.place)


def published_sweep(name: str) -> SweepRecord | None:
    """The sweep behind a committed table; None if there is none of that name."""
    path = PUBLISHED / name / SWEEP_FILE
    return SweepRecord.from_json(json.loads(path.read_bytes())) if path.is_file() else None


def sweep_stem(sweep: SweepRecord) -> str:
    """The stem of the files of a sweep alone."""
    published = published_sweep(sweep.name)
    if published is None or _is_published(sweep, published):
        return sweep.name
    return file_stem(sweep.name, _other_facts(sweep, published) or _changes(sweep))


def _other_facts(sweep: SweepRecord, plain: SweepRecord) -> list[Any]:
    """The base, data, ... of a sweep's question that differ from those of `plain`."""
    facts, first = sweep.question, plain.question
    return [facts.get(key) for key in NAMED if key in first and facts.get(key) != first[key]]


def _changes(sweep: SweepRecord) -> list[str]:
    """The arguments of a sweep's command that may change a table; a digest if they are long."""
    words = sorted(w.lstrip("+") for w in shared_arguments(sweep.arguments) if not NEUTRAL.match(w))
    return words if len("-".join(words)) <= LENGTH else [digest(words, SHORT)]


def _is_published(sweep: SweepRecord, published: SweepRecord) -> bool:
    """Whether a sweep asks for the table of a published one, or is of the same command.

    The command counts too: on another device, or after a change to the code, it makes other runs.
    """
    same_table = sweep.identities == published.identities and _spec(sweep) == _spec(published)
    return same_table or _changes(sweep) == _changes(published)


def _spec(sweep: SweepRecord) -> str:
    return json.dumps(sweep.table, sort_keys=True)


def _selection(
    name: str,
    members: Sequence[Begun],
    known: Mapping[str, Record],
    unfinished: Mapping[str, Unfinished],
    arguments: Sequence[str],
) -> Selection:
    """The runs of sweeps, the newest first, as one table."""
    sweeps = [sweep for sweep, _ in members]
    spec, sweep = replace(spec_of(sweeps[0]), name=name), sweeps[0]
    if len(sweeps) > 1:
        rows = labelled({row.key: row for s in reversed(sweeps) for row in s.rows}.values(), spec)
        union = {member.identity: member for s in sweeps for member in s.members}
        sweep = replace(
            sweep, rows=rows, members=tuple(union.values()), contrasts=contrasts(rows, spec)
        )
    wanted: dict[tuple[str, int | None], list[SweepMember]] = {}
    for member in sorted(sweep.members, key=lambda m: -1 if m.seed is None else m.seed):
        wanted.setdefault((member.row, member.seed), []).append(member)
    runs: dict[str, list[Record]] = {}
    absent: dict[str, list[SweepMember]] = {}
    for (row, _), alike in wanted.items():
        found = [known[m.identity] for m in alike if m.identity in known]
        if found:
            runs.setdefault(row, []).append(found[0])
        else:
            absent.setdefault(row, []).append(alike[0])
    lost = {member.identity for alike in absent.values() for member in alike}
    return Selection(
        spec=spec,  # type: ignore[arg-type]
        sweep=sweep,
        groups=tuple(
            Group(r.key, r.label, tuple(runs[r.key]), details=r.details)
            for r in sweep.rows
            if r.key in runs
        ),
        missing=tuple(
            Missing(
                row.label,
                tuple(m.seed for m in absent[row.key] if m.seed is not None),
                tuple(
                    f"{run.name}: {run.status.lower()}" + (f", {run.reason}" if run.reason else "")
                    for m in absent[row.key]
                    if (run := unfinished.get(m.identity))
                ),
            )
            for row in sweep.rows
            if row.key in absent
        ),
        total=len(wanted),
        command=" && ".join(command(s, arguments) for s in sweeps if s.identities & lost),
        sweep_runs=tuple(run_id for _, run_id in members),
    )


def command(sweep: SweepRecord, arguments: Sequence[str] = ()) -> str:
    """The command of a sweep that runs what is missing, with further arguments."""
    words = [word for word in sweep.arguments if not REPEATED.match(word)]
    return "python bench/run.py " + shlex.join([*words, *arguments])


def _tables(
    group: Sequence[Begun], published: SweepRecord | None
) -> Iterator[tuple[list[Begun], list[str]]]:
    """Sweeps of one question, the newest first, by table; and the words of the table's name.

    The published table is made by its own command alone. Other commands extend it under a name of
    their own, if they ask for further runs or another table.
    """
    own = [pair for pair in group if published is None or _is_published(pair[0], published)]
    yield from ((members, []) for members in _without_conflicts(own))
    asked = frozenset[str]().union(*(sweep.identities for sweep, _ in own))
    specs = {_spec(sweep) for sweep, _ in own}
    for members in _without_conflicts(group) if len(own) < len(group) else ():
        further = [p for p in members if not p[0].identities <= asked or _spec(p[0]) not in specs]
        if further:  # their newest names the table, and says what it shows
            rest = [pair for pair in members if pair not in further]
            yield [*further, *rest], _changes(further[0][0])


def _without_conflicts(group: Iterable[Begun]) -> list[list[Begun]]:
    """Sweeps, the newest first, in groups in which a label means one setting."""
    found: list[tuple[dict[Any, str], list[Begun]]] = []
    for sweep, run_id in sorted(group, key=lambda pair: -pair[0].created):
        names: dict[Any, str] = {(r.method, r.curvature, r.details): r.key for r in sweep.rows}
        for known, members in found:
            if all(known.get(name, key) == key for name, key in names.items()):
                known |= names
                members.append((sweep, run_id))
                break
        else:
            found.append((names, [(sweep, run_id)]))
    return [members for _, members in found]


def _plainness(
    group: Sequence[Begun], known: Mapping[str, Record], published: SweepRecord | None
) -> tuple[bool, int, int, float]:
    other = published is None or not answers(group[0][0].question, published.question)
    arguments = min(sum(not NEUTRAL.match(word) for word in sweep.arguments) for sweep, _ in group)
    finished = {identity for sweep, _ in group for identity in sweep.identities & known.keys()}
    return other, arguments, -len(finished), min(sweep.created for sweep, _ in group)


def _unused(stem: str, taken: set[str]) -> str:
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name)
    return name

"""From what sweeps asked for to the selections that tables are made from."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.report.design import Spec, answers, by_question, contrasts, design, labelled
from bench.report.pretraining.spec import PretrainingSpec
from bench.report.selection import Group, Missing, Record, Selection
from bench.report.spec import TableSpec
from bench.tracking.contents import SweepRun, Unfinished
from bench.tracking.record import PRETRAIN
from bench.tracking.sweeps import SweepMember, SweepRecord

NAMED = ("model", "data", "protocol", "split", "size")  # facts that tables are named by
NAME = 60  # characters of a base in a file's name
# Arguments that change nothing in a table.
ASIDE = re.compile(r"[+~]*(tracking\.|force=|plan=|sweep=|hydra[./])")
REPEATED = re.compile(r"[+~]*(tracking\.|force=|plan=)")  # those that a command is given anew


@dataclass(frozen=True)
class Asked:
    """Sweeps of one name over one question as one table.

    Attributes:
        spec: of the newest; its name is unique in a report.
        sweep: all of them as one.
        records: of the sweeps, the newest first.
        run_ids: of the sweeps' own runs in the store.
    """

    spec: Spec
    sweep: SweepRecord
    records: tuple[SweepRecord, ...]
    run_ids: tuple[str, ...]


def sweep_records(
    runs: Iterable[Record], spec: Spec, arguments: Sequence[str] = (), created: float = 0.0
) -> list[SweepRecord]:
    """What a sweep asks for, one record per question.

    Args:
        runs: records of its runs, at least with what is known before they are run.
        spec: of its table.
        arguments: of the command line, passwords masked.
        created: seconds since the epoch.
    """
    kind = PRETRAIN if isinstance(spec, PretrainingSpec) else "finetune"
    found = []
    for facts, alike in by_question(runs):
        made = design(alike, spec)
        sweep = SweepRecord(
            spec.name, kind, asdict(spec), tuple(arguments), made.rows, made.members, made.contrasts
        )
        found.append(replace(sweep, created=created, question=facts))
    return found


def spec_of(sweep: SweepRecord) -> Spec:
    """The spec of a sweep's table.

    Raises:
        ValueError: it can't be used.
    """
    try:
        pretrains = sweep.kind == PRETRAIN
        spec = PretrainingSpec(**sweep.table) if pretrains else TableSpec.from_mapping(sweep.table)
    except TypeError as error:
        raise ValueError(f"its table can't be used: {error}") from error
    if spec.name != sweep.name:
        raise ValueError(f"the sweep {sweep.name} has the table {spec.name}")
    return spec


def asked_for(
    sweeps: Iterable[SweepRun], known: Mapping[str, Record], taken: set[str]
) -> list[Asked]:
    """The tables that sweeps asked for and that have a finished run, in a report's order.

    Sweeps of one name over one question extend each other. If that would give one label to two
    settings, the newest has the name and the others have numbers. Of several questions, the one
    that was asked with the fewest arguments has the plain name.

    Args:
        sweeps: that were begun.
        known: finished records by identity.
        taken: names of tables; those that are found are added.
    """
    begun = [(sweep, run.run_id) for run in sweeps for sweep in run.sweeps]
    begun = [(sweep, run_id) for sweep, run_id in begun if sweep.identities & known.keys()]
    # The question of a base model alone is a part of that of runs trained on some rows: it is last.
    begun.sort(key=lambda pair: (-len(pair[0].question), -pair[0].created))
    by_name: dict[str, list[list[tuple[SweepRecord, str]]]] = {}
    for sweep, run_id in begun:
        questions = by_name.setdefault(sweep.name, [])
        group = next((g for g in questions if answers(sweep.question, g[0][0].question)), None)
        if group is None:
            questions.append(group := [])
        group.append((sweep, run_id))
    found: list[Asked] = []
    for name, questions in by_name.items():
        questions.sort(key=lambda group: _plainness(group, known))
        for group in questions:
            words = _unlike(group[0][0].question, questions[0][0][0].question)
            for members in _without_conflicts(group):
                found.append(_merged(_free("-".join([name, *words]), taken), members))
    places = [spec.place if isinstance(spec := one.spec, TableSpec) else 0 for one in found]
    order = sorted(range(len(found)), key=lambda i: (places[i], found[i].sweep.name))
    return [found[i] for i in order]


def select(
    asked: Asked,
    known: Mapping[str, Record],
    unfinished: Mapping[str, Unfinished] | None = None,
    also: Sequence[str] = (),
) -> Selection:
    """The finished runs that sweeps asked for, in their rows.

    Args:
        asked: the sweeps.
        known: finished records by identity.
        unfinished: runs without a result, by identity.
        also: arguments that a command needs.
    """
    sweep = asked.sweep
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
    identities = {member.identity for alike in absent.values() for member in alike}
    return Selection(
        spec=asked.spec,  # type: ignore[arg-type]
        groups=tuple(
            Group(r.key, r.label, tuple(runs[r.key])) for r in sweep.rows if r.key in runs
        ),
        contrasts=sweep.contrasts,
        missing=tuple(
            Missing(
                row.label,
                tuple(m.seed for m in absent[row.key] if m.seed is not None),
                tuple(_endings(absent[row.key], unfinished or {})),
            )
            for row in sweep.rows
            if row.key in absent
        ),
        total=len(wanted),
        command=" && ".join(
            command(one, also) for one in asked.records if one.identities & identities
        ),
        remarks=sweep.remarks,
        sweep=sweep.name,
        sweep_runs=asked.run_ids,
    )


def command(sweep: SweepRecord, also: Sequence[str] = ()) -> str:
    """The command of a sweep, which runs what is missing."""
    words = [word for word in sweep.arguments if not REPEATED.match(word)]
    return "python bench/run.py " + shlex.join([*words, *also])


def _endings(members: Iterable[SweepMember], unfinished: Mapping[str, Unfinished]) -> Iterator[str]:
    for member in members:
        if run := unfinished.get(member.identity):
            yield f"{run.name}: {run.status.lower()}" + (f", {run.reason}" if run.reason else "")


def _without_conflicts(
    group: Iterable[tuple[SweepRecord, str]],
) -> list[list[tuple[SweepRecord, str]]]:
    """Sweeps, the newest first, in groups in which a label means one setting."""
    found: list[tuple[dict[Any, str], list[tuple[SweepRecord, str]]]] = []
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


def _merged(name: str, members: Sequence[tuple[SweepRecord, str]]) -> Asked:
    records = tuple(sweep for sweep, _ in members)
    spec, sweep = replace(spec_of(records[0]), name=name), records[0]
    if len(records) > 1:
        rows = labelled({row.key: row for s in reversed(records) for row in s.rows}.values(), spec)
        union = {member.identity: member for s in records for member in s.members}
        sweep = replace(
            sweep, rows=rows, members=tuple(union.values()), contrasts=contrasts(rows, spec)
        )
    return Asked(spec, sweep, records, tuple(run_id for _, run_id in members))


def _plainness(
    group: Sequence[tuple[SweepRecord, str]], known: Mapping[str, Record]
) -> tuple[int, int, float]:
    arguments = min(sum(not ASIDE.match(word) for word in sweep.arguments) for sweep, _ in group)
    finished = {identity for sweep, _ in group for identity in sweep.identities & known.keys()}
    return arguments, -len(finished), min(sweep.created for sweep, _ in group)


def _unlike(facts: Mapping[str, Any], first: Mapping[str, Any]) -> list[str]:
    """Words for what differs between a question and the first of its name."""
    return [
        re.sub(r"[^\w.]+", "_", str(facts.get(key))).strip("._")[:NAME]
        for key in NAMED
        if facts.get(key) != first.get(key)
    ]


def _free(stem: str, taken: set[str]) -> str:
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name)
    return name

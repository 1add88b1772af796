"""The design of a table, from the settings of its runs alone: questions, rows and comparisons.

A sweep computes it before anything is run; a report computes it for runs that are in no sweep.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from typing import Any

from bench.names import curvature_rank, method_label, method_rank, model_label
from bench.report.records import OWN, Record, answers, question, row_key, settings
from bench.report.spec import PretrainingSpec, Spec, TableSpec
from bench.tracking.record import PRETRAIN
from bench.tracking.sweeps import Contrast, SweepMember, SweepRecord, SweepRow

USUAL_K = 1.0
VS_LORA, VS_MATCHED, VS_K1 = "vs. LoRA", "vs. LoRA (matched)", "vs. K=1"
VS_TWIN = "vs. Euclidean twin"


def sweep_records(
    runs: Iterable[Record], spec: Spec, arguments: Sequence[str] = (), created: float = 0.0
) -> list[SweepRecord]:
    """What a sweep asks for, one record per question.

    `runs` are records with at least what is known before a run; `arguments` are those of the
    command line, passwords masked.
    """
    kind = PRETRAIN if isinstance(spec, PretrainingSpec) else "finetune"
    found = []
    for facts, alike in _by_question(list(runs)):
        first: dict[str, Record] = {}
        members: dict[str, SweepMember] = {}
        for run in alike:
            key = key_of(run, spec)
            first.setdefault(key, run)
            members.setdefault(run["identity"], SweepMember(run["identity"], key, run["seed"]))
        made = _rows(first, spec.apart) if isinstance(spec, TableSpec) else _pretraining_rows(first)
        rows = labelled(made, spec)
        found.append(
            SweepRecord(
                spec.name, kind, asdict(spec), tuple(arguments), rows, tuple(members.values()),
                contrasts(rows, spec), created=created, question=facts,
            )
        )  # fmt: skip
    return found


def key_of(run: Record, spec: Spec) -> str:
    """The key of the row that a run is in."""
    by_method = isinstance(spec, TableSpec) and spec.rows_by == "method"
    return str(run["method"]) if by_method else row_key(run)


def _by_question(records: Sequence[Record]) -> list[tuple[dict[str, Any], list[Record]]]:
    """Records by question; an untrained model is in each group that asks the same."""
    groups: list[tuple[dict[str, Any], list[Record]]] = []
    for record in sorted(records, key=lambda record: record["seed"] is None):
        facts = question(record)
        alike = [
            runs
            for known, runs in groups
            if answers(facts, known) and (record["seed"] is None or answers(known, facts))
        ]
        if not alike:
            alike = [[]]
            groups.append((facts, alike[0]))
        for runs in alike:
            runs.append(record)
    return groups


def labelled(rows: Iterable[SweepRow], spec: Spec) -> tuple[SweepRow, ...]:
    """Rows in the order of a table, with labels; K is named if a method has several."""
    if isinstance(spec, PretrainingSpec):
        order = list(dict.fromkeys(name for pair in spec.pairs for name in pair))
        models = sorted(rows, key=lambda r: [*order, r.method].index(r.method))
        return tuple(
            replace(r, label=model_label(r.method) + f" ({', '.join(r.details)})" * bool(r.details))
            for r in models
        )
    found = sorted(rows, key=lambda row: (method_rank(row.method), curvature_rank(row.curvature)))
    curvatures: dict[str, set[Any]] = {}
    for row in found:
        curvatures.setdefault(row.method, set()).add(row.curvature)
    named = {row.key: row.curvature if len(curvatures[row.method]) > 1 else None for row in found}
    return tuple(
        replace(row, label=method_label(row.method, named[row.key], row.details)) for row in found
    )


def contrasts(rows: Sequence[SweepRow], spec: Spec) -> tuple[Contrast, ...]:
    """Which row is compared with which.

    If a sweep file declares comparisons, each pair of methods is compared in all rows that agree in
    their options, other than the one that the comparison is about, and in K if both have one. If it
    declares none:

    All trained rows are compared with LoRA; those with a curvature also with `lora_matched` of the
    same curvature, or in a table without LoRA with the same method at K = 1. The reference always
    has the same options, as far as rows differ in them. Of several such references, it is the one
    with most training settings in common. Pretrained models are compared with their Euclidean
    twins.
    """
    if isinstance(spec, PretrainingSpec):
        pairs = [
            (row, _twin(row, rows, twin))
            for row in rows
            for model, twin in spec.pairs
            if model == row.method
        ]
        return tuple(Contrast(VS_TWIN, row.key, twin.key) for row, twin in pairs if twin)
    if spec.comparisons:
        return tuple(
            Contrast(pair.get("about", ""), row.key, reference.key)
            for pair in spec.comparisons
            for row in rows
            for reference in _nearest(
                row, [other for other in rows if _is_declared(pair, row, other, spec)]
            )
        )
    trained = [row for row in rows if row.method != "none"]
    curved = [row for row in trained if row.curvature is not None]

    def contrast(heading: str, row: SweepRow, method: str, curvature: Any) -> list[Contrast]:
        key = (method, curvature, _options(row))
        alike = [o for o in trained if (o.method, o.curvature, _options(o)) == key]
        return [Contrast(heading, row.key, o.key) for o in _nearest(row, alike)[-1:]]

    found = [contrast(VS_LORA, row, "lora", None) for row in trained if row.method != "lora"]
    found += [
        contrast(VS_MATCHED, row, "lora_matched", row.curvature)
        for row in curved
        if row.method != "lora_matched"
    ]
    if not any(row.method == "lora" for row in trained):
        found += [
            contrast(VS_K1, row, row.method, USUAL_K) for row in curved if row.curvature != USUAL_K
        ]
    return tuple(chain(*found))


def _rows(first: Mapping[str, Record], apart: Mapping[str, Mapping[str, Any]]) -> list[SweepRow]:
    own = {key: settings(record) for key, record in first.items()}
    named = {
        key: tuple(
            name
            for option, values in apart.items()
            for name, value in values.items()
            if value == own[key].get(option)
        )
        for key in first
    }
    alike: dict[tuple[Any, ...], list[str]] = {}
    for key, record in first.items():
        alike.setdefault((record["method"], record["curvature"], named[key]), []).append(key)
    # By row the settings in which it differs from others of its name.
    varied = {
        key: [name for name in _varied([own[k] for k in keys]) if name != "curvature"]
        for keys in alike.values()
        for key in keys
    }
    names = dict.fromkeys([*apart, *(name for each in varied.values() for name in each)])
    options = [name for name in names if name != "adapter" and not name.startswith("train.")]
    rows = [
        SweepRow(
            key=key,
            label="",
            method=record["method"],
            curvature=record["curvature"],
            details=(*named[key], *(_detail(name, own[key].get(name)) for name in varied[key])),
            options={name: record["options"].get(name) for name in options},
            tuning=record.get("tuning"),
        )
        for key, record in first.items()
    ]
    return sorted(rows, key=lambda r: [_rank(own[r.key].get(name)) for name in varied[r.key]])


def _pretraining_rows(first: Mapping[str, Record]) -> list[SweepRow]:
    own = {key: dict(sorted(settings(record).items())) for key, record in first.items()}
    rows = []
    for key, record in first.items():
        model = record["model"]
        varied = _varied([own[k] for k, other in first.items() if other["model"] == model])
        details = tuple(f"{name}={own[key][name]}" for name in varied if name in own[key])
        tuning = record.get("tuning")
        rows.append(SweepRow(key, "", model, None, details, own[key], tuning))
    return rows


def _varied(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings that are not the same in all rows."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if len({str(row.get(name)) for row in rows}) > 1]


def _detail(name: str, value: Any) -> str:
    plain = " ".join(map(str, value)) if isinstance(value, list | tuple) else f"{value}"
    return f"{name.removeprefix('train.')} {plain}"


def _is_declared(
    pair: Mapping[str, str], row: SweepRow, reference: SweepRow, spec: TableSpec
) -> bool:
    name = pair.get("option")
    option = next((key for key, values in spec.apart.items() if name in values), "")
    return (
        (row.method, reference.method) == (pair["row"], pair["reference"])
        and (name is None or (name in row.details and name not in reference.details))
        and _options(row, option) == _options(reference, option)
        and len({row.curvature, reference.curvature} - {None}) < 2
    )


def _nearest(row: SweepRow, others: Sequence[SweepRow]) -> list[SweepRow]:
    """Those that have most details in common with a row."""
    common = [len({*row.details} & {*other.details}) for other in others]
    return [o for o, count in zip(others, common, strict=True) if count == max(common)]


def _options(row: SweepRow, but: str = "") -> str:
    options = {name: str(value) for name, value in row.options.items() if name != but}
    return json.dumps(options, sort_keys=True)


def _twin(row: SweepRow, rows: Sequence[SweepRow], name: str) -> SweepRow | None:
    """The Euclidean twin with the same settings, or the only one with other `OWN` ones."""
    candidates = [other for other in rows if other.method == name]
    choices = set(row.options) - set(OWN)
    for own in (choices, choices | set(OWN)):
        mine, *theirs = (
            {k: v for k, v in each.options.items() if k not in own} for each in (row, *candidates)
        )
        found = [twin for twin, shared in zip(candidates, theirs, strict=True) if shared == mine]
        if len(found) == 1:
            return found[0]
    return None


def _rank(value: Any) -> tuple[bool, float, str]:
    """Sorting key: numbers by size, then the rest as text."""
    number = isinstance(value, int | float)
    return (not number, float(value) if number else 0.0, str(value))

"""The design of a table: its rows and comparisons, from the settings of its runs alone.

Runs of one table answer one question: the same base, test rows and prompts, the same training rows.
A row is one setting with all of its seeds. A sweep computes the design before anything is run, from
records as far as they are known then; a report computes it for runs that are part of no sweep.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.names import curvature_rank, method_label, method_rank, model_label
from bench.report.pretraining.spec import PretrainingSpec
from bench.report.records import Record, asked, setting, taught, training_settings
from bench.report.spec import TableSpec
from bench.tracking.record import PRETRAIN
from bench.tracking.sweeps import Contrast, SweepMember, SweepRow

Spec = TableSpec | PretrainingSpec
Facts = Mapping[str, Any]

NAMES = ("model", "published_base")  # of the base; its contents are compared
USUAL_K = 1.0
VS_LORA, VS_MATCHED, VS_K1 = "vs. LoRA", "vs. LoRA (matched)", "vs. K=1"
VS_TWIN = "vs. Euclidean twin"
# Settings of pretraining that change no result; those that each model has for itself.
MACHINE_ONLY = ("checkpoint_minutes", "evaluations", "micro_rows", "devices", "sharded")
OWN = ("lr",)


@dataclass(frozen=True)
class Design:
    """Rows, runs and comparisons of a table."""

    rows: tuple[SweepRow, ...]
    members: tuple[SweepMember, ...]
    contrasts: tuple[Contrast, ...]


def question(record: Record) -> dict[str, Any]:
    """What a run was asked and trained on; runs of one table agree in all of it."""
    if record.get("kind") != PRETRAIN:
        return asked(record) | taught(record)
    text = {key: record["hashes"][key][:10] for key in ("text", "tokenizer")}
    train = {k: v for k, v in record["train"].items() if k not in (*MACHINE_ONLY, *OWN)}
    return {"size": record["size"], **text, **train}


def answers(part: Facts, whole: Facts) -> bool:
    """Whether runs of one question belong to another: they are asked the same, or a part of it.

    The base model answers the question of each training on its rows.
    """
    return all(whole.get(key) == value for key, value in part.items() if key not in NAMES)


def by_question(records: Iterable[Record]) -> list[tuple[Facts, list[Record]]]:
    """Records by question; what was not trained is in each group that asks the same."""
    groups: list[tuple[Facts, list[Record]]] = []
    records = list(records)
    trained = [record for record in records if record["seed"] is not None]
    for record in trained:
        facts = question(record)
        for known, runs in groups:
            if answers(facts, known) and answers(known, facts):
                runs.append(record)
                break
        else:
            groups.append((facts, [record]))
    for record in records:
        if record["seed"] is None:
            facts = question(record)
            alike = [runs for known, runs in groups if answers(facts, known)]
            if not alike:
                groups.append((facts, runs := []))
                alike = [runs]
            for runs in alike:
                runs.append(record)
    return groups


def row_key(record: Record) -> str:
    """Digest of all settings of a run except its seed."""
    if record.get("kind") == PRETRAIN:
        train = {k: v for k, v in record["train"].items() if k not in MACHINE_ONLY}
        facts = [record["model"], record["size"], train, record["choices"]]
    else:
        options = {key: _plain(value) for key, value in record["options"].items()}
        adapter = setting(record, "adapter")
        facts = [record["method"], options, training_settings(record), adapter]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def design(records: Sequence[Record], spec: Spec) -> Design:
    """The design of a table.

    Args:
        records: of its runs, at least with what is known before they are run.
        spec: of the table.
    """
    first: dict[str, Record] = {}
    members: dict[str, SweepMember] = {}
    for record in records:
        key = row_key(record)
        first.setdefault(key, record)
        member = SweepMember(record["identity"], key, record["seed"])
        members.setdefault(member.identity, member)
    make = _pretraining_rows if isinstance(spec, PretrainingSpec) else _rows
    rows = labelled(make(first, spec), spec)
    return Design(rows, tuple(members.values()), contrasts(rows, spec))


def labelled(rows: Iterable[SweepRow], spec: Spec) -> tuple[SweepRow, ...]:
    """Rows in the order of a table, with labels; K is named if a method has several."""
    rows = list(rows)
    if isinstance(spec, PretrainingSpec):
        order = [name for pair in spec.twins.items() for name in pair]
        rows.sort(key=lambda r: order.index(r.method) if r.method in order else len(order))
        labels = [
            model_label(row.method) + (f" ({', '.join(row.details)})" if row.details else "")
            for row in rows
        ]
    else:
        rows.sort(key=lambda row: (method_rank(row.method), curvature_rank(row.curvature)))
        curvatures: dict[str, set[Any]] = {}
        for row in rows:
            curvatures.setdefault(row.method, set()).add(row.curvature)
        labels = [
            method_label(
                row.method,
                row.curvature if len(curvatures[row.method]) > 1 else None,
                row.details,
            )
            for row in rows
        ]
    return tuple(replace(row, label=label) for row, label in zip(rows, labels, strict=True))


def contrasts(rows: Sequence[SweepRow], spec: Spec) -> tuple[Contrast, ...]:
    """Which row is compared with which.

    All trained rows with LoRA; those with a curvature also with `lora_matched` of the same
    curvature; in a table without LoRA with the same method at K = 1. Each time the reference has
    the same options, as far as rows differ in them. Pretrained models with their Euclidean twins.
    """
    if isinstance(spec, PretrainingSpec):
        pairs = [(row, _twin(row, rows, spec.twins)) for row in rows]
        return tuple(Contrast(VS_TWIN, row.key, twin.key) for row, twin in pairs if twin)
    trained = [row for row in rows if row.method != "none"]
    curved = [row for row in trained if row.curvature is not None]
    lora = {_place(row): row for row in trained if row.method == "lora"}
    matched = {(row.curvature, _place(row)): row for row in curved if row.method == "lora_matched"}
    usual = {(row.method, _place(row)): row for row in curved if row.curvature == USUAL_K}
    found = [(VS_LORA, r, lora.get(_place(r))) for r in trained if r.method != "lora"]
    found += [
        (VS_MATCHED, row, matched.get((row.curvature, _place(row))))
        for row in curved
        if row.method != "lora_matched"
    ]
    if not lora:
        others = [row for row in curved if row.curvature != USUAL_K]
        found += [(VS_K1, row, usual.get((row.method, _place(row)))) for row in others]
    return tuple(Contrast(heading, row.key, ref.key) for heading, row, ref in found if ref)


def _rows(first: Mapping[str, Record], spec: Spec) -> list[SweepRow]:
    apart: Mapping[str, Mapping[str, Any]] = spec.apart if isinstance(spec, TableSpec) else {}
    named = {
        key: tuple(
            name
            for option, values in apart.items()
            for name, value in values.items()
            if value == setting(record, option)
        )
        for key, record in first.items()
    }
    alike: dict[tuple[Any, ...], list[str]] = {}
    for key, record in first.items():
        alike.setdefault((record["method"], record["curvature"], named[key]), []).append(key)
    differing: dict[str, list[str]] = {}  # by row: settings that tell it from others of its name
    for keys in alike.values():
        given = [_settings(first[key]) for key in keys]
        names = dict.fromkeys(name for settings in given for name in settings)
        varied = [n for n in names if len({str(settings.get(n)) for settings in given}) > 1]
        differing |= dict.fromkeys(keys, varied)
    names = dict.fromkeys([*apart, *(name for varied in differing.values() for name in varied)])
    options = [name for name in names if name != "adapter" and not name.startswith("train.")]
    rows = [
        SweepRow(
            key=key,
            label="",
            method=record["method"],
            curvature=record["curvature"],
            details=(*named[key], *(_named(n, setting(record, n)) for n in differing[key])),
            options={name: record["options"].get(name) for name in options},
        )
        for key, record in first.items()
    ]
    rows.sort(key=lambda row: [_rank(setting(first[row.key], n)) for n in differing[row.key]])
    return rows


def _settings(record: Record) -> dict[str, Any]:
    """All settings by which rows of one method and K can differ, as `setting` names them."""
    train = {f"train.{key}": value for key, value in training_settings(record).items()}
    options = {k: v for k, v in record["options"].items() if k != "curvature"}
    return train | options | {"adapter": setting(record, "adapter")}


def _named(name: str, value: Any) -> str:
    plain = " ".join(map(str, value)) if isinstance(value, list | tuple) else f"{value}"
    return f"{name.removeprefix('train.')} {plain}"


def _place(row: SweepRow) -> str:
    return json.dumps({name: str(value) for name, value in row.options.items()}, sort_keys=True)


def _pretraining_rows(first: Mapping[str, Record], spec: Spec) -> list[SweepRow]:
    own = {
        key: {**record["choices"], **{name: record["train"][name] for name in OWN}}
        for key, record in first.items()
    }
    rows = []
    for key, record in first.items():
        model = [own[k] for k, other in first.items() if other["model"] == record["model"]]
        differing = [
            name
            for name in dict.fromkeys(name for settings in model for name in sorted(settings))
            if len({str(settings.get(name)) for settings in model}) > 1
        ]
        details = tuple(f"{n}={own[key][n]}" for n in differing if n in own[key])
        rows.append(SweepRow(key, "", record["model"], None, details, own[key]))
    return rows


def _twin(row: SweepRow, rows: Sequence[SweepRow], twins: Mapping[str, str]) -> SweepRow | None:
    """The Euclidean twin with the same settings, or the only one with another learning rate."""
    candidates = [other for other in rows if other.method == twins.get(row.method)]
    choices = set(row.options) - set(OWN)
    for own in (choices, choices | set(OWN)):

        def shared(found: SweepRow, own: set[str] = own) -> dict[str, Any]:
            return {k: v for k, v in found.options.items() if k not in own}

        found = [other for other in candidates if shared(other) == shared(row)]
        if len(found) == 1:
            return found[0]
    return None


def _plain(value: Any) -> Any:
    """A number as a float: 1 and 1.0 are the same curvature."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number else value


def _rank(value: Any) -> tuple[bool, float, str]:
    """Sorting key: numbers by size, then the rest as text."""
    number = isinstance(value, int | float)
    return (not number, float(value) if number else 0.0, str(value))

"""Pretraining runs as rows: the seeds of one model with one choice of settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bench.report.pretraining.spec import model_label

Record = Mapping[str, Any]
# Settings that a row is not told by: how often it was saved and measured.
UNTOLD = ("checkpoint_minutes", "evaluations", "micro_rows", "devices", "sharded")
# Of which each model may have its own, and is still set beside another.
OWN = ("lr",)


@dataclass(frozen=True)
class PretrainedRow:
    """The runs of one model with the same settings.

    Attributes:
        model: its name, e.g. `helm_d`.
        label: what the report calls it.
        details: settings that tell it from other rows, by name.
        records: by seed, in its order.
    """

    model: str
    label: str
    details: Mapping[str, Any]
    records: Mapping[int, Record]

    @cached_property
    def bits(self) -> list[float]:
        """Bits per byte of each seed."""
        return [r["training"]["bits_per_byte"] for r in self.records.values()]

    @property
    def mean(self) -> float:
        """Bits per byte, mean over the seeds."""
        return float(np.mean(self.bits))

    @property
    def interval(self) -> tuple[float, float] | None:
        """The mean's 95% interval over seeds; None for a single run."""
        return t_interval(self.bits)

    @property
    def first(self) -> Record:
        """The record of the first seed, for what all seeds share."""
        return next(iter(self.records.values()))

    def mean_of(self, key: str) -> float:
        """The mean over the seeds of a figure that stands in the record itself."""
        return float(np.mean([record[key] for record in self.records.values()]))


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95% interval of a mean, by Student's t; None for a single value."""
    count = len(values)
    if count < 2:
        return None
    from scipy.special import stdtrit

    mean = float(np.mean(values))
    reach = float(stdtrit(count - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(count))
    return mean - reach, mean + reach


def comparable(records: Iterable[Record]) -> list[list[Record]]:
    """Runs in groups of one size, text, tokenizer and training, in the order given."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        shared = {k: v for k, v in _settings(record).items() if k not in _own(record)}
        groups.setdefault(json.dumps(shared, sort_keys=True), []).append(record)
    return list(groups.values())


def rows_of(records: Iterable[Record], twins: Mapping[str, str]) -> list[PretrainedRow]:
    """The rows of runs: each model with its twin behind it, then others as they are given.

    Of runs with one setting and seed the first counts.

    Args:
        records: of runs.
        twins: by model the one that it is set beside.

    Raises:
        ValueError: there are none.
    """
    records = list(records)
    if not records:
        raise ValueError("there is no run")
    differing = _differing(records)
    grouped: dict[str, dict[int, Record]] = {}
    for record in records:
        settings = _settings(record)
        told = {k: settings[k] for k in differing if k in settings}
        grouped.setdefault(json.dumps([record["model"], told]), {}).setdefault(
            record["seed"], record
        )
    rows = []
    for key, by_seed in grouped.items():
        model, details = json.loads(key)
        named = ", ".join(f"{k}={v}" for k, v in details.items())
        label = model_label(model) + (f" ({named})" if named else "")
        rows.append(PretrainedRow(model, label, details, dict(sorted(by_seed.items()))))
    order = [name for pair in twins.items() for name in pair]
    rows.sort(key=lambda row: order.index(row.model) if row.model in order else len(order))
    return rows


def twin_of(
    row: PretrainedRow, rows: Sequence[PretrainedRow], twins: Mapping[str, str]
) -> PretrainedRow | None:
    """The row of the Euclidean twin with the same settings, as far as it has them.

    Where each has a learning rate of its own, the twin is the only one that there is otherwise.
    """
    candidates = [other for other in rows if other.model == twins.get(row.model)]
    choices = set(row.first["choices"])
    for own in (choices, choices | {*OWN}):
        wanted = {k: v for k, v in row.details.items() if k not in own}
        found = [
            other
            for other in candidates
            if {k: v for k, v in other.details.items() if k not in own} == wanted
        ]
        if len(found) == 1:
            return found[0]
    return None


def _settings(record: Record) -> dict[str, Any]:
    train = {k: v for k, v in record["train"].items() if k not in UNTOLD}
    text = {"text": record["hashes"]["text"][:8], "tokenizer": record["hashes"]["tokenizer"][:8]}
    return {"size": record["size"], **text, **train, **record["choices"]}


def _own(record: Record) -> set[str]:
    """The settings of a run that are its model's own."""
    return {*record["choices"], *OWN}


def _differing(records: Sequence[Record]) -> list[str]:
    """The settings that are not the same in all runs; of a model's own, in those of that model.

    A choice that one run of a model makes and another does not is one in which they differ.
    """
    values: dict[str, set[str]] = {}
    for record in records:
        for key, value in _settings(record).items():
            if key not in _own(record):
                values.setdefault(key, set()).add(json.dumps(value))
    found = [key for key, known in values.items() if len(known) > 1]
    for model in dict.fromkeys(record["model"] for record in records):
        of_model = [record for record in records if record["model"] == model]
        made = [{k: _settings(r).get(k) for k in _own(r)} for r in of_model]
        for key in dict.fromkeys(key for choices in made for key in sorted(choices)):
            if len({json.dumps(choices.get(key)) for choices in made}) > 1:
                found.append(key)
    return list(dict.fromkeys(found))

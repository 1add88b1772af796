"""Pretraining runs as rows: the seeds of one model with one setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import numpy as np
from scipy.special import stdtrit

from bench.report.records import Record
from bench.report.selection import Selection
from bench.report.tables import Cell, RunValue


@dataclass(frozen=True)
class PretrainedRow:
    """The runs of one model with the same settings.

    Attributes:
        key: digest of the settings.
        model: its name, e.g. `helm_d`.
        label: what the report calls it.
        records: by seed, ascending.
    """

    key: str
    model: str
    label: str
    records: Mapping[int, Record]

    @property
    def first(self) -> Record:
        """The record of the first seed, for what all seeds share."""
        return next(iter(self.records.values()))

    @cached_property
    def bits(self) -> Cell:
        """Bits per byte of the test documents: mean over seeds with Student's 95% interval."""
        return over_seeds({s: r["training"]["bits_per_byte"] for s, r in self.records.items()})

    def mean_of(self, key: str) -> float:
        """The mean over the seeds of a number of the record."""
        return fmean(record[key] for record in self.records.values())


def rows_of(selection: Selection) -> list[PretrainedRow]:
    """The rows of a selection, in its order.

    Raises:
        ValueError: there is no run.
    """
    if not selection.groups:
        raise ValueError("there is no finished pretraining run")
    rows = []
    for group in selection.groups:
        by_seed = {run["seed"]: run for run in sorted(group.records, key=lambda run: run["seed"])}
        rows.append(PretrainedRow(group.key, group.records[0]["model"], group.label, by_seed))
    return rows


def over_seeds(values: Mapping[int, float], n: int | None = None) -> Cell:
    """The mean of a value over seeds, over `n` items each, with Student's 95% interval."""
    numbers = list(values.values())
    runs = tuple(RunValue(seed, value, n) for seed, value in values.items())
    mean, count = float(np.mean(numbers)), len(numbers)
    if count < 2:
        return Cell(mean, n=n, runs=runs)
    sd = float(np.std(numbers, ddof=1))
    reach = float(stdtrit(count - 1, 0.975) * sd / np.sqrt(count))
    return Cell(mean, sd, mean - reach, mean + reach, n=n, runs=runs)

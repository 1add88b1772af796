"""Pretraining runs as rows: the seeds of one model with one setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.report.records import Record
from bench.report.selection import Group, Selection
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

    @classmethod
    def of(cls, group: Group) -> PretrainedRow:
        """The row of a selection's group."""
        by_seed = {record["seed"]: record for record in group.records}
        return cls(group.key, group.records[0]["model"], group.label, dict(sorted(by_seed.items())))

    @property
    def first(self) -> Record:
        """The record of the first seed, for what all seeds share."""
        return next(iter(self.records.values()))

    @cached_property
    def bits(self) -> Cell:
        """Bits per byte of held-out text: mean over seeds with Student's 95% interval."""
        return over_seeds({s: r["training"]["bits_per_byte"] for s, r in self.records.items()})

    def mean_of(self, key: str) -> float:
        """The mean over the seeds of a number of the record."""
        return float(np.mean([record[key] for record in self.records.values()]))


def rows_of(selection: Selection) -> list[PretrainedRow]:
    """The rows of a selection, in its order.

    Raises:
        ValueError: there is no run.
    """
    if not selection.groups:
        raise ValueError("there is no finished pretraining run")
    return [PretrainedRow.of(group) for group in selection.groups]


def over_seeds(values: Mapping[int, float], n: int | None = None) -> Cell:
    """The mean of a value over seeds, its deviation, and Student's 95% interval.

    Args:
        values: by seed; of a single one there is no interval.
        n: items behind each value.
    """
    numbers = list(values.values())
    runs = tuple(RunValue(seed, value, n) for seed, value in values.items())
    mean = float(np.mean(numbers))
    if len(numbers) < 2:
        return Cell(mean, n=n, runs=runs)
    sd = float(np.std(numbers, ddof=1))
    low, high = t_interval(numbers)
    return Cell(mean, sd, low, high, n=n, runs=runs)


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95% interval of the mean of at least two values."""
    from scipy.special import stdtrit

    count, mean = len(values), float(np.mean(values))
    reach = float(stdtrit(count - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(count))
    return mean - reach, mean + reach

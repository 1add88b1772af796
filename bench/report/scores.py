"""A table of scores: methods x benchmarks, with intervals and comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bench.report.comparison import ACCURACY, Comparison, Measure
from bench.report.selection import Group, Selection
from bench.report.tables import Cell


@dataclass(frozen=True)
class Benchmark:
    """A test set: its key in the records, its name in tables and its number of test rows.

    Attributes:
        clusters: number of clusters of rows that share a text; None if all are independent.
        chance: accuracy of guessing in percent, if that is defined.
        majority: accuracy of always giving the most frequent gold answer, in percent.
        majority_answer: that answer.
        rule: the rule of answer extraction, with its version.
        averaged: whether it counts in the averages.
        trained_on: whether some of its rows are among the training rows.
    """

    key: str
    label: str
    items: int
    clusters: int | None = None
    chance: float | None = None
    majority: float | None = None
    majority_answer: str | None = None
    rule: str = ""
    averaged: bool = True
    trained_on: bool = False


@dataclass(frozen=True)
class ScoreRow(Group):
    """A method with one setting, over its seeds; or a guess, `chance` or `majority`, without runs.

    Attributes:
        cells: by key of a benchmark, `micro` or `macro`, in percent; those of another measure by
            `Measure.cell`.
    """

    cells: Mapping[str, Cell]

    @property
    def method(self) -> str:
        """Its method; empty for a guess."""
        return str(self.first["method"]) if self.records else ""

    @property
    def curvature(self) -> Any:
        """K, `auto` or None; None as well if its runs have several."""
        found = {run["curvature"] for run in self.records}
        return found.pop() if len(found) == 1 else None

    @property
    def trainable(self) -> int:
        """Number of trainable parameters."""
        return int(self.first["parameters"]["trainable"])

    @property
    def trainable_percent(self) -> float:
        """Their share of all parameters."""
        return 100 * self.trainable / self.first["parameters"]["total"]

    def mean_seconds(self, stage: str) -> float | None:
        """Mean wall time of `finetune` or `evaluate`, over the runs that have one."""
        known = [s for run in self.records if (s := run["seconds"][stage]) is not None]
        return fmean(known) if known else None

    @property
    def format_rate(self) -> float:
        """Percent of answers in a valid format, mean over runs."""
        scores = [list(run["scores"].values()) for run in self.records]
        return fmean(
            sum(s["format_rate"] * s["n"] for s in of_run) / sum(s["n"] for s in of_run)
            for of_run in scores
        )


@dataclass(frozen=True)
class ScoreTable:
    """What was computed from a selection of runs; accuracies in percent, unrounded.

    Attributes:
        selection: what it was computed from.
        benchmarks: in order of appearance.
        averages: `micro` and `macro`, the one that rows are judged by first; empty if fewer than
            two sets count in them.
        rows: of methods.
        guesses: rows that need no model: chance and majority class.
        measures: the measures that rows are compared by.
        comparisons: those that the sweep asked for, for each measure: on `main` first, then on each
            other benchmark.
    """

    selection: Selection
    benchmarks: tuple[Benchmark, ...]
    averages: tuple[str, ...]
    rows: tuple[ScoreRow, ...]
    guesses: tuple[ScoreRow, ...] = ()
    measures: tuple[Measure, ...] = (ACCURACY,)
    comparisons: tuple[Comparison, ...] = ()

    @property
    def main(self) -> str:
        """The key that rows are judged by: an average, or the only benchmark that counts."""
        counted = [found.key for found in self.benchmarks if found.averaged]
        return [*self.averages, *counted, self.benchmarks[0].key][0]

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the averages, then of the benchmarks, by key."""
        averages = {key: f"{key} average" for key in self.averages}
        return averages | {found.key: found.label for found in self.benchmarks}

"""Computes the numbers of a table from its runs: means, intervals and comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

from bench.names import key_of
from bench.report.cases import Predictions
from bench.report.comparison import ACCURACY, Comparison, Measure, compare, judge
from bench.report.outcomes import Outcomes, samples_of
from bench.report.records import Record, check_comparable
from bench.report.scores import Benchmark, ScoreRow, ScoreTable
from bench.report.selection import Group, Selection
from bench.report.spec import AVERAGES, TableSpec
from bench.report.statistics.bootstrap import intervals
from bench.report.statistics.crossed import LEAST_SEEDS
from bench.report.tables import Cell, RunValue
from bench.tracking.sweeps import Contrast

Weights = Mapping[str, Mapping[str, float]]


def score_table(selection: Selection, predictions: Predictions = lambda run_id: ()) -> ScoreTable:
    """Aggregate runs over their seeds and compare rows as the selection asks.

    Averages are taken for each run first and then over runs, so that their deviation is that of
    the average itself.

    Raises:
        ValueError: there are no runs, or they can't be compared.
    """
    spec = selection.spec
    check_comparable(selection.records)
    benchmarks = _benchmarks(selection.records, spec)
    averaged = [found for found in benchmarks if found.averaged]
    averages = tuple(sorted(AVERAGES, key=spec.judged_by.__ne__)) if len(averaged) > 1 else ()
    rows = [_row(group, benchmarks, averages) for group in selection.groups]
    table = ScoreTable(selection, benchmarks, averages, tuple(rows))
    keys = [found.key for found in benchmarks]
    comparisons: list[Comparison] = []
    samples = samples_of(selection.groups, keys, predictions)
    for measure, (values, independent) in samples.items():
        weights = _weights(benchmarks, averages, values[rows[0].key])
        comparisons += _comparisons(table, measure, independent, weights)
        if measure is ACCURACY:
            ends = intervals(list(independent.values()), weights)
            rows = [_with_intervals(row, of_row) for row, of_row in zip(rows, ends, strict=True)]
        else:
            rows = [_with_means(row, measure, values[row.key], weights) for row in rows]
    return replace(
        table,
        rows=tuple(rows),
        guesses=tuple(_guesses(benchmarks, averages)),
        measures=tuple(samples),
        comparisons=tuple(comparisons),
    )


def _benchmarks(records: Sequence[Record], spec: TableSpec) -> tuple[Benchmark, ...]:
    """In the order of the first record: comparable runs have the same items."""
    outside = set(map(key_of, spec.outside_averages))
    tested = (r["overlap"] for r in records if r["split"] == "test" and r["overlap"])
    kept: Mapping[str, Any] = next((found["tests"] for found in tested if found["kept"]), {})
    return tuple(
        Benchmark(
            key=key,
            label=score["label"],
            items=score["n"],
            clusters=len(set(score.get("clusters") or ())) or None,
            chance=score["chance"],
            majority=score["majority"]["accuracy"],
            majority_answer=score["majority"]["answer"],
            rule=score["rule"],
            averaged=key_of(key) not in outside,
            trained_on=key in kept and kept[key]["masked"] > 0,
        )
        for key, score in records[0]["scores"].items()
    )


def _row(group: Group, benchmarks: Sequence[Benchmark], averages: Iterable[str]) -> ScoreRow:
    runs = group.records
    values = {found.key: [_value(run, found.key) for run in runs] for found in benchmarks}
    cells = {key: _cell(found) for key, found in values.items()}
    averaged = [values[found.key] for found in benchmarks if found.averaged]
    for kind in averages:
        cells[kind] = _cell([_average(kind, of_run) for of_run in zip(*averaged, strict=True)])
    return ScoreRow(group.key, group.label, runs, cells, details=group.details)


def _value(run: Record, key: str) -> RunValue:
    score = run["scores"][key]
    return RunValue(run["seed"], score["accuracy"], score["n"], score["correct"])


def _average(kind: str, values: Sequence[RunValue]) -> RunValue:
    items = sum(value.n or 0 for value in values)
    counts = [value.correct for value in values if value.correct is not None]
    correct = sum(counts) if len(counts) == len(values) and kind == "micro" else None
    if kind == "macro":
        average = fmean(value.value for value in values)
    elif correct is not None:
        average = 100 * correct / items
    else:
        average = sum(value.value * (value.n or 0) for value in values) / items
    return RunValue(values[0].seed, average, items, correct)


def _cell(values: Sequence[RunValue]) -> Cell:
    numbers = [value.value for value in values]
    return Cell(
        value=fmean(numbers),
        sd=stdev(numbers) if len(numbers) > 1 else None,
        n=values[0].n,
        runs=tuple(values),
    )


def _weights(
    benchmarks: Sequence[Benchmark], averages: Iterable[str], outcomes: Outcomes
) -> Weights:
    """How the benchmarks weigh in each cell."""
    averaged = [found for found in benchmarks if found.averaged]
    sizes = {found.key: outcomes[found.key].shape[1] for found in averaged}
    kinds = {
        "micro": {key: size / sum(sizes.values()) for key, size in sizes.items()},
        "macro": dict.fromkeys(sizes, 1 / max(len(sizes), 1)),
    }
    return {found.key: {found.key: 1.0} for found in benchmarks} | {k: kinds[k] for k in averages}


def _with_intervals(row: ScoreRow, ends: Mapping[str, tuple[float, float]]) -> ScoreRow:
    cells = {
        key: replace(cell, low=100 * ends[key][0], high=100 * ends[key][1])
        for key, cell in row.cells.items()
    }
    return replace(row, cells=cells)


def _with_means(row: ScoreRow, measure: Measure, outcomes: Outcomes, weights: Weights) -> ScoreRow:
    """A row with the cells of a further measure."""
    cells = {}
    for column, parts in weights.items():
        means = sum(weight * outcomes[key].mean(axis=1) for key, weight in parts.items())
        n = sum(outcomes[key].shape[1] for key in parts)
        values = (measure.scale * float(mean) for mean in means)
        runs = [RunValue(seed, value, n) for seed, value in zip(row.seeds, values, strict=True)]
        cells[measure.cell(column)] = _cell(runs)
    return replace(row, cells={**row.cells, **cells})


def _guesses(benchmarks: Sequence[Benchmark], averages: Iterable[str]) -> Iterable[ScoreRow]:
    """Chance, if a benchmark has such a level, and the majority class.

    An average is empty if a benchmark in it has no value.
    """
    for key, label in (("chance", "chance"), ("majority", "majority class")):
        cells = {found.key: Cell(getattr(found, key), n=found.items) for found in benchmarks}
        if all(cell.value is None for cell in cells.values()):
            continue
        averaged = [cells[found.key] for found in benchmarks if found.averaged]
        values = [
            RunValue(None, c.value, c.n) for c in averaged if isinstance(c.value, int | float)
        ]
        for kind in averages:
            average = _average(kind, values) if len(values) == len(averaged) else None
            cells[kind] = Cell(average.value, n=average.n) if average else Cell()
        yield ScoreRow(key, label, (), cells)


def _comparisons(
    table: ScoreTable, measure: Measure, outcomes: Mapping[str, Outcomes], weights: Weights
) -> Iterable[Comparison]:
    """As the selection asks for them: on what the table is judged by, then on the rest.

    p-values are corrected over two families of each measure: all comparisons on the average or only
    benchmark that the table is judged by, and all on other single benchmarks, which show where a
    difference comes from.
    """
    others = [found.key for found in table.benchmarks if found.key != table.main]
    rows = {row.key: row for row in table.rows}
    labels = {row.key: row.label for row in table.selection.sweep.rows}

    def common(contrast: Contrast) -> list[int]:
        """The seeds that both rows have."""
        own, others = rows[contrast.row].seeds, rows[contrast.reference].seeds
        return [seed for seed in own if seed is not None and seed in others]

    def compared(contrast: Contrast, column: str, family: int) -> Comparison:
        keys = (contrast.row, contrast.reference)
        label, reference = (labels[key] for key in keys)
        asked = Comparison(contrast.heading, *keys, label, reference, column, measure.key)
        pair = [rows[key] for key in keys if key in rows]
        if len(pair) == 1:
            return replace(asked, why="the reference has no finished run")
        if any(row.seeds == (None,) for row in pair):
            return replace(asked, why="a row without seeds can't be tested over seeds")
        seeds = common(contrast)
        one, other = (
            [outcomes[row.key][key][list(map(row.seeds.index, seeds))] for key in weights[column]]
            for row in pair
        )
        given = list(weights[column].values()), seeds, family
        return compare(asked, one, other, *given)

    contrasts = [each for each in table.selection.sweep.contrasts if each.row in rows]
    testable = sum(
        each.reference in rows and len(common(each)) >= LEAST_SEEDS for each in contrasts
    )
    for columns in ([table.main], others):
        size = len(columns) * testable
        found = [compared(each, column, size) for column in columns for each in contrasts]
        yield from judge(found)

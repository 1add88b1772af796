"""From the runs of a table to its numbers: means, intervals and comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np

from bench.names import key_of
from bench.report.comparison import Comparison, compare, judge
from bench.report.records import Record, check_comparable
from bench.report.scores import Benchmark, ScoreRow, ScoreTable
from bench.report.selection import Group, Selection
from bench.report.spec import AVERAGES, TableSpec
from bench.report.statistics.bootstrap import intervals
from bench.report.statistics.variance import Array
from bench.report.tables import Cell, RunValue

Outcomes = Mapping[str, Array]
Weights = Mapping[str, Mapping[str, float]]


def score_table(selection: Selection) -> ScoreTable:
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
    averages = tuple(sorted(AVERAGES, key=spec.judged_by.__ne__)) if averaged else ()
    rows = [_row(group, benchmarks, averages, spec.metric) for group in selection.groups]
    table = ScoreTable(selection, benchmarks, averages, tuple(rows))
    if spec.metric != "accuracy":
        return table
    outcomes = [
        {found.key: _outcomes(group.records, found.key) for found in benchmarks}
        for group in selection.groups
    ]
    weights = _weights(benchmarks, averages)
    ends = intervals(outcomes, weights)
    return replace(
        table,
        rows=tuple(_with_intervals(row, of_row) for row, of_row in zip(rows, ends, strict=True)),
        guesses=tuple(_guesses(benchmarks, averages)),
        comparisons=tuple(_comparisons(table, outcomes, weights)),
    )


def _benchmarks(records: Sequence[Record], spec: TableSpec) -> tuple[Benchmark, ...]:
    """In the order of the first record: comparable runs were asked the same items."""
    outside = set(map(key_of, spec.outside_averages))
    overlap = next((record["overlap"] for record in records if record["overlap"]), None)
    return tuple(
        Benchmark(
            key=key,
            label=score["label"],
            items=score["n"],
            chance=score["chance"],
            majority=score["majority"]["accuracy"],
            majority_answer=score["majority"]["answer"],
            rule=score["rule"],
            averaged=key_of(key) not in outside,
            trained_on=bool(overlap and overlap["kept"] and overlap["tests"][key]["masked"]),
        )
        for key, score in records[0]["scores"].items()
    )


def _row(
    group: Group, benchmarks: Sequence[Benchmark], averages: Iterable[str], metric: str
) -> ScoreRow:
    runs = group.records
    values = {found.key: [_value(run, found.key, metric) for run in runs] for found in benchmarks}
    cells = {key: _cell(found) for key, found in values.items()}
    averaged = [values[found.key] for found in benchmarks if found.averaged]
    for kind in averages:
        cells[kind] = _cell([_average(kind, of_run) for of_run in zip(*averaged, strict=True)])
    first = runs[0]
    trainable, total = first["parameters"]["trainable"], first["parameters"]["total"]
    return ScoreRow(
        key=group.key,
        label=group.label,
        method=first["method"],
        curvature=first["curvature"],
        records=runs,
        cells=cells,
        trainable=trainable,
        trainable_percent=100 * trainable / total,
        finetune_seconds=_mean(run["seconds"]["finetune"] for run in runs),
        evaluate_seconds=_mean(run["seconds"]["evaluate"] for run in runs),
        format_rate=_mean(map(_format_rate, runs)),
    )


def _value(run: Record, key: str, metric: str) -> RunValue:
    score = run["scores"][key]
    correct = score["correct"] if metric == "accuracy" else None
    return RunValue(run["seed"], score[metric], score["n"], correct)


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


def _format_rate(run: Record) -> float:
    scores = run["scores"].values()
    return sum(s["format_rate"] * s["n"] for s in scores) / sum(s["n"] for s in scores)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _outcomes(runs: Sequence[Record], key: str) -> Array:
    """Which items each run answered correctly: `(seeds, items)` of 0 and 1."""
    texts = [run["scores"][key]["outcomes"].encode("ascii") for run in runs]
    return np.array([np.frombuffer(text, dtype=np.uint8) for text in texts]).astype(float) - ord(
        "0"
    )


def _weights(benchmarks: Sequence[Benchmark], averages: Iterable[str]) -> Weights:
    """How the benchmarks weigh in each cell."""
    averaged = [found for found in benchmarks if found.averaged]
    items = sum(found.items for found in averaged)
    kinds = {
        "micro": {found.key: found.items / items for found in averaged},
        "macro": {found.key: 1 / len(averaged) for found in averaged},
    }
    return {found.key: {found.key: 1.0} for found in benchmarks} | {k: kinds[k] for k in averages}


def _with_intervals(row: ScoreRow, ends: Mapping[str, tuple[float, float]]) -> ScoreRow:
    cells = {
        key: replace(cell, low=100 * ends[key][0], high=100 * ends[key][1])
        for key, cell in row.cells.items()
    }
    return replace(row, cells=cells)


def _guesses(benchmarks: Sequence[Benchmark], averages: Iterable[str]) -> Iterable[ScoreRow]:
    """Chance, if a benchmark has such a level, and the majority class.

    An average is empty if a benchmark in it has no value.
    """
    for key, label in (("chance", "chance"), ("majority", "majority class")):
        cells = {found.key: Cell(getattr(found, key), n=found.items) for found in benchmarks}
        if all(cell.value is None for cell in cells.values()):
            continue
        values = [
            RunValue(None, value, found.items)
            for found in benchmarks
            if found.averaged and (value := getattr(found, key)) is not None
        ]
        whole = len(values) == sum(found.averaged for found in benchmarks)
        for kind in averages:
            average = _average(kind, values) if whole else None
            cells[kind] = Cell(average.value, n=average.n) if average else Cell()
        yield ScoreRow(key, label, method="", curvature=None, records=(), cells=cells)


def _comparisons(
    table: ScoreTable, outcomes: Sequence[Outcomes], weights: Weights
) -> Iterable[Comparison]:
    """As the selection asks for them: on the average, then on each benchmark.

    p-values are corrected over two families: all comparisons on the average, which the table is
    judged by, and all on single benchmarks, which show where a difference comes from.
    """
    averaged = [found.key for found in table.benchmarks if found.averaged]
    singles = [found.key for found in table.benchmarks]
    main = [[key] for key in table.averages[:1]]
    for family in (*main, singles if singles != averaged[:1] else []):
        yield from judge(list(_compared(table, outcomes, weights, family)))


def _compared(
    table: ScoreTable, outcomes: Sequence[Outcomes], weights: Weights, columns: Iterable[str]
) -> Iterable[Comparison]:
    rows = {row.key: (row, of_row) for row, of_row in zip(table.rows, outcomes, strict=True)}
    contrasts = [found for found in table.selection.contrasts if found.row in rows]
    for column in columns:
        for contrast in contrasts:
            row, ours = rows[contrast.row]
            asked = Comparison(contrast.heading, row.key, contrast.reference, row.label, "", column)
            if contrast.reference not in rows:
                yield replace(asked, why="the reference has no finished run")
                continue
            reference, theirs = rows[contrast.reference]
            seeds = [s for s in row.seeds if s is not None and s in reference.seeds]
            one, other = (
                [
                    of_row[key][[found.seeds.index(seed) for seed in seeds]]
                    for key in weights[column]
                ]
                for found, of_row in ((row, ours), (reference, theirs))
            )
            asked = replace(asked, reference_label=reference.label)
            yield compare(asked, one, other, list(weights[column].values()), seeds)

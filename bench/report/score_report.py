"""The report on a table of scores: scores, intervals, comparisons, cost, the paper's numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.report.comparison import ACCURACY, MEASURES, NOT_COMPARED, Comparison, Measure
from bench.report.facts import facts
from bench.report.notes import MARK, score_notes
from bench.report.paper import paper_table
from bench.report.published import Published
from bench.report.records import settings, training_settings
from bench.report.scores import ScoreRow, ScoreTable
from bench.report.tables import Cell, Column, Report, Row, RunValue, Table, number

TEST = (
    "The test counts variation between runs and between items (crossed random effects): a verdict "
    "is about other seeds and other problems of the kind. Intervals (95%) are of one comparison "
    "each; verdicts use p (Holm) at 5%."
)
COST = (
    Column("runs", "Runs", ","),
    Column("trainable", "Trainable", ","),
    Column("trainable_percent", "Share", ".2f", "%"),
    Column("format_rate", "Valid format (%)"),
    Column("finetune_seconds", "Fine-tuning", "duration"),
    Column("evaluate_seconds", "Evaluation", "duration"),
)


def score_report(table: ScoreTable, published: Published | None = None) -> Report:
    """A table of scores as a report, next to the paper's numbers if it has any."""
    tables = [_scores(table), _intervals(table)]
    for measure in table.measures:
        tables += _comparisons(table, measure)
    tables.append(_cost(table))
    if published:
        tables.append(paper_table(table, published))
    spec = table.selection.spec
    return Report(spec.name, spec.title, facts(table), tuple(tables))


def score_data(table: ScoreTable) -> dict[str, Any]:
    """Further entries of the JSON file: benchmarks, runs and settings of each row, comparisons."""
    return {
        "benchmarks": [asdict(found) for found in table.benchmarks],
        "settings": list(map(_settings, table.rows)),
        "comparisons": [asdict(found) for found in table.comparisons],
    }


def _settings(row: ScoreRow) -> dict[str, Any]:
    """What the runs of a row share, and `by_seed` the values of settings that they do not share."""
    found = [settings(run) for run in row.records]
    values = {name: [each.get(name) for each in found] for name in found[0]}
    by_seed = {name: own for name, own in values.items() if any(own[0] != each for each in own)}
    train, options = training_settings(row.first), row.first["options"]
    return {
        "row": row.label,
        "method": row.method,
        "curvature": row.curvature,
        "seeds": row.seeds,
        "identities": [run["identity"] for run in row.records],
        "train": {key: train[key] for key in train if f"train.{key}" not in by_seed},
        "options": {key: options[key] for key in options if key not in by_seed},
        **({"by_seed": by_seed} if by_seed else {}),
    }


def _row(row: ScoreRow, cells: Mapping[str, Cell]) -> Row:
    return Row((row.label,), cells, keys={"method": row.method or None, "curvature": row.curvature})


def _columns(table: ScoreTable, show: str) -> tuple[Column, ...]:
    columns = []
    for found in table.benchmarks:
        label = found.label
        if show == "sd":
            label += MARK if found.trained_on else ""
            label += "" if found.chance is None else f" (chance {found.chance:.0f})"
        columns.append(Column(found.key, label, show=show))
    return (*columns, *(Column(kind, kind.capitalize(), show=show) for kind in table.averages))


def _further(table: ScoreTable) -> Iterator[Column]:
    """Of other measures than accuracy, what rows are judged by; CSV and JSON have all."""
    for measure in table.measures:
        for column in () if measure is ACCURACY else table.averages or (table.main,):
            of = f", {column}" if table.averages else ""
            yield Column(measure.cell(column), measure.label + of, measure.format, show="sd")


def _scores(table: ScoreTable) -> Table:
    return Table(
        key="scores",
        columns=(*_columns(table, "sd"), *_further(table)),
        rows=tuple(_row(row, row.cells) for row in (*table.rows, *table.guesses)),
        notes=tuple(score_notes(table)),
    )


def _intervals(table: ScoreTable) -> Table:
    singles = [row.label for row in table.rows if len(row.records) == 1]
    note = "95% intervals of the means: bootstrap over seeds and items."
    if len(singles) == len(table.rows):
        note = "95% intervals: bootstrap over items. Every row is a single run: other seeds differ."
    elif singles:
        note += f" Over items only for a single run: {', '.join(singles)}."
    return Table(
        key="intervals",
        heading="95% intervals",
        columns=_columns(table, "interval"),
        rows=tuple(_row(row, row.cells) for row in table.rows),
        notes=(note,),
        view=True,
    )


def _comparisons(table: ScoreTable, measure: Measure) -> Iterator[Table]:
    """The comparisons on `table.main`, then those on each other benchmark."""
    found = [each for each in table.comparisons if each.measure == measure.key]
    main = [each for each in found if each.column == table.main]
    if not main:
        return
    of = "" if measure is ACCURACY else f" of {measure.label}"
    cell = measure.cell(table.main)
    columns: tuple[Column, ...] = (
        Column(cell, "Verdict", "text", show="verdict"),
        Column(cell, "Difference [95% interval]", measure.format, show="range"),
        Column(cell, "p (Holm)", "p", show="p"),
    )
    tested = any(each.difference is not None for each in main)
    yield Table(
        key=f"comparisons{of}",
        heading=f"Comparisons{of}: {table.labels[table.main]}",
        columns=(*_about(table), *(columns if tested else columns[:1])),
        rows=tuple(_compared(table, main)),
        names=("Row − reference",),
        notes=tuple(_comparison_notes(table, measure, found)),
    )
    others = [each for each in found if each.column != table.main]
    columns = tuple(
        Column(measure.cell(benchmark.key), benchmark.label, measure.format, show="claim")
        for benchmark in table.benchmarks
        if any(each.column == benchmark.key and each.p is not None for each in others)
    )
    if columns:
        yield Table(
            key=f"comparisons{of}, benchmarks",
            heading=f"Comparisons{of}: each benchmark",
            columns=(*_about(table), *columns),
            rows=tuple(_compared(table, others)),
            names=("Row − reference",),
        )


def _about(table: ScoreTable) -> tuple[Column, ...]:
    declared = any(pair.get("about") for pair in table.selection.spec.comparisons)
    return (Column("about", "About", "text"),) if declared else ()


def _compared(table: ScoreTable, comparisons: Sequence[Comparison]) -> Iterator[Row]:
    """A row for each contrast, by its name."""
    methods = {row.key: row for row in table.rows}
    contrasts: dict[tuple[str, str, str], list[Comparison]] = {}
    for found in comparisons:
        contrasts.setdefault((found.heading, found.row, found.reference), []).append(found)
    for (about, row, _), alike in contrasts.items():
        cells = {MEASURES[each.measure].cell(each.column): _difference(each) for each in alike}
        if _about(table):
            cells = {"about": Cell(about or None), **cells}
        keys = {
            "method": methods[row].method,
            "curvature": methods[row].curvature,
            "reference": alike[0].reference_label,
        }
        yield Row((alike[0].name,), cells, signed=True, keys=keys)


def _difference(found: Comparison) -> Cell:
    return Cell(
        value=found.difference,
        low=found.low,
        high=found.high,
        n=found.n,
        p=found.p_holm,
        verdict=found.verdict,
        runs=tuple(RunValue(seed, value) for seed, value in found.by_seed.items()),
        why=found.why,
    )


def _comparison_notes(
    table: ScoreTable, measure: Measure, comparisons: Sequence[Comparison]
) -> Iterator[str]:
    """What was compared and how, and what was not compared."""
    main = [found for found in comparisons if found.column == table.main]
    if any(found.difference is not None for found in main):
        better = "; below 0 the row is better" if measure.lower_is_better else ""
        yield f"Differences are in {measure.unit}, with the same seeds and the same items{better}."
    tested = [found for found in comparisons if found.p is not None]
    if tested:
        declared = table.selection.spec.comparisons
        asked = "the sweep file's comparisons" if declared else "all rows with their reference"
        sizes = Counter(found.column == table.main for found in tested)
        the = "the " if table.averages else ""
        families = f"{asked} on {the}{table.labels[table.main]} ({sizes[True]})"
        if sizes[False]:
            families = f"two families: {families}; on single benchmarks ({sizes[False]})"
        yield f"{TEST} Holm's correction is over {families}."
        yield from _power([found for found in tested if found.column == table.main], measure)
    if paired := [found.name for found in main if found.paired_runs]:
        yield (
            "Runs with the same seed give similar answers, so the test also pairs the runs, for "
            f"{', '.join(paired)}."
        )
    reasons: dict[str, list[str]] = {}
    for found in main:
        if found.why:
            prefix = NOT_COMPARED if found.verdict == NOT_COMPARED else "no test"
            reasons.setdefault(f"{prefix}, {found.why}", []).append(found.name)
    for reason, names in reasons.items():
        yield f"{', '.join(names)}: {reason}."


def _power(comparisons: Sequence[Comparison], measure: Measure) -> Iterator[str]:
    """What the comparisons on `ScoreTable.main` could have found."""
    known = [(found.detectable, found) for found in comparisons if found.detectable is not None]
    if not known:
        return
    (low, easy), (high, hard) = (end(known, key=lambda pair: pair[0]) for end in (min, max))
    least = f"{number(low, measure.format)} {measure.unit}"
    if easy is not hard:
        most = number(high, measure.format)
        least = (
            f"{number(low, measure.format)} ({easy.name}) to {most} {measure.unit} ({hard.name})"
        )
    seeds = ", ".join(map(str, sorted({len(found.seeds) for _, found in known})))
    yield (
        f"Power: with {seeds} seeds and {easy.n} independent items, a comparison of this family "
        f"detects a difference of {least} with a probability of 80%, if runs vary as much as the "
        "upper 80% confidence bound of their variance. Smaller differences can be missed."
    )


def _cost(table: ScoreTable) -> Table:
    rows = []
    for row in table.rows:
        values = {
            "runs": len(row.records),
            "trainable": row.trainable,
            "trainable_percent": row.trainable_percent,
            "format_rate": row.format_rate,
            "finetune_seconds": row.mean_seconds("finetune"),
            "evaluate_seconds": row.mean_seconds("evaluate"),
        }
        rows.append(_row(row, {key: Cell(value) for key, value in values.items()}))
    devices = dict.fromkeys(run["device"] for run in table.selection.records)
    return Table(
        key="cost",
        heading="Size, valid format and rough times",
        columns=COST,
        rows=tuple(rows),
        notes=(
            "Valid format: share of the answers in the requested format, mean over runs.",
            f"Times: means over runs, on a shared machine ({'; '.join(devices)}): rough values, "
            "not a measurement of speed.",
        ),
    )

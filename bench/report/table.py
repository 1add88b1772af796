"""A table, built from records."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.names import method_label
from bench.report.compare import Comparison, compare
from bench.report.curvatures import curvature_notes
from bench.report.data_files import data_file_notes
from bench.report.forgetting import forgetting_notes
from bench.report.guesses import Guess, guess_notes, guesses
from bench.report.overlap import overlap_notes
from bench.report.published import Published
from bench.report.records import Record, group, select, setting
from bench.report.rows import Cell, Column, Row, SeedValue, columns_of, row_of
from bench.report.spec import AVERAGES, METRICS, TableSpec
from bench.report.statistics import BesideReference, beside, outcomes_of, with_intervals

__all__ = ["Cell", "Column", "Row", "SeedValue", "Table", "build"]


@dataclass(frozen=True)
class Table:
    """A table with everything it was made from; figures are unrounded, accuracies in percent.

    Attributes:
        note: Where the table stands in the paper.
        model: The base, as the runs call it.
        averages: `micro` and `macro`, the one that rows are judged by first; nothing if no set
            counts in them.
        guesses: What can be scored without a model, in a table of accuracies.
        devices: What the runs ran on.
        commits: Number of runs by git commit.
        dirty: Number of runs from a working tree with uncommitted changes.
        notes: What a reader must know of the cells.
        comparison: The paper's figures beside ours; None without a published counterpart.
        beside: Each row against LoRA, and against LoRA at HypLoRA's scale, with verdicts; empty
            where the table has no row to set the others against.
    """

    name: str
    title: str
    note: str
    metric: str
    model: str
    published_base: str | None
    data: str
    protocol: str
    columns: tuple[Column, ...]
    averages: tuple[str, ...]
    rows: tuple[Row, ...]
    devices: tuple[str, ...]
    commits: dict[str, int]
    dirty: int
    notes: tuple[str, ...]
    comparison: Comparison | None
    guesses: tuple[Guess, ...] = ()
    beside: tuple[BesideReference, ...] = ()


def build(records: Iterable[Record], spec: TableSpec, published: Published | None = None) -> Table:
    """Build a table: rows are methods (and curvatures), columns the benchmarks scored.

    Args:
        records: Finished runs as plain dictionaries. Of two with one identity the first counts.
        spec: Name, title, metric and averages of the table.
        published: The published figures to set beside ours.

    Raises:
        ValueError: There are no records, they disagree on base, data or protocol, or the runs of
            a row differ in more than their seed.
    """
    runs = select(records)
    columns = columns_of(runs, spec)
    if not columns:
        raise ValueError("none of the runs holds a score: evaluate on at least one benchmark")
    groups = group(runs, spec.apart)
    labels = row_labels(groups, spec)
    rows = tuple(
        row_of(members, label, columns, spec.metric)
        for members, label in zip(groups, labels, strict=True)
    )
    guessed = guesses(columns) if spec.metric == "accuracy" else ()
    differences: tuple[BesideReference, ...] = ()
    if spec.metric == "accuracy":  # outcomes are of answers right or wrong
        keys = [column.key for column in columns]
        outcomes = [outcomes_of(members, keys) for members in groups]
        rows = with_intervals(rows, columns, outcomes)
        differences = beside(rows, columns, outcomes, spec.apart, spec.judged_by)
    first = runs[0]
    base = first.get("published_base")
    return Table(
        name=spec.name,
        title=spec.title,
        note=spec.note,
        metric=spec.metric,
        model=first["model"],
        published_base=base,
        data=first["data"] + (", validation rows" if first.get("split") == "validation" else ""),
        protocol=first["protocol"],
        columns=columns,
        averages=_averages(spec) if any(column.averaged for column in columns) else (),
        rows=rows,
        devices=tuple(dict.fromkeys(run.get("device") or "unknown" for run in runs)),
        commits=dict(Counter((run.get("git") or {}).get("commit") or "unknown" for run in runs)),
        dirty=sum(bool((run.get("git") or {}).get("dirty")) for run in runs),
        notes=(
            *spec.remarks,
            *_verdictless(rows, differences, spec),
            *_notes(rows, columns, spec.metric),
            *curvature_notes(groups, labels),
            *guess_notes(guessed, columns),
            *data_file_notes(runs),
            *overlap_notes(runs, {column.key: column.label for column in columns}),
            *forgetting_notes(groups, labels),
        ),
        comparison=compare(rows, columns, base, published) if published else None,
        guesses=guessed,
        beside=differences,
    )


def _averages(spec: TableSpec) -> tuple[str, ...]:
    return (spec.judged_by, *(other for other in AVERAGES if other != spec.judged_by))


def row_labels(groups: Sequence[Sequence[Record]], spec: TableSpec) -> list[str]:
    """What each row is called; a curvature is named where a method has several.

    Args:
        groups: The runs of each row, of which the first says what all are.
        spec: Of the table.
    """
    curvatures: dict[str, set[float | str | None]] = {}
    for members in groups:
        curvatures.setdefault(members[0]["method"], set()).add(members[0].get("curvature"))
    labels = []
    for members in groups:
        first = members[0]
        details = [
            name
            for option, values in spec.apart.items()
            for name, value in values.items()
            if value == setting(first, option)
        ]
        several = len(curvatures[first["method"]]) > 1
        curvature = first.get("curvature") if several else None
        labels.append(method_label(first["method"], curvature, details))
    return labels


def _verdictless(
    rows: Sequence[Row], differences: Sequence[BesideReference], spec: TableSpec
) -> list[str]:
    """Why a table that could have verdicts has none."""
    trained = [row for row in rows if row.method != "none"]
    if differences or len(trained) < 2 or spec.metric != "accuracy":
        return []
    return [
        "No verdicts: there is no LoRA (method=lora) to set the rows against, nor a row with K=1 "
        "of a method with several K."
    ]


def _notes(rows: Sequence[Row], columns: Sequence[Column], metric: str) -> list[str]:
    singles = [row for row in rows if len(row.seeds) == 1]
    several = len(singles) < len(rows)
    notes = [f"{METRICS[metric]} in percent" + _spread(singles, several)]
    averaged = [column.label for column in columns if column.averaged]
    if averaged:
        what = "share of all items together" if metric == "accuracy" else "weighted by items"
        per_seed = "; both for each seed first, then over seeds" if several else ""
        outside = [column.label for column in columns if not column.averaged]
        notes.append(
            f"Micro: {what} (sets weigh by their size); macro: plain mean of the sets{per_seed}."
            + (f" Not in the averages: {', '.join(outside)}." if outside else "")
        )
    labels = {column.key: column.label for column in columns}
    counted = {column.key for column in columns if column.averaged}
    for row in rows:
        for key, seeds in row.unscored.items():
            which = "" if len(seeds) == len(row.seeds) else f" (seed {', '.join(map(str, seeds))})"
            so = " and so no averages, which would be over other sets" if key in counted else ""
            notes.append(f"{row.label} was not scored on {labels[key]}{which}{so}.")
    for column in columns:
        if len(column.items) > 1:
            sizes = [
                f"{row.label} {', '.join(map(str, sorted({v.n for v in cell.values})))}"
                for row in rows
                if (cell := row.cells[column.key]).values
            ]
            notes.append(f"{column.label} had unequal numbers of items: {'; '.join(sizes)}.")
        too_long = {
            row.label: sum(value.too_long or 0 for value in row.cells[column.key].values)
            for row in rows
        }
        if any(too_long.values()):
            found = ", ".join(f"{label} {count}" for label, count in too_long.items() if count)
            notes.append(f"{column.label}, problems over the length limit, all seeds: {found}.")
    return notes


def _spread(singles: Sequence[Row], several: bool) -> str:
    if not several:
        return "; every row is a single run, so there are no deviations."
    text = ": mean ± sample standard deviation over seeds."
    if singles:
        names = ", ".join(
            f"{row.label} (nothing is trained)" if row.method == "none" else row.label
            for row in singles
        )
        text += f" No ± means a single run: {names}."
    return text

"""From runs to rows: means and deviations over seeds, micro and macro averages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from bench.names import key_of
from bench.report.overlap import marked_columns
from bench.report.records import Record, training_settings
from bench.report.spec import AVERAGES, TableSpec


@dataclass(frozen=True)
class Column:
    """A benchmark.

    Attributes:
        items: The sizes it was scored with, ascending; more than one if runs differ.
        chance: Accuracy of guessing, in percent, where that is defined.
        majority: Accuracy of always giving the most frequent gold answer, in percent; None where
            the records do not say, or were not made on the same rows.
        majority_answer: That answer.
        rules: By which answers were read, with their versions; more than one if runs differ.
        averaged: Whether it counts in the averages.
        trained_on: Whether some of its rows stand in rows that were trained on.
    """

    key: str
    label: str
    items: tuple[int, ...]
    chance: float | None
    averaged: bool
    trained_on: bool = False
    majority: float | None = None
    majority_answer: str | None = None
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeedValue:
    """What one run scored: percent, and the items it was scored on."""

    seed: int | None
    value: float
    n: int
    correct: int | None = None
    format_rate: float | None = None
    too_long: int | None = None


@dataclass(frozen=True)
class Cell:
    """A benchmark or an average of one row, in percent.

    Attributes:
        mean: Mean over runs; None for an empty cell.
        sd: Sample standard deviation over runs (n - 1); None for a single run.
        seeds: Number of runs.
        n: Items each run answered; None if empty, or if the runs differ.
        values: What each run scored.
        why: Why the cell is empty.
        low: Lower end of the mean's 95% interval, over seeds and items; over items alone for a
            single run; None where the records do not say which rows were answered correctly.
        high: Upper end.
    """

    mean: float | None
    sd: float | None
    seeds: int
    n: int | None
    values: tuple[SeedValue, ...] = ()
    why: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """A method, at one curvature, over its seeds.

    Attributes:
        cells: By key of a benchmark, `micro` or `macro`.
        trainable: Number of trainable parameters.
        trainable_percent: Their share of all parameters.
        finetune_seconds: Mean wall time of fine-tuning; None where nothing was trained.
        evaluate_seconds: Mean wall time of evaluation.
        format_rate: Percent of all answers in the form that was asked for, mean over runs.
        train: Training settings of its runs, less what changes no result.
        options: The method's own settings.
        training_rows: Rows that were trained on, the same in all its runs.
        training_rows_too_long: Rows left out because the model's context is shorter.
        padding: Share of the positions in training that was padding, 0 to 1.
        unscored: For each benchmark that a run lacks, the seeds of those runs.
    """

    method: str
    curvature: float | str | None
    label: str
    seeds: tuple[int | None, ...]
    cells: dict[str, Cell]
    trainable: int | None
    trainable_percent: float | None
    finetune_seconds: float | None
    evaluate_seconds: float | None
    format_rate: float | None
    train: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    training_rows: int | None = None
    training_rows_too_long: int | None = None
    padding: float | None = None
    unscored: dict[str, tuple[int | None, ...]] = field(default_factory=dict)
    run_ids: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()


def columns_of(records: Sequence[Record], spec: TableSpec) -> tuple[Column, ...]:
    """The benchmarks found in the records, in order of appearance; case does not count."""
    outside = {key_of(key) for key in spec.outside_averages}
    trained_on = marked_columns(records)
    found: dict[str, tuple[str, list[dict[str, Any]]]] = {}
    for record in records:
        for key, score in record["scores"].items():
            found.setdefault(key_of(key), (key, []))[1].append(score)
    columns = []
    for folded, (key, scores) in found.items():
        chances = [s["chance"] for s in scores if s.get("chance") is not None]
        items = tuple(sorted({score["n"] for score in scores}))
        frequent = {(m["accuracy"], m["answer"]) for s in scores if (m := s.get("majority"))}
        same_rows = len(items) == 1 and len(frequent) == 1
        majority, majority_answer = frequent.pop() if same_rows else (None, None)
        columns.append(
            Column(
                key=key,
                label=scores[0].get("label") or key,
                items=items,
                chance=chances[0] if chances else None,
                averaged=folded not in outside,
                trained_on=folded in trained_on,
                majority=majority,
                majority_answer=majority_answer,
                rules=tuple(dict.fromkeys(s["rule"] for s in scores if s.get("rule"))),
            )
        )
    return tuple(columns)


def row_of(runs: Sequence[Record], label: str, columns: Sequence[Column], metric: str) -> Row:
    """Aggregate the runs of one row, given in order of their seeds.

    Averages are taken for each run first and then over runs, so that their deviation is that of
    the average itself. They are left empty when any run lacks a set: averages over different
    sets look alike and cannot be compared.
    """
    first = runs[0]
    scores = {column.key: [_value(run, column.key, metric) for run in runs] for column in columns}
    cells = {key: _cell(values) for key, values in scores.items()}
    unscored = {
        key: tuple(run.get("seed") for run, value in zip(runs, values, strict=True) if not value)
        for key, values in scores.items()
        if not all(values)
    }
    averaged = [column.key for column in columns if column.averaged]
    lacking = [column.label for column in columns if column.averaged and column.key in unscored]
    for kind in AVERAGES if averaged else ():
        if lacking:
            why = f"{', '.join(lacking)} not scored in every run"
            cells[kind] = Cell(None, None, 0, None, why=why)
        else:
            per_run = zip(*(scores[key] for key in averaged), strict=True)
            cells[kind] = _cell([_average(kind, values) for values in per_run])
    parameters = first.get("parameters") or {}
    trainable, total = parameters.get("trainable"), parameters.get("total")
    return Row(
        method=first["method"],
        curvature=first.get("curvature"),
        label=label,
        seeds=tuple(run.get("seed") for run in runs),
        cells=cells,
        trainable=trainable,
        trainable_percent=100 * trainable / total if trainable is not None and total else None,
        finetune_seconds=_mean((run.get("seconds") or {}).get("finetune") for run in runs),
        evaluate_seconds=_mean((run.get("seconds") or {}).get("evaluate") for run in runs),
        format_rate=_mean(_format_rate(run) for run in runs),
        train=training_settings(first),
        options=dict(first.get("options") or {}),
        training_rows=(first.get("rows") or {}).get("train"),
        training_rows_too_long=(first.get("rows") or {}).get("train_too_long"),
        padding=_mean((run.get("training") or {}).get("padding") for run in runs),
        unscored=unscored,
        run_ids=tuple(run.get("run_id", "") for run in runs),
        identities=tuple(run["identity"] for run in runs),
    )


def _value(run: Record, key: str, metric: str) -> SeedValue | None:
    for name, score in run["scores"].items():
        if key_of(name) == key_of(key) and score.get(metric) is not None and score["n"]:
            return SeedValue(
                seed=run.get("seed"),
                value=score[metric],
                n=score["n"],
                correct=score.get("correct") if metric == "accuracy" else None,
                format_rate=score.get("format_rate"),
                too_long=score.get("too_long"),
            )
    return None


def _average(kind: str, values: Sequence[SeedValue]) -> SeedValue:
    n = sum(value.n for value in values)
    counts = [value.correct for value in values if value.correct is not None]
    correct = None
    if kind == "macro":
        average = fmean(value.value for value in values)
    elif len(counts) == len(values):
        correct = sum(counts)
        average = 100 * correct / n
    else:
        average = sum(value.value * value.n for value in values) / n
    return SeedValue(seed=values[0].seed, value=average, n=n, correct=correct)


def _cell(values: Sequence[SeedValue | None]) -> Cell:
    present = tuple(value for value in values if value is not None)
    if not present:
        return Cell(None, None, 0, None, why="no run scored this set")
    sizes = {value.n for value in present}
    return Cell(
        mean=fmean(value.value for value in present),
        sd=stdev(value.value for value in present) if len(present) > 1 else None,
        seeds=len(present),
        n=sizes.pop() if len(sizes) == 1 else None,
        values=present,
    )


def _format_rate(run: Record) -> float | None:
    known = [s for s in run["scores"].values() if s.get("format_rate") is not None and s["n"]]
    if not known:
        return None
    return sum(s["format_rate"] * s["n"] for s in known) / sum(s["n"] for s in known)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None

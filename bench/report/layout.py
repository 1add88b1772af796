"""Results as sections of plain text, the same for Markdown and for the terminal."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.names import curvature_label
from bench.report.compare import BesideCell, Comparison
from bench.report.guesses import Guess
from bench.report.overlap import MARK
from bench.report.published import PARAMS
from bench.report.rows import Cell, Column, Row
from bench.report.statistics.differences import BesideReference
from bench.report.statistics.wording import (
    beside_grid,
    intervals_grid,
    intervals_notes,
    sets_grid,
)
from bench.report.table import Table

EMPTY = "-"
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
TAIL = re.compile("( ?± ?.*|[⁰¹²³⁴⁵⁶⁷⁸⁹,]*)$")


@dataclass(frozen=True)
class Section:
    """A heading, a grid of text (the first `names` columns are names, the rest figures), notes."""

    heading: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    names: int = 1


@dataclass(frozen=True)
class Document:
    """A title, what was compared, and the sections in reading order."""

    title: str
    facts: dict[str, str]
    sections: tuple[Section, ...]


def tail(text: str) -> str:
    """What stands behind the number in a cell: a deviation, or the marks of footnotes."""
    return text[len(TAIL.sub("", text, count=1)) :]


def document(table: Table) -> Document:
    """A table as a document."""
    return Document(table.title, facts(table), tuple(sections(table)))


def facts(table: Table) -> dict[str, str]:
    """What was compared: base, data, protocol, items, seeds and what the rows share."""
    sizes = ", ".join(f"{c.label} {' or '.join(map(str, c.items))}" for c in table.columns)
    found = {
        "Table": f"{table.name} ({table.note})" if table.note else table.name,
        "Base": table.model,
        "Data": table.data,
        "Protocol": table.protocol,
        "Items": sizes,
        "Seeds": _seeds(table.rows),
    }
    rules = [(column.label, " and ".join(column.rules)) for column in table.columns if column.rules]
    if rules:
        found["Answers read by"] = _by_value(rules)
    if table.published_base:
        found["Base"] += f" ({table.published_base} in the paper)"
    # A row that shares its method with other curvatures has K in its label already.
    curvatures = [
        (row.label, curvature_label(row.curvature))
        for row in table.rows
        if row.curvature is not None and "K=" not in row.label
    ]
    if curvatures:
        found["Curvature"] = _by_value(curvatures)
    trained = [row for row in table.rows if row.train]
    if trained:
        found["Trained on"] = _by_value((row.label, _training_rows(row)) for row in trained)
        found |= _settings("Training", [(row.label, row.train) for row in trained])
        options = [
            (r.label, {k: v for k, v in r.options.items() if k != "curvature"}) for r in trained
        ]
        found |= _settings("Adapter", options)
    return found


def _training_rows(row: Row) -> str:
    text = f"{row.training_rows} rows, {row.training_rows_too_long} left out as too long"
    return text if row.padding is None else f"{text}, {row.padding:.0%} padding"


def _settings(title: str, rows: list[tuple[str, dict[str, Any]]]) -> dict[str, str]:
    """A line of the settings that all rows share, then one for each that tells them apart.

    A setting that not every row has (a curvature, a norm scale) belongs to its method and is left
    to the record.
    """
    names = [name for name in rows[0][1] if all(name in settings for _, settings in rows)]
    lines = {n: _by_value((label, _plain(settings[n])) for label, settings in rows) for n in names}
    shared = {n for n in names if len({_plain(settings[n]) for _, settings in rows}) == 1}
    found = {title: ", ".join(f"{n} {lines[n]}" for n in names if n in shared)} if shared else {}
    return found | {n: lines[n] for n in names if n not in shared}


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def sections(table: Table) -> list[Section]:
    """The parts of a table in reading order: scores, verdicts, cost, the paper's figures."""
    parts = [_scores(table), *_intervals(table)]
    for found in table.beside:
        parts += _beside_reference(found, table.columns)
    parts.append(_cost(table))
    if table.comparison:
        parts.append(_beside(table.comparison))
    return parts


def mean_sd(cell: Cell | None) -> str:
    """`94.0 ± 0.8`; `94.0` for a single run, `-` for an empty cell."""
    if cell is None or cell.mean is None:
        return EMPTY
    return f"{cell.mean:.1f}" + (f" ± {cell.sd:.1f}" if cell.sd is not None else "")


def _scores(table: Table) -> Section:
    keys = [column.key for column in table.columns] + list(table.averages)
    labels = [_head(column) for column in table.columns]
    labels += [average.capitalize() for average in table.averages]
    shown: list[Row | Guess] = [*table.rows, *table.guesses]
    return Section(
        heading="",
        header=("Method", *labels),
        rows=tuple((row.label, *(mean_sd(row.cells.get(key)) for key in keys)) for row in shown),
        notes=(*table.notes, _commits(table)),
    )


def _intervals(table: Table) -> list[Section]:
    keys = [column.key for column in table.columns] + list(table.averages)
    labels = [column.label for column in table.columns]
    labels += [average.capitalize() for average in table.averages]
    grid = intervals_grid(table.rows, keys, labels)
    if grid is None:
        return []
    return [Section("95% intervals", *grid, notes=intervals_notes(table.rows))]


def _beside_reference(found: BesideReference, columns: Sequence[Column]) -> list[Section]:
    """Verdicts on the average, then on each benchmark; a verdict stands beside its name."""
    main = found.differences[0].key
    label = {column.key: column.label for column in columns}.get(main, f"{main} average")
    parts = [Section(f"{found.heading}: {label}", *beside_grid(found, main), found.notes, names=2)]
    header, rows = sets_grid(found, [column for column in columns if column.key != main])
    if rows:
        parts.append(Section(f"{found.heading}: each benchmark", header, rows))
    return parts


def _head(column: Column) -> str:
    mark = MARK if column.trained_on else ""
    chance = "" if column.chance is None else f" (chance {column.chance:.0f})"
    return f"{column.label}{mark}{chance}"


def _cost(table: Table) -> Section:
    rows = tuple(
        (
            row.label,
            str(len(row.seeds)),
            _text(row.trainable, ","),
            _text(row.trainable_percent, ".2f", "%"),
            _text(row.format_rate, ".1f", "%"),
            _rough(row.finetune_seconds),
            _rough(row.evaluate_seconds),
        )
        for row in table.rows
    )
    return Section(
        heading="Size, form and rough times",
        header=("Method", "Runs", "Trainable", "Share", "In form", "Fine-tuning", "Evaluation"),
        rows=rows,
        notes=(
            "In form: answers in the form that was asked for, of all answers, mean over runs.",
            f"Times: means over runs, taken on a shared machine ({'; '.join(table.devices)}). "
            "Read them as rough; they are no measurement of speed.",
        ),
    )


def _beside(beside: Comparison) -> Section:
    bases = ", ".join(beside.bases)
    if beside.base is None:
        note = f"The paper ({beside.numbering}) has no rows for this base; it has {bases}."
        return Section(heading="Beside the paper", notes=(note,))
    marks = {place: _marks(numbers) for place, numbers in beside.marks.items()}
    heading = f"Beside the paper: {beside.base}{marks.get(beside.base, '')}, {beside.numbering}"
    header = tuple(label + marks.get(key, "") for key, label in beside.columns.items())
    rows = []
    for row in beside.rows:
        cells = row.cells.items()
        origin = "paper" if row.origin == "paper" else f"paper, {row.origin}"
        papers = (_points(key, cell.paper) + _marks(cell.marks) for key, cell in cells)
        rows.append((row.label + _marks(row.marks), origin, *papers))
        rows.append(("", "ours", *(_points(key, cell.ours) for key, cell in cells)))
        rows.append(("", "difference", *(_difference(key, cell) for key, cell in cells)))
    notes = ["Percent; differences are ours less the paper's, in points."] if rows else []
    if not rows:
        notes.append("No method was run that the paper has for this base.")
    notes += beside.lines
    for base, values in beside.references.items():
        figures = ", ".join(
            f"{beside.columns[key]} {value:.1f}"
            for key, value in values.items()
            if value is not None
        )
        notes.append(f"For orientation, {base}{marks.get(base, '')} in the paper: {figures}.")
    notes += [f"{_marks((number,))} {text}" for number, text in enumerate(beside.footnotes, 1)]
    return Section(heading, ("Method", "", *header), tuple(rows), tuple(notes), names=2)


def _seeds(rows: Iterable[Row]) -> str:
    pairs = []
    for row in rows:
        seeds = ", ".join(str(seed) for seed in row.seeds if seed is not None)
        pairs.append((row.label, seeds or "one run, no seed"))
    return _by_value(pairs)


def _by_value(pairs: Iterable[tuple[str, str]]) -> str:
    """The value that most rows share, then the rows that have another."""
    labels: dict[str, list[str]] = {}
    for label, value in pairs:
        labels.setdefault(value, []).append(label)
    common = max(labels, key=lambda value: len(labels[value]))
    total = sum(map(len, labels.values()))
    if 2 * len(labels[common]) <= total and len(labels) > 1:
        return "; ".join(f"{', '.join(names)}: {value}" for value, names in labels.items())
    others = [f"{', '.join(names)}: {value}" for value, names in labels.items() if value != common]
    return common + (f" ({'; '.join(others)})" if others else "")


def _commits(table: Table) -> str:
    total = sum(table.commits.values())
    listed = ", ".join(
        commit[:10] + (f" ({runs} of {total} runs)" if runs < total else "")
        for commit, runs in table.commits.items()
    )
    if len(table.commits) > 1:
        text = f"Made from commits {listed}: the code may differ between rows."
    else:
        text = f"Made from commit {listed}."
    if table.dirty:
        text += f" {table.dirty} of {total} runs had uncommitted changes in the working tree."
    return text


def _text(value: float | None, form: str, unit: str = "") -> str:
    return EMPTY if value is None else format(value, form) + unit


def _rough(seconds: float | None) -> str:
    if seconds is None:
        return EMPTY
    if seconds < 120:
        return f"~{seconds:.0f} s"
    return f"~{seconds / 60:.0f} min" if seconds < 7200 else f"~{seconds / 3600:.1f} h"


def _points(key: str, value: float | None) -> str:
    return _text(value, "z.2f" if key == PARAMS else "z.1f")


def _difference(key: str, cell: BesideCell) -> str:
    return _text(cell.difference, "+z.2f" if key == PARAMS else "+z.1f")


def _marks(numbers: Iterable[int]) -> str:
    return ",".join(str(number).translate(SUPERSCRIPTS) for number in numbers)

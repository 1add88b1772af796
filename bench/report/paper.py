"""A table's rows against those that the paper has for the same base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.report.names import key_of, method_label
from bench.report.published import PARAMS, Footnote, Published, PublishedRow
from bench.report.scores import Benchmark, ScoreRow, ScoreTable
from bench.report.tables import Cell, Column, Row, Table

Notes = Sequence[tuple[int, Footnote]]


def paper_table(table: ScoreTable, published: Published) -> Table:
    """For each row and each published row of its method: the paper's numbers, ours, the difference.

    Args:
        table: with our rows.
        published: the paper's table.
    """
    base = table.rows[0].first["published_base"]
    theirs = published.rows_of(base) if base else ()
    if not theirs:
        note = (
            f"The paper ({published.numbering}) has no rows for this base; it has "
            f"{', '.join(published.bases)}."
        )
        return Table("paper", "vs. the paper", notes=(note,))
    benchmarks = {
        key: found
        for key in published.items
        for found in table.benchmarks
        if key_of(found.key) == key_of(key)
    }
    labels = {key: found.label for key, found in benchmarks.items()}
    if benchmarks:
        labels |= {kind: f"{label} ({kind})" for kind, label in published.averages.items()}
    if any(row.values[PARAMS] is not None for row in theirs):
        labels[PARAMS] = "Trainable %"
    references = [row for row in published.rows if row.reference]
    notes = _notes(theirs, references, labels, published)
    marks = _marks(theirs[0].base, references, labels, notes)
    unlike = _unlike_averages(benchmarks, table.benchmarks, published)
    keys = {key: found.key for key, found in benchmarks.items()}
    rows = [
        shown
        for ours in table.rows
        for paper in theirs
        if paper.method == ours.method and paper.curvature in (None, ours.curvature)
        for shown in _rows(ours, paper, labels, keys, unlike, notes)
    ]
    text = "Percent; differences (ours minus the paper's) in percentage points."
    return Table(
        key="paper",
        heading=f"vs. the paper: {theirs[0].base}, {published.numbering}",
        columns=tuple(
            Column(key, label, "z.2f" if key == PARAMS else "z.1f", marks=marks.get(key, ()))
            for key, label in labels.items()
        ),
        rows=(
            *rows,
            *(
                Row((row.base, "paper"), _cells(row, labels), marks.get(row.base, ()))
                for row in references
            ),
        ),
        names=("Method", ""),
        notes=(
            text if rows else "None of the paper's methods for this base was run.",
            *_limits(table.rows, theirs, benchmarks, labels, unlike, published),
        ),
        footnotes=tuple(_worded(note, labels) for _, note in notes),
        grouped=True,
        marks=marks.get(theirs[0].base, ()),
    )


def _rows(
    ours: ScoreRow,
    paper: PublishedRow,
    labels: Mapping[str, str],
    keys: Mapping[str, str],
    unlike: Mapping[str, str],
    notes: Notes,
) -> Iterator[Row]:
    """The paper's row, ours, and the difference."""
    own = [
        (number, note)
        for number, note in notes
        if paper.method in note.methods
        and (not note.bases or paper.base in note.bases)
        and (not note.origins or paper.origin in note.origins)
    ]
    origin = "paper" if paper.origin == "paper" else f"paper, {paper.origin}"
    general = tuple(number for number, note in own if not note.columns)
    mine, differences = {}, {}
    for column in labels:
        cell = (
            Cell(ours.trainable_percent)
            if column == PARAMS
            else ours.cells.get(keys.get(column, column), Cell(why="not scored"))
        )
        value, published = cell.value, paper.values[column]
        mine[column] = Cell(value, n=cell.n, why=cell.why)
        if column in unlike or published is None or not isinstance(value, float):
            why = unlike.get(column) or paper.missing.get(column, "") or cell.why
            differences[column] = Cell(why=why)
        else:
            differences[column] = Cell(value - published)
    for name, cells, marks in (
        (origin, _cells(paper, labels, own), general),
        ("ours", mine, ()),
        ("difference", differences, ()),
    ):
        identity = {"method": ours.method, "curvature": ours.curvature}
        yield Row((ours.label, name), cells, marks, signed=name == "difference", keys=identity)


def _cells(row: PublishedRow, labels: Mapping[str, str], notes: Notes = ()) -> dict[str, Cell]:
    return {
        column: Cell(
            row.values[column],
            marks=tuple(number for number, note in notes if column in note.columns),
            why=row.missing.get(column, ""),
        )
        for column in labels
    }


def _unlike_averages(
    pairs: Mapping[str, Benchmark], benchmarks: Sequence[Benchmark], published: Published
) -> dict[str, str]:
    """Why an average of ours is not the paper's, by average; empty if they can be compared."""
    wanted = ", ".join(f"{key} {n}" for key, n in published.items.items())
    averaged = {key_of(found.key) for found in benchmarks if found.averaged}
    if averaged != {key_of(key) for key in published.items}:
        reason = f"the paper's is over {len(published.items)} sets ({wanted}), ours over others"
        return {kind: reason for kind in published.averages}
    same_sizes = all(pairs[key].items == n for key, n in published.items.items())
    if "micro" in published.averages and not same_sizes:
        return {"micro": f"the paper's is weighted by its set sizes ({wanted}), ours by others"}
    return {}


def _notes(
    theirs: Sequence[PublishedRow],
    references: Sequence[PublishedRow],
    labels: Mapping[str, str],
    published: Published,
) -> Notes:
    """The footnotes that concern the base shown, numbered from 1."""
    bases = {row.base for row in (*theirs, *references)}
    chosen = [
        note
        for note in published.footnotes
        if (not note.bases or bases & set(note.bases))
        and (not note.columns or set(labels) & set(note.columns))
    ]
    return list(enumerate(chosen, start=1))


def _marks(
    base: str, references: Sequence[PublishedRow], labels: Mapping[str, str], notes: Notes
) -> dict[str, tuple[int, ...]]:
    """Where the footnotes on no single method go: to a column, the base or a reference."""
    marks: dict[str, tuple[int, ...]] = {}
    for number, note in notes:
        if note.methods:
            continue
        if not note.bases or base in note.bases:
            places = [key for key in note.columns if key in labels] or [base]
        else:
            places = [row.base for row in references if row.base in note.bases]
        for place in places:
            marks[place] = (*marks.get(place, ()), number)
    return marks


def _worded(note: Footnote, labels: Mapping[str, str]) -> str:
    methods = ", ".join(method_label(method) for method in note.methods)
    columns = ", ".join(labels[column] for column in note.columns if column in labels)
    concerns = "; ".join(filter(None, (methods, *note.origins, columns)))
    return f"{concerns}: {note.text}" if concerns else note.text


def _limits(
    rows: Sequence[ScoreRow],
    theirs: Sequence[PublishedRow],
    pairs: Mapping[str, Benchmark],
    labels: Mapping[str, str],
    unlike: Mapping[str, str],
    published: Published,
) -> Iterator[str]:
    """What limits the comparison."""
    yield f"The paper's numbers: {published.runs}."
    other = [
        f"{found.label} {found.items} (paper {published.items[key]})"
        for key, found in pairs.items()
        if found.items != published.items[key]
    ]
    if other:
        yield (
            f"Not the paper's test items, or only some of them: {', '.join(other)}. These "
            "differences are rough."
        )
    for kind, reason in unlike.items():
        if kind in labels:
            yield f"{published.averages[kind]}: no difference, {reason}."
    empty = {
        f"In the paper, {method_label(row.method)} has no {labels[column]}: {reason}."
        for row in theirs
        for column, reason in row.missing.items()
        if column in labels and any(ours.method == row.method for ours in rows)
    }
    yield from sorted(empty)
    ours, paper = (dict.fromkeys(row.method for row in group) for group in (rows, theirs))
    for title, have, lack in (("In the paper only", paper, ours), ("Ours only", ours, paper)):
        only = [method_label(method) for method in have if method not in lack]
        if only:
            yield f"{title}: {', '.join(only)}."

"""Our rows beside the published ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.names import key_of, method_label
from bench.report.published import PARAMS, Footnote, Published, PublishedRow
from bench.report.rows import Column, Row


@dataclass(frozen=True)
class BesideCell:
    """A published figure and ours, in percent; None where there is none.

    Attributes:
        difference: Ours less the paper's, in points; None where the two cannot be compared.
        why: Why a figure or the difference is missing.
        marks: Numbers of the footnotes on this figure.
    """

    paper: float | None
    ours: float | None
    difference: float | None
    why: str = ""
    marks: tuple[int, ...] = ()


@dataclass(frozen=True)
class BesideRow:
    """One of our rows beside one published row of the same method; `cells` by column."""

    method: str
    curvature: float | str | None
    label: str
    origin: str
    cells: dict[str, BesideCell]
    marks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A table beside its published counterpart.

    Attributes:
        numbering: The published table's number in the paper.
        base: The base as the paper calls it; None if the paper has no rows for ours.
        bases: All bases that the paper has.
        columns: Label by column shared with the paper.
        marks: Numbers of the footnotes on whole columns, the base, or a reference, by its name.
        references: The paper's rows for orientation, percent by column.
        footnotes: What to know of the published figures; the first has number 1.
        lines: What limits the comparison.
    """

    numbering: str
    base: str | None
    bases: tuple[str, ...]
    columns: dict[str, str]
    rows: tuple[BesideRow, ...] = ()
    marks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    references: dict[str, dict[str, float | None]] = field(default_factory=dict)
    footnotes: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


def compare(
    rows: Sequence[Row], columns: Sequence[Column], base: str | None, published: Published
) -> Comparison:
    """Set our rows beside those that the paper has for the same base.

    Args:
        rows: Our rows.
        columns: Our benchmarks.
        base: The base as the paper calls it, or None for one that the paper does not have.
        published: The published table.
    """
    theirs = published.rows_of(base) if base else ()
    if not theirs:
        return Comparison(published.numbering, None, published.bases, {})
    pairs = {
        key: ours for key in published.items for ours in columns if key_of(ours.key) == key_of(key)
    }
    labels = {key: ours.label for key, ours in pairs.items()}
    if pairs:
        labels |= {kind: f"{label} ({kind})" for kind, label in published.averages.items()}
    if any(row.values[PARAMS] is not None for row in theirs):
        labels[PARAMS] = "Trainable %"
    unlike = _unlike_averages(pairs, columns, published)
    references = [row for row in published.rows if row.reference]
    notes = _notes_on(theirs, references, labels, published)
    shown = tuple(
        _beside(ours, paper, labels, {k: c.key for k, c in pairs.items()}, unlike, notes)
        for ours in rows
        for paper in theirs
        if paper.method == ours.method and paper.curvature in (None, ours.curvature)
    )
    return Comparison(
        numbering=published.numbering,
        base=theirs[0].base,
        bases=published.bases,
        columns=labels,
        rows=shown,
        marks=_marks_on(theirs[0].base, references, labels, notes),
        references={row.base: {key: row.values[key] for key in labels} for row in references},
        footnotes=tuple(_worded(note, labels) for _, note in notes),
        lines=_limits(rows, theirs, pairs, labels, unlike, published),
    )


def _beside(
    ours: Row,
    paper: PublishedRow,
    labels: dict[str, str],
    keys: dict[str, str],
    unlike: dict[str, str],
    notes: list[tuple[int, Footnote]],
) -> BesideRow:
    mine = [
        (number, note)
        for number, note in notes
        if paper.method in note.methods
        and (not note.bases or paper.base in note.bases)
        and (not note.origins or paper.origin in note.origins)
    ]
    cells = {}
    for column in labels:
        published = paper.values[column]
        if column == PARAMS:
            value, why = ours.trainable_percent, ""
        else:
            cell = ours.cells.get(keys.get(column, column))
            value, why = (cell.mean, cell.why) if cell else (None, "not scored")
        why = paper.missing.get(column, "") or why or unlike.get(column, "")
        difference = None
        if published is not None and value is not None and column not in unlike:
            difference = value - published
        cells[column] = BesideCell(
            paper=published,
            ours=value,
            difference=difference,
            why=why,
            marks=tuple(number for number, note in mine if column in note.columns),
        )
    general = tuple(number for number, note in mine if not note.columns)
    return BesideRow(ours.method, ours.curvature, ours.label, paper.origin, cells, general)


def _unlike_averages(
    pairs: dict[str, Column], columns: Sequence[Column], published: Published
) -> dict[str, str]:
    """Why an average of ours is not the paper's, by average; empty where they can be compared."""
    wanted = ", ".join(f"{key} {n}" for key, n in published.items.items())
    averaged = {key_of(column.key) for column in columns if column.averaged}
    if averaged != {key_of(key) for key in published.items}:
        reason = f"the paper's is over {len(published.items)} sets ({wanted}), ours over others"
        return {kind: reason for kind in published.averages}
    sized = all(pairs[key].items == (n,) for key, n in published.items.items())
    if "micro" in published.averages and not sized:
        return {"micro": f"the paper's is weighted by its set sizes ({wanted}), ours by others"}
    return {}


def _notes_on(
    theirs: Sequence[PublishedRow],
    references: Sequence[PublishedRow],
    labels: dict[str, str],
    published: Published,
) -> list[tuple[int, Footnote]]:
    """The footnotes that concern the base shown, numbered from 1."""
    bases = {row.base for row in (*theirs, *references)}
    chosen = [
        note
        for note in published.footnotes
        if (not note.bases or bases & set(note.bases))
        and (not note.columns or set(labels) & set(note.columns))
    ]
    return list(enumerate(chosen, start=1))


def _marks_on(
    base: str,
    references: Sequence[PublishedRow],
    labels: dict[str, str],
    notes: list[tuple[int, Footnote]],
) -> dict[str, tuple[int, ...]]:
    """Where the footnotes go that are on no single row: a column, the base or a reference."""
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


def _worded(note: Footnote, labels: dict[str, str]) -> str:
    methods = ", ".join(method_label(method) for method in note.methods)
    columns = ", ".join(labels[column] for column in note.columns if column in labels)
    concerns = "; ".join(part for part in (methods, *note.origins, columns) if part)
    return f"{concerns}: {note.text}" if concerns else note.text


def _limits(
    rows: Sequence[Row],
    theirs: Sequence[PublishedRow],
    pairs: dict[str, Column],
    labels: dict[str, str],
    unlike: dict[str, str],
    published: Published,
) -> tuple[str, ...]:
    lines = [f"The paper's figures: {published.runs}."]
    other = [
        f"{column.label} {' or '.join(map(str, column.items))} (paper {published.items[key]})"
        for key, column in pairs.items()
        if column.items != (published.items[key],)
    ]
    if other:
        lines.append(
            f"Not the paper's test items, or only a part of them: {', '.join(other)}. "
            "Differences there are rough."
        )
    lines += [
        f"{published.averages[kind]}: no difference, {reason}."
        for kind, reason in unlike.items()
        if kind in labels
    ]
    empty = {
        f"{method_label(row.method)} has no {labels[column]}: {reason}."
        for row in theirs
        for column, reason in row.missing.items()
        if column in labels and any(ours.method == row.method for ours in rows)
    }
    lines += [f"In the paper, {line}" for line in sorted(empty)]
    ours, paper = ({row.method: None for row in group} for group in (rows, theirs))
    for title, have, lack in (("In the paper only", paper, ours), ("Ours only", ours, paper)):
        only = [method_label(method) for method in have if method not in lack]
        if only:
            lines.append(f"{title}: {', '.join(only)}.")
    return tuple(lines)

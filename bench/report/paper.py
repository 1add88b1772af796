"""A table's rows compared with the paper's rows for the same base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.names import key_of, method_label
from bench.report.published import PARAMS, Footnote, Published, PublishedRow
from bench.report.scores import Benchmark, ScoreRow, ScoreTable
from bench.report.tables import Cell, Column, Row, Table

Notes = Sequence[tuple[int, Footnote]]
# The paper's row of a method that is published under another name: the authors' code computes what
# their HypLoRA rows report.
PUBLISHED_AS = {"hyplora_authors": "hyplora"}


def paper_table(table: ScoreTable, published: Published) -> Table:
    """For each row and each published row of its method: the paper's numbers, ours, difference."""
    base = table.rows[0].first["published_base"]
    theirs = published.rows_of(base) if base else ()
    if not theirs:
        note = (
            f"The paper ({published.numbering}) has no rows for this base; it has "
            f"{', '.join(published.bases)}."
        )
        return Table("paper", "vs. the paper", notes=(note,))
    by_key = {key_of(found.key): found for found in table.benchmarks}
    benchmarks = {k: by_key[key_of(k)] for k in published.items if key_of(k) in by_key}
    labels = {key: found.label for key, found in benchmarks.items()}
    if benchmarks:
        labels |= {kind: f"{label} ({kind})" for kind, label in published.averages.items()}
    if any(row.values[PARAMS] is not None for row in theirs):
        labels[PARAMS] = "Trainable %"
    unlike = _unlike_averages(table, published, benchmarks)
    return _Pairs(table, published, theirs, benchmarks, labels, unlike).table()


@dataclass(frozen=True)
class _Pairs:
    """Our table and the paper's rows for the same base.

    Attributes:
        benchmarks: ours, by the paper's key.
        labels: labels of the columns shown, by key.
        unlike: why our average is not comparable with the paper's, by average.
    """

    ours: ScoreTable
    published: Published
    theirs: tuple[PublishedRow, ...]
    benchmarks: Mapping[str, Benchmark]
    labels: Mapping[str, str]
    unlike: Mapping[str, str]

    def table(self) -> Table:
        """All rows, then the paper's for orientation."""
        base, references = self.theirs[0].base, [r for r in self.published.rows if r.reference]
        bases = {base, *(row.base for row in references)}
        chosen = [
            note
            for note in self.published.footnotes
            if (not note.bases or bases & set(note.bases))
            and (not note.columns or set(self.labels) & set(note.columns))
        ]
        notes = list(enumerate(chosen, start=1))
        # Footnotes on no single method go to columns, the base or references.
        marks: dict[str, tuple[int, ...]] = {}
        for number, note in notes:
            places = [row.base for row in references if row.base in note.bases]
            if not note.bases or base in note.bases:
                places = [key for key in note.columns if key in self.labels] or [base]
            for place in places if not note.methods else ():
                marks[place] = (*marks.get(place, ()), number)
        rows = [row for ours in self.ours.rows for row in self.rows(ours, notes)]
        text = "Percent; differences (ours minus the paper's) in percentage points."
        return Table(
            key="paper",
            heading=f"vs. the paper: {base}, {self.published.numbering}",
            columns=tuple(
                Column(key, label, "z.2f" if key == PARAMS else "z.1f", marks=marks.get(key, ()))
                for key, label in self.labels.items()
            ),
            rows=(
                *rows,
                *(
                    Row((row.base, "paper"), self.cells(row, []), marks.get(row.base, ()))
                    for row in references
                ),
            ),
            names=("Method", ""),
            notes=(
                text if rows else "None of the paper's rows for this base was run.",
                *self.limits(),
            ),
            footnotes=tuple(map(self.worded, chosen)),
            grouped=True,
            marks=marks.get(base, ()),
        )

    def rows(self, ours: ScoreRow, footnotes: Notes) -> Iterator[Row]:
        """For each row of the paper with our method: that, ours, and the difference."""
        for paper in self.theirs:
            if paper.method not in _published_methods(ours.method):
                continue
            if paper.curvature not in (None, ours.curvature):
                continue
            notes = [
                (number, note)
                for number, note in footnotes
                if paper.method in note.methods
                and (not note.bases or paper.base in note.bases)
                and (not note.origins or paper.origin in note.origins)
            ]
            origin = "paper" if paper.origin == "paper" else f"paper, {paper.origin}"
            marks = tuple(number for number, note in notes if not note.columns)
            mine = {column: self.cell(ours, column) for column in self.labels}
            less = {column: self.difference(mine[column], paper, column) for column in self.labels}
            keys = {"method": ours.method, "curvature": ours.curvature}
            yield Row((ours.label, origin), self.cells(paper, notes), marks, keys=keys)
            yield Row((ours.label, "ours"), mine, keys=keys)
            yield Row((ours.label, "difference"), less, signed=True, keys=keys)

    def cell(self, ours: ScoreRow, column: str) -> Cell:
        """Our value."""
        if column == PARAMS:
            return Cell(ours.trainable_percent)
        key = self.benchmarks[column].key if column in self.benchmarks else column
        found = ours.cells.get(key, Cell(why="not scored"))
        return Cell(found.value, n=found.n, why=found.why)

    def cells(self, row: PublishedRow, notes: Notes) -> dict[str, Cell]:
        """A row of the paper."""
        return {
            column: Cell(
                row.values[column],
                marks=tuple(number for number, note in notes if column in note.columns),
                why=row.missing.get(column, ""),
            )
            for column in self.labels
        }

    def difference(self, ours: Cell, paper: PublishedRow, column: str) -> Cell:
        """Our value minus the paper's."""
        published = paper.values[column]
        if column in self.unlike or published is None or not isinstance(ours.value, float):
            return Cell(why=self.unlike.get(column) or paper.missing.get(column, "") or ours.why)
        return Cell(ours.value - published)

    def worded(self, note: Footnote) -> str:
        """A footnote with what it concerns."""
        methods = ", ".join(map(method_label, note.methods))
        columns = ", ".join(self.labels[column] for column in note.columns if column in self.labels)
        concerns = "; ".join(filter(None, (methods, *note.origins, columns)))
        return f"{concerns}: {note.text}" if concerns else note.text

    def limits(self) -> Iterator[str]:
        """What limits the comparison."""
        items = self.published.items
        yield f"The paper's numbers: {self.published.runs}."
        other = [
            f"{found.label} {found.items} (paper {items[key]})"
            for key, found in self.benchmarks.items()
            if found.items != items[key]
        ]
        if other:
            yield (
                f"Not the paper's test items, or only some of them: {', '.join(other)}. These "
                "differences are rough."
            )
        for kind, reason in self.unlike.items():
            if kind in self.labels:
                yield f"{self.published.averages[kind]}: no difference, {reason}."
        ours, paper = (dict.fromkeys(r.method for r in o) for o in (self.ours.rows, self.theirs))
        for method in [m for m in ours if PUBLISHED_AS.get(m) in paper]:
            yield (
                f"{method_label(method)} is compared with the paper's "
                f"{method_label(PUBLISHED_AS[method])}: it computes what the authors' code does."
            )
        ours |= dict.fromkeys(name for method in ours for name in _published_methods(method))
        paper |= {method: None for method in ours if PUBLISHED_AS.get(method) in paper}
        yield from sorted(
            {
                f"In the paper, {method_label(row.method)} has no {self.labels[column]}: {reason}."
                for row in self.theirs
                for column, reason in row.missing.items()
                if column in self.labels and row.method in ours
            }
        )
        for title, have, lack in (("In the paper only", paper, ours), ("Ours only", ours, paper)):
            if only := [method_label(method) for method in have if method not in lack]:
                yield f"{title}: {', '.join(only)}."


def _published_methods(method: str) -> tuple[str, ...]:
    """A method and what the paper calls it."""
    return (method, PUBLISHED_AS.get(method, method))


def _unlike_averages(
    ours: ScoreTable, published: Published, benchmarks: Mapping[str, Benchmark]
) -> dict[str, str]:
    wanted = ", ".join(f"{key} {n}" for key, n in published.items.items())
    averaged = {key_of(found.key) for found in ours.benchmarks if found.averaged}
    if averaged != {key_of(key) for key in published.items}:
        reason = f"the paper's is over {len(published.items)} sets ({wanted}), ours over others"
        return dict.fromkeys(published.averages, reason)
    same_sizes = all(benchmarks[key].items == n for key, n in published.items.items())
    if "micro" in published.averages and not same_sizes:
        return {"micro": f"the paper's is weighted by its set sizes ({wanted}), ours by others"}
    return {}

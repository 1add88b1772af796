"""What can be scored without a model: the rows that a table's figures are to be read against."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.rows import Cell, Column

CHANCE, MAJORITY = "chance", "majority class"


@dataclass(frozen=True)
class Guess:
    """A reference row: guessing, or always the most frequent gold answer of a set.

    Attributes:
        cells: By key of a benchmark, `micro` or `macro`; an average is empty where a set that
            counts in it has no figure.
    """

    label: str
    cells: dict[str, Cell]


def guesses(columns: Sequence[Column]) -> tuple[Guess, ...]:
    """The reference rows that the columns have figures for.

    Records from before the gold answers were counted have no majority class, and sets of numbers
    have no level of chance: a row without any figure is left out.
    """
    known = {
        CHANCE: {column.key: column.chance for column in columns},
        MAJORITY: {column.key: column.majority for column in columns},
    }
    return tuple(
        Guess(label, _cells(figures, columns))
        for label, figures in known.items()
        if any(figure is not None for figure in figures.values())
    )


def _cells(figures: dict[str, float | None], columns: Sequence[Column]) -> dict[str, Cell]:
    sizes = {c.key: c.items[0] if len(c.items) == 1 else None for c in columns}
    cells = {key: Cell(figure, None, 0, sizes[key]) for key, figure in figures.items()}
    averaged = [(figures[c.key], sizes[c.key]) for c in columns if c.averaged]
    if not averaged:
        return cells
    values = [(figure, n) for figure, n in averaged if figure is not None and n is not None]
    items = sum(n for _, n in values)
    whole = len(values) == len(averaged)
    micro = sum(figure * n for figure, n in values) / items if whole else None
    macro = sum(figure for figure, _ in values) / len(values) if whole else None
    for kind, average in (("micro", micro), ("macro", macro)):
        cells[kind] = Cell(average, None, 0, items if whole else None)
    return cells


def guess_notes(rows: Sequence[Guess], columns: Sequence[Column]) -> list[str]:
    """What the reference rows are, as lines under the table."""
    notes = []
    labels = {row.label for row in rows}
    if CHANCE in labels:
        notes.append("Chance: guessing among a problem's choices; no figure where it has none.")
    if MAJORITY in labels:
        always = ", ".join(
            f"{c.label} {c.majority_answer}" for c in columns if c.majority is not None
        )
        notes.append(f"Majority class: always the set's most frequent gold answer ({always}).")
    return notes

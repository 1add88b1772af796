"""Comparisons and intervals as text: what the sections of a table say."""

from collections.abc import Mapping, Sequence

from bench.report.rows import Column, Row
from bench.report.statistics.differences import BesideReference, PairedDifference

EMPTY = "-"
Grid = tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]

TEST_NOTE = (
    "The test counts variation between runs and between items (crossed random effects), so that a "
    "verdict holds for other seeds and other problems of the kind. 95% intervals are of one "
    "comparison each; verdicts go by p (Holm) at 5%."
)


def between(low: float | None, high: float | None, form: str = "z.1f") -> str:
    """`80.1 to 86.0`; `-` where there is no interval."""
    return EMPTY if low is None or high is None else f"{low:{form}} to {high:{form}}"


def intervals_grid(rows: Sequence[Row], keys: Sequence[str], labels: Sequence[str]) -> Grid | None:
    """The 95% interval of each cell, as header and rows; None where no cell has one."""
    shown = [row for row in rows if any(cell.low is not None for cell in row.cells.values())]
    if not shown:
        return None
    lines = []
    for row in shown:
        cells = (row.cells.get(key) for key in keys)
        lines.append((row.label, *(between(c.low, c.high) if c else EMPTY for c in cells)))
    return ("Method", *labels), tuple(lines)


def intervals_notes(rows: Sequence[Row]) -> tuple[str, ...]:
    """What the intervals are over, and which rows have none."""
    with_one = [row for row in rows if any(cell.low is not None for cell in row.cells.values())]
    without = [row.label for row in rows if row not in with_one]
    single = [row.label for row in with_one if len(row.seeds) == 1]
    text = "95% intervals of the means: bootstrap over seeds and items."
    if single and len(single) == len(with_one):
        text = (
            "95% intervals: bootstrap over items alone. Every row is a single run, so they say "
            "nothing of other seeds."
        )
    elif single:
        text += f" Over items alone for a single run: {', '.join(single)}."
    if without:
        text += f" None for {', '.join(without)}: the records do not say which rows were right."
    return (text,)


def beside_grid(found: BesideReference, key: str) -> Grid:
    """The comparisons on one average or benchmark, as header and rows."""
    header = ("Method", "Verdict", "Difference", "95% interval", "p (Holm)")
    if all(difference.difference is None for difference in found.on(key)):
        return (), ()  # the notes say why
    rows = tuple(
        (
            difference.label,
            difference.verdict,
            points(difference.difference),
            between(difference.low, difference.high, "+z.1f"),
            probability(difference.p_holm),
        )
        for difference in found.on(key)
    )
    return header, rows


def sets_grid(found: BesideReference, columns: Sequence[Column]) -> Grid:
    """Differences and verdicts on single benchmarks, as header and rows; no rows without a test."""
    tested = {difference.key for difference in found.differences if difference.p is not None}
    shown = [column for column in columns if column.key in tested]
    by_row = [found.on(column.key) for column in shown]
    rows = tuple(
        (cells[0].label, *(f"{points(c.difference)} {c.verdict}" for c in cells))
        for cells in zip(*by_row, strict=True)
    )
    return ("Method", *(column.label for column in shown)), rows


def points(value: float | None) -> str:
    """`+1.2`; `-` where there is none."""
    return EMPTY if value is None else f"{value:+z.1f}"


def probability(p: float | None) -> str:
    """`0.34`, `0.012`, `<0.001`; `-` where there is none."""
    if p is None:
        return EMPTY
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def beside_notes(
    differences: Sequence[PairedDifference], reference: str, families: Mapping[str, int]
) -> tuple[str, ...]:
    """What was compared and how, what would separate the rest, and what was not compared.

    Args:
        differences: Of one section.
        reference: What the rows are set against, e.g. `LoRA`.
        families: What p-values of the table are corrected over together, in words, and how many
            comparisons that are.
    """
    main = [found for found in differences if found.key == differences[0].key]
    tested = [found for found in differences if found.p is not None]
    notes = []
    if any(found.difference is not None for found in differences):
        several = len({found.reference for found in differences if found.reference}) > 1
        like = f"{reference} with the same options" if several else reference
        notes.append(f"Each row less {like}, in points: the same seeds and the same items.")
    if tested:
        told = [f"the {count} on {what}" for what, count in families.items() if count]
        notes.append(f"{TEST_NOTE} Corrected over all comparisons of the table: {_and(told)}.")
    paired = [found.label for found in main if found.paired_runs]
    if paired:
        notes.append(
            "Runs with one seed give like answers, so the runs are paired, too, for "
            f"{', '.join(paired)}."
        )
    left = [found for found in main if found.would_separate]
    if left:
        now = " or ".join(dict.fromkeys(f"{len(f.seeds)} seeds and {f.n:,} items" for f in left))
        notes.append(
            f"To separate a difference of the size seen, if it is the true one (now {now}; 80% "
            "power, the variance seen, the level that Holm's method leaves):"
        )
        notes += [
            f"{found.label} ({points(found.difference)}): {found.would_separate}." for found in left
        ]
    reasons: dict[str, list[str]] = {}
    for found in main:
        if found.why:
            reasons.setdefault(f"{found.verdict}: {found.why}", []).append(found.label)
    notes += [f"{', '.join(labels)}: {reason}." for reason, labels in reasons.items()]
    return tuple(notes)


def _and(parts: Sequence[str]) -> str:
    return " and ".join(parts)

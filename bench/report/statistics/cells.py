"""The means of a table's row and what they are over, and the 95% intervals of its cells."""

from collections.abc import Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np

from bench.names import key_of
from bench.report.rows import Cell, Column, Row
from bench.report.spec import AVERAGES
from bench.report.statistics.draws import (
    DRAWS,
    drawn_items,
    drawn_patterns,
    has_few_patterns,
    interval_of,
)
from bench.report.statistics.outcomes import Outcomes
from bench.report.statistics.variance import Array

SEED = 0  # of the draws


def weights_of(key: str, columns: Sequence[Column], outcomes: Outcomes) -> dict[str, float]:
    """How the benchmarks weigh in a cell; they add up to 1.

    Args:
        key: A benchmark's key, `micro` or `macro`.
        columns: The table's benchmarks.
        outcomes: Of a row.

    Returns:
        By benchmark; empty where the row lacks one of those that the cell is over.
    """
    over = [c.key for c in columns if c.averaged] if key in AVERAGES else [key]
    if not over or any(benchmark not in outcomes.sets for benchmark in over):
        return {}
    if key == "macro":
        return {benchmark: 1 / len(over) for benchmark in over}
    sizes = {benchmark: outcomes.sets[benchmark].shape[1] for benchmark in over}
    return {benchmark: size / sum(sizes.values()) for benchmark, size in sizes.items()}


def with_intervals(
    rows: Sequence[Row], columns: Sequence[Column], outcomes: Sequence[Outcomes]
) -> tuple[Row, ...]:
    """The rows with the 95% interval of each cell whose outcomes are known, in percent.

    What is drawn follows from the benchmark and its size alone, so that a row has the same
    intervals in every table and whatever rows stand beside it.

    Args:
        rows: Of a table.
        columns: Its benchmarks.
        outcomes: Of each row.
    """
    drawn = _drawn(columns, outcomes)
    return tuple(
        replace(
            row,
            cells={
                key: _with_interval(cell, key, columns, found, draws)
                for key, cell in row.cells.items()
            },
        )
        for row, found, draws in zip(rows, outcomes, drawn, strict=True)
    )


def _with_interval(
    cell: Cell,
    key: str,
    columns: Sequence[Column],
    outcomes: Outcomes,
    drawn: dict[str, Array],
) -> Cell:
    weights = weights_of(key, columns, outcomes)
    if cell.mean is None or not weights:
        return cell
    low, high = interval_of(
        [outcomes.sets[benchmark] for benchmark in weights],
        list(weights.values()),
        [drawn[benchmark] for benchmark in weights],
        np.random.default_rng(SEED),
    )
    return replace(cell, low=100 * low, high=100 * high)


def _drawn(columns: Sequence[Column], outcomes: Sequence[Outcomes]) -> list[dict[str, Array]]:
    """For each row its drawn means by benchmark; rows of one size share the draws of items."""
    drawn: list[dict[str, Array]] = [{} for _ in outcomes]
    for column in columns:
        # Benchmarks of one size have items of their own, and so draws of their own.
        seed = [SEED, crc32(key_of(column.key).encode())]
        together: dict[int, list[int]] = {}
        for index, found in enumerate(outcomes):
            values = found.sets.get(column.key)
            if values is None:
                continue
            if has_few_patterns(values):
                generator = np.random.default_rng(seed)
                drawn[index][column.key] = drawn_patterns(values, DRAWS, generator)
            else:
                together.setdefault(values.shape[1], []).append(index)
        for members in together.values():
            stacked = np.concatenate([outcomes[index].sets[column.key] for index in members])
            means = drawn_items(stacked, DRAWS, np.random.default_rng(seed))
            ends = np.cumsum([len(outcomes[index].seeds) for index in members])
            for index, part in zip(members, np.split(means, ends[:-1], axis=1), strict=True):
                drawn[index][column.key] = part
    return drawn

"""95% intervals of a table's cells: a hierarchical bootstrap over seeds and items.

A draw takes items with replacement, the same for all seeds of a row, and seeds with replacement,
the same for all benchmarks of an average. Plain percentiles are too narrow for few seeds S: what
the seeds add to a draw is scaled by sqrt(S / (S - 1)), and its distance from the mean by Student's
t over the normal quantile, with Satterthwaite's degrees of freedom (as in Hesterberg, What Teachers
Should Know About the Bootstrap, 2015). With one seed the interval does not cover other seeds.

docs/statistics.md has their coverage in simulations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from zlib import crc32

import numpy as np
from scipy.special import ndtri, stdtrit

from bench.report.statistics.crossed import LEVEL
from bench.report.statistics.variance import Array, items, parts, ratio, weighted

DRAWS = 10_000
SEED = 0  # of the draws
PATTERN_COST = 60  # of a pattern, in items, for all rows of a table together
AT_ONCE = 500_000  # drawn items in memory at once

Weights = Mapping[str, float]


def intervals(
    rows: Sequence[Mapping[str, Array]], cells: Mapping[str, Weights], draws: int = DRAWS
) -> list[dict[str, tuple[float, float]]]:
    """The 95% interval of each cell's mean, from 0 to 1.

    The draws depend only on the benchmark and its size: a row has the same intervals in every
    table.

    Args:
        rows: for each row the outcomes, 0 or 1, by benchmark: `(seeds, items)`, on the same items;
            or the values of clusters of items.
        cells: the weights of the benchmarks in each cell; they add up to 1.
        draws: number of draws.

    Returns:
        For each row, the lower and upper ends by cell.
    """
    drawn = {key: _drawn_means([row[key] for row in rows], key, draws) for key in rows[0]}
    return [
        {
            cell: _interval(
                [row[key] for key in weights],
                list(weights.values()),
                [drawn[key][place] for key in weights],
            )
            for cell, weights in cells.items()
        }
        for place, row in enumerate(rows)
    ]


def _drawn_means(rows: Sequence[Array], key: str, draws: int) -> list[Array]:
    """The drawn means of each row on one benchmark, `(draws, seeds)`; rows share their draws."""
    seed = [SEED, crc32(key.casefold().encode())]
    few = [
        2 ** len(row) * PATTERN_COST < row.shape[1] and bool(((row == 0) | (row == 1)).all())
        for row in rows
    ]
    stacked = [row for row, by_pattern in zip(rows, few, strict=True) if not by_pattern]
    shared: Iterator[Array] = iter(())
    if stacked:
        means = drawn_items(np.concatenate(stacked), draws, np.random.default_rng(seed))
        ends = np.cumsum([len(row) for row in stacked])[:-1]
        shared = iter(np.split(means, ends, axis=1))
    return [
        drawn_patterns(row, draws, np.random.default_rng(seed)) if by_pattern else next(shared)
        for row, by_pattern in zip(rows, few, strict=True)
    ]


def drawn_items(outcomes: Array, draws: int, generator: np.random.Generator) -> Array:
    """Means `(draws, runs)` over items drawn with replacement, the same items for all runs.

    `outcomes` are `(runs, items)`.
    """
    runs, size = outcomes.shape
    columns = np.ascontiguousarray(outcomes.T, dtype=np.float32)
    means = np.empty((draws, runs))
    step = max(1, AT_ONCE // size)
    for begin in range(0, draws, step):
        count = min(step, draws - begin)
        picked = generator.integers(0, size, (count, size), dtype=np.int32)
        # One count for all draws, each in a range of its own: how often an item is drawn.
        picked += np.arange(count, dtype=np.int32)[:, None] * size
        often = np.bincount(picked.ravel(), minlength=count * size).reshape(count, size)
        means[begin : begin + count] = often.astype(np.float32) @ columns / size
    return means


def drawn_patterns(outcomes: Array, draws: int, generator: np.random.Generator) -> Array:
    """The same as `drawn_items`, faster for many items and few runs.

    Items with the same outcomes in all runs are equal to a mean, and there are at most 2^runs such
    patterns; how often each is drawn is multinomial.
    """
    patterns, counts = np.unique(outcomes.T, axis=0, return_counts=True)
    size = outcomes.shape[1]
    return generator.multinomial(size, counts / size, draws) / size @ patterns


def _interval(
    outcomes: Sequence[Array], weights: Sequence[float], drawn: Sequence[Array]
) -> tuple[float, float]:
    generator = np.random.default_rng(SEED)
    means = [float(values.mean()) for values in outcomes]
    if all(mean in (0.0, 1.0) for mean in means):
        return _without_variation(means, [values.shape[1] for values in outcomes], weights)
    by_seed = weighted(drawn, weights)
    draws, seeds = by_seed.shape
    picks = generator.multinomial(seeds, np.full(seeds, 1 / seeds), draws) / seeds
    own = by_seed.mean(axis=1)
    wider = np.sqrt(seeds / (seeds - 1)) if seeds > 1 else 0.0
    moved = own + wider * ((by_seed * picks).sum(axis=1) - own)
    mean = float(weighted(means, weights))
    ends = np.quantile(moved, [LEVEL / 2, 1 - LEVEL / 2])
    low, high = mean + _stretch(outcomes, weights) * (ends - mean)
    return max(0.0, float(low)), min(1.0, float(high))


def _stretch(outcomes: Sequence[Array], weights: Sequence[float]) -> float:
    """Student's t over the normal quantile: 2.2 if three seeds decide, 1 if items do."""
    row = parts(outcomes, weights)
    own = items([values.mean(axis=0) for values in outcomes], weights)
    variance = own.variance + np.maximum(row.runs - row.residual, 0.0)
    uncertain = row.runs**2 / max(row.seeds - 1, 1) + own.variance**2 / own.degrees
    degrees = float(ratio(variance**2, uncertain, otherwise=np.inf))
    return float(stdtrit(max(degrees, row.seeds - 1), 1 - LEVEL / 2) / ndtri(1 - LEVEL / 2))


def _without_variation(
    means: Sequence[float], sizes: Sequence[int], weights: Sequence[float]
) -> tuple[float, float]:
    """The exact binomial bound (Clopper, Pearson) if all answers of each benchmark are equal.

    An average is bounded by the benchmark that could move it furthest.
    """
    reach = [1 - (LEVEL / 2) ** (1 / size) for size in sizes]
    mean = float(weighted(means, weights))
    down = [w * r for w, r, m in zip(weights, reach, means, strict=True) if m == 1.0]
    up = [w * r for w, r, m in zip(weights, reach, means, strict=True) if m == 0.0]
    return max(0.0, mean - max(down, default=0.0)), min(1.0, mean + max(up, default=0.0))

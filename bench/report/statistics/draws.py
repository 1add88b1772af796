"""95% intervals of the cells of the old tables."""

from collections.abc import Sequence

import numpy as np

from bench.report.statistics.crossed import LEVEL
from bench.report.statistics.variance import Array, items, parts, ratio, weighted

DRAWS = 10_000
DEARER = 60  # times that a pattern costs what an item does, for all rows of a table together
AT_ONCE = 500_000  # drawn items that are held at once


def interval(
    outcomes: Sequence[Array],
    weights: Sequence[float] = (1.0,),
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95% interval of one cell's mean, from 0 to 1.

    Args:
        outcomes: For each benchmark an array `(seeds, items)` of 0 and 1.
        weights: Of the benchmarks in the average; they add up to 1.
        draws: Number of draws.
        seed: Of the draws; the same outcomes then have the same interval.
    """
    generator = np.random.default_rng(seed)
    drawn = [
        (drawn_patterns if has_few_patterns(values) else drawn_items)(values, draws, generator)
        for values in outcomes
    ]
    return interval_of(outcomes, weights, drawn, generator)


def drawn_items(outcomes: Array, draws: int, generator: np.random.Generator) -> Array:
    """Means over items drawn with replacement, the same items for all runs.

    Args:
        outcomes: `(runs, items)` of 0 and 1: all runs that were asked these items.
        draws: Number of draws.
        generator: Draws the items.

    Returns:
        `(draws, runs)`, from 0 to 1.
    """
    runs, size = outcomes.shape
    columns = np.ascontiguousarray(outcomes.T, dtype=np.float32)
    means = np.empty((draws, runs))
    step = max(1, AT_ONCE // size)
    for begin in range(0, draws, step):
        count = min(step, draws - begin)
        picked = generator.integers(0, size, (count, size), dtype=np.int32)
        # How often each item is drawn: one count for all draws, each in a range of its own.
        picked += np.arange(count, dtype=np.int32)[:, None] * size
        often = np.bincount(picked.ravel(), minlength=count * size).reshape(count, size)
        means[begin : begin + count] = often.astype(np.float32) @ columns / size
    return means


def has_few_patterns(outcomes: Array) -> bool:
    """Whether a row has so many items for its runs that `drawn_patterns` is the quicker way.

    Args:
        outcomes: `(seeds, items)` of 0 and 1.
    """
    seeds, size = outcomes.shape
    return bool(2**seeds * DEARER < size)


def drawn_patterns(outcomes: Array, draws: int, generator: np.random.Generator) -> Array:
    """The same as `drawn_items` for the runs of one row, at a cost that is not the items'.

    Items that all runs answered alike are the same to a mean, and there are at most 2^seeds such
    patterns; how often each is drawn is multinomial.
    """
    patterns, counts = np.unique(outcomes.T, axis=0, return_counts=True)
    size = outcomes.shape[1]
    return generator.multinomial(size, counts / size, draws) / size @ patterns


def interval_of(
    outcomes: Sequence[Array],
    weights: Sequence[float],
    drawn: Sequence[Array],
    generator: np.random.Generator,
) -> tuple[float, float]:
    """The interval of a cell whose items are drawn already, from 0 to 1.

    Args:
        outcomes: For each benchmark an array `(seeds, items)` of 0 and 1.
        weights: Of the benchmarks in the average; they add up to 1.
        drawn: For each benchmark what `drawn_items` gave for these seeds, `(draws, seeds)`.
        generator: Draws the seeds.
    """
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
    """Student's t over the normal quantile: 2.2 where three seeds decide, 1 where items do."""
    from scipy.special import ndtri, stdtrit

    row = parts(outcomes, weights)
    own = items([values.mean(axis=0) for values in outcomes], weights)
    variance = own.variance + np.maximum(row.runs - row.residual, 0.0)
    uncertain = row.runs**2 / max(row.seeds - 1, 1) + own.variance**2 / own.degrees
    degrees = float(ratio(variance**2, uncertain, otherwise=np.inf))
    return float(stdtrit(max(degrees, row.seeds - 1), 1 - LEVEL / 2) / ndtri(1 - LEVEL / 2))


def _without_variation(
    means: Sequence[float], sizes: Sequence[int], weights: Sequence[float]
) -> tuple[float, float]:
    """All answers are alike: draws would be, too, so the exact binomial bound (Clopper, Pearson).

    Benchmarks that are all right or all wrong are bounded by the one that could move an average
    furthest.
    """
    reach = [1 - (LEVEL / 2) ** (1 / size) for size in sizes]
    mean = float(weighted(means, weights))
    down = [w * r for w, r, m in zip(weights, reach, means, strict=True) if m == 1.0]
    up = [w * r for w, r, m in zip(weights, reach, means, strict=True) if m == 0.0]
    return max(0.0, mean - max(down, default=0.0)), min(1.0, mean + max(up, default=0.0))

"""Spearman's rank correlation with a bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEWEST = 10  # points: of fewer, an interval says nothing
CHUNK = 2**21  # numbers of a table of weights at once, 16 MiB


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho, with the ends of its 95% percentile bootstrap interval."""

    rho: float
    low: float
    high: float


def spearman(
    x: NDArray[Any], y: NDArray[Any], replicas: int = 1000, seed: int = 0
) -> Correlation | None:
    """Spearman's rho over points, and its interval over points drawn with replacement.

    A drawn sample is the same as the points with weights, how often each was drawn. So nothing is
    sorted again: the ranks of all samples are cumulative sums of weights in the one order.

    Args:
        x: (n,).
        y: (n,).
        replicas: samples.
        seed: of the draws.

    Returns:
        None for fewer than FEWEST points, or where all x or all y are equal.
    """
    n = len(x)
    if n < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    generator, found = np.random.default_rng(seed), []
    for start in range(0, replicas, step := max(1, CHUNK // n)):
        count = min(step, replicas - start)
        drawn = [np.bincount(generator.integers(n, size=n), minlength=n) for _ in range(count)]
        found.append(_weighted(np.array(drawn, dtype=float), x, y))
    # A sample of equal points alone has no correlation.
    low, high = np.nanquantile(np.concatenate(found), (0.025, 0.975))
    return Correlation(float(_weighted(np.ones((1, n)), x, y)[0]), float(low), float(high))


def _weighted(weights: NDArray[Any], x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """Rho for each row of weights (rows, n), whose sum is n: Pearson's correlation of the ranks."""
    mean = (weights.shape[1] + 1) / 2
    ranks_x, ranks_y = _ranks(weights, x) - mean, _ranks(weights, y) - mean
    weighted_x = weights * ranks_x
    product = np.vecdot(weighted_x, ranks_y)
    square_x = np.vecdot(weighted_x, ranks_x)
    square_y = np.vecdot(weights, ranks_y * ranks_y)
    with np.errstate(invalid="ignore"):
        return product / np.sqrt(square_x * square_y)


def _ranks(weights: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """The ranks of values of which each stands there as often as its weight, ties at their mean."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.add.reduceat(weights[:, order], starts, axis=1)
    return (np.cumsum(sizes, axis=1) - (sizes - 1) / 2)[:, group]

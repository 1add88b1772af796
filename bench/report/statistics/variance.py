"""The parts of a mean's variance: mean squares of a two-way table of seeds and items.

Searle, Casella, McCulloch, Variance Components, 1992, chapter 4. An average over benchmarks has the
same seeds in all of them and other items in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Parts:
    """Variances of one row's mean, for each comparison of a batch.

    Attributes:
        mean: over seeds and items.
        runs: variance of the run means over the number of seeds: theirs and `residual`.
        residual: variance of the mean that neither seeds nor items explain.
        seeds: their number; both variances of a single run are 0.
    """

    mean: Array
    runs: Array
    residual: Array
    seeds: int


@dataclass(frozen=True)
class Items:
    """Variance of a mean over items.

    Attributes:
        variance: variance of the items' means over their number: theirs and the residual.
        degrees: its degrees of freedom, over several benchmarks by Satterthwaite's formula.
    """

    variance: Array
    degrees: Array


def parts(outcomes: Sequence[Array], weights: Sequence[float]) -> Parts:
    """Variances of a row's mean.

    Args:
        outcomes: for each benchmark an array `(..., seeds, items)`, with one number of seeds;
            leading axes are comparisons that are computed together.
        weights: of the benchmarks in the average; they add up to 1.
    """
    seeds = outcomes[0].shape[-2]
    run_means = weighted((values.mean(axis=-1) for values in outcomes), weights)
    mean = run_means.mean(axis=-1)
    if seeds == 1:
        return Parts(mean, np.zeros_like(mean), np.zeros_like(mean), seeds)
    left = weighted(
        (_residual(values) / values.shape[-1] for values in outcomes),
        [weight**2 for weight in weights],
    )
    return Parts(mean, run_means.var(axis=-1, ddof=1) / seeds, left / seeds, seeds)


def items(means: Sequence[Array], weights: Sequence[float]) -> Items:
    """The items' part of the variance of a mean.

    Args:
        means: for each benchmark an array `(..., items)`: each item's mean over the seeds, or the
            difference of two such means.
        weights: of the benchmarks in the average.
    """
    each = [
        weight**2 * values.var(axis=-1, ddof=1) / values.shape[-1]
        if values.shape[-1] > 1
        else np.zeros(values.shape[:-1])
        for values, weight in zip(means, weights, strict=True)
    ]
    total = sum(each, start=np.zeros_like(each[0]))
    uncertain = sum(
        (part**2 / max(values.shape[-1] - 1, 1) for part, values in zip(each, means, strict=True)),
        start=np.zeros_like(total),
    )
    return Items(total, ratio(total**2, uncertain, otherwise=1.0))


def weighted(values: Any, weights: Sequence[float]) -> Array:
    """The sum of arrays, each times its weight."""
    pairs = zip(values, weights, strict=True)
    return np.asarray(sum(weight * value for value, weight in pairs))


def ratio(above: Array, below: Array, otherwise: float) -> Array:
    """A quotient of arrays; `otherwise` if the denominator is 0."""
    below = np.asarray(below, dtype=float)
    filled = np.full(np.broadcast(above, below).shape, float(otherwise))
    return np.divide(above, below, out=filled, where=below > 0)


def _residual(values: Array) -> Array:
    """Residual mean square of the two-way table; `(...)`."""
    seeds, count = values.shape[-2:]
    if count == 1:
        return np.zeros(values.shape[:-2])
    run, item = values.mean(axis=-1), values.mean(axis=-2)
    mean = run.mean(axis=-1)
    total = (values.astype(float) ** 2).sum(axis=(-2, -1)) - seeds * count * mean**2
    by_run = count * ((run - mean[..., None]) ** 2).sum(axis=-1)
    by_item = seeds * ((item - mean[..., None]) ** 2).sum(axis=-1)
    left = np.maximum(total - by_run - by_item, 0.0)
    return left / ((seeds - 1) * (count - 1))

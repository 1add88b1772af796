"""Where the variance of a mean over runs and items comes from.

A row's outcomes on one benchmark are a table of seeds x items, each 0 or 1. Its mean moves with
the seeds (another order of the training rows, another start), with the items (other problems of the
kind), and with what is left of each answer. Seeds and items are crossed, so the three parts are
told apart by the mean squares of a two-way table with one observation a cell (Searle, Casella,
McCulloch, Variance Components, 1992, chapter 4).

An average over benchmarks has the same seeds in all of them, and items of its own in each: its run
means are averaged before their variance is taken, and the items' parts add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Parts:
    """Variances of one row's mean, for each comparison of a batch; outcomes count 0 or 1.

    Attributes:
        mean: The mean over seeds and items.
        runs: Variance of the run means over the seeds, divided by their number: what the seeds add
            to the variance of the mean, and `residual`; 0 for a single run.
        residual: Variance of the mean that is left when seeds and items are accounted for; 0 for a
            single run.
        seeds: Number of seeds.
    """

    mean: Array
    runs: Array
    residual: Array
    seeds: int


@dataclass(frozen=True)
class Items:
    """Variance of a mean over items.

    Attributes:
        variance: Variance of the items' means over the items, divided by their number: what the
            items add to the variance of the mean, and the residual part.
        degrees: Its degrees of freedom, over several benchmarks by Satterthwaite's formula.
    """

    variance: Array
    degrees: Array


def parts(outcomes: Sequence[Array], weights: Sequence[float]) -> Parts:
    """What the variance of a row's mean is made of.

    Args:
        outcomes: For each benchmark an array `(..., seeds, items)` of 0 and 1, with one number of
            seeds; leading axes are comparisons that are computed together.
        weights: Of the benchmarks in the average; they add up to 1.
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
    """What the items add to the variance of a mean.

    Args:
        means: For each benchmark an array `(..., items)`: each item's mean over the seeds, or the
            difference of two such means.
        weights: Of the benchmarks in the average.
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
    """A quotient of arrays; `otherwise` where the lower one is 0."""
    below = np.asarray(below, dtype=float)
    filled = np.full(np.broadcast(above, below).shape, float(otherwise))
    return np.divide(above, below, out=filled, where=below > 0)


def _residual(values: Array) -> Array:
    """Mean square of what neither the seed's nor the item's mean explains; `(...)`."""
    seeds, count = values.shape[-2:]
    if count == 1:
        return np.zeros(values.shape[:-2])
    run, item = values.mean(axis=-1), values.mean(axis=-2)
    mean = run.mean(axis=-1)
    # Sums of squares of a two-way table; outcomes need not be held less their means.
    total = (values.astype(float) ** 2).sum(axis=(-2, -1)) - seeds * count * mean**2
    by_run = count * ((run - mean[..., None]) ** 2).sum(axis=-1)
    by_item = seeds * ((item - mean[..., None]) ** 2).sum(axis=-1)
    left = np.maximum(total - by_run - by_item, 0.0)
    return left / ((seeds - 1) * (count - 1))

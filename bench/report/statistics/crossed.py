"""The test of a difference between two methods, with runs and items as crossed random effects.

Both methods are run with the same S seeds and asked the same n items. A verdict is about other
seeds and other items of the kind, so both are random. For a method's run s and item i

    outcome = mean + run_s + item_i + rest_si

In the difference of two methods, an item's common effect cancels; its effect on one method (method
x item) does not. The variance of the mean difference is estimated by mean squares
(variance.py): I, the variance over n of the items' paired differences, holds method x item and the
rest; R, the variance over S of the runs, holds the part between runs and a rest E of its own:

    V = between runs / S  +  method x item / n  +  rest / (S n)  =  max(R - E, 0)  +  I

The difference over sqrt(V) is referred to Student's t with Satterthwaite's degrees of freedom,
V² / (R² / degrees of R + I² / degrees of I), at least S - 1: the quasi-F of designs with crossed
random effects (Satterthwaite 1946; Clark 1973). Without differences between items it is Welch's t
between runs; without differences between runs, the paired t over items.

Items are always paired. Runs with one seed see the training rows in one order, which in most pairs
of methods makes them no more alike than any two runs: then R is the sum of both methods' own. They
are paired if that makes R less uncertain, judged by the rest: if that of the paired differences is
below 1 / sqrt(2) of the two methods' own.

Items that share a text are not independent: the test is then over clusters (clusters.py).
docs/statistics.md has the measured rates of false claims, and the conditions in which they exceed
5%.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, stdtr, stdtrit

from bench.report.statistics.variance import Array, Items, items, parts, ratio

LEVEL = 0.05
LEAST_SEEDS = 3


@dataclass(frozen=True)
class CrossedTest:
    """The result, an array over the comparisons of a batch; in outcomes, 1 is 100 points.

    Attributes:
        difference: ours minus theirs.
        variance: variance of the difference, V above.
        degrees: degrees of freedom.
        p: two-sided p-value.
        paired: whether runs with one seed were paired.
        runs: R above.
        run_degrees: its degrees of freedom.
        residual: E above.
        items: I above, with its degrees of freedom.
        seeds: S above.
    """

    difference: Array
    variance: Array
    degrees: Array
    p: Array
    paired: Array
    runs: Array
    run_degrees: Array
    residual: Array
    items: Items
    seeds: int

    def interval(self) -> tuple[Array, Array]:
        """Lower and upper end of the difference's 95% interval."""
        reach = stdtrit(self.degrees, 1 - LEVEL / 2) * np.sqrt(self.variance)
        return self.difference - reach, self.difference + reach

    def detectable(self, level: float = LEVEL, power: float = 0.8, bound: float = 0.8) -> Array:
        """The smallest difference that the test at this level finds with this power.

        Runs are taken to vary as much as the upper confidence bound of R, one-sided: the estimate
        of few runs is too small in most tables.
        """
        runs = self.runs * self.run_degrees / chdtri(self.run_degrees, bound)
        variance, degrees = _total(runs, self.run_degrees, self.residual, self.items, self.seeds)
        reach = stdtrit(degrees, 1 - level / 2) + stdtrit(degrees, power)
        return reach * np.sqrt(np.maximum(variance, self.variance))


def crossed_test(
    ours: Sequence[Array],
    theirs: Sequence[Array],
    weights: Sequence[float] = (1.0,),
    paired: bool | None = None,
) -> CrossedTest:
    """Test the difference of two methods' means.

    Args:
        ours: for each benchmark an array `(..., seeds, items)` of outcomes; leading axes are
            comparisons that are computed together. At least two seeds.
        theirs: those of the other method, with the same seeds and items in the same order.
        weights: weights of the benchmarks in the average; they add up to 1.
        paired: whether runs with one seed are paired; None: as described above.
    """
    both = [one - other for one, other in zip(ours, theirs, strict=True)]
    one, other, pairs = (parts(values, weights) for values in (ours, theirs, both))
    own = items([values.mean(axis=-2) for values in both], weights)
    free = pairs.seeds - 1
    apart, rest = one.runs + other.runs, one.residual + other.residual
    apart_degrees = ratio(apart**2, (one.runs**2 + other.runs**2) / free, otherwise=free)
    alike = np.asarray(pairs.residual < rest / np.sqrt(2))
    if paired is not None:
        alike = np.full(alike.shape, paired)
    runs = np.where(alike, pairs.runs, apart)
    run_degrees = np.where(alike, free, apart_degrees)
    residual = np.where(alike, pairs.residual, rest)
    variance, degrees = _total(runs, run_degrees, residual, own, pairs.seeds)
    # If neither runs nor items differ among themselves: as if one more item did.
    size = sum(values.shape[-1] for values in ours)
    degrees = np.where(variance > 0, degrees, max(size - 1, free))
    variance = np.where(variance > 0, variance, 1.0 / size**2)
    difference = one.mean - other.mean
    p = 2 * stdtr(degrees, -np.abs(difference) / np.sqrt(variance))
    return CrossedTest(
        difference=difference,
        variance=variance,
        degrees=degrees,
        p=np.minimum(p, 1.0),
        paired=alike,
        runs=runs,
        run_degrees=run_degrees,
        residual=residual,
        items=own,
        seeds=pairs.seeds,
    )


def _total(
    runs: Array, run_degrees: Array, residual: Array, own: Items, seeds: int
) -> tuple[Array, Array]:
    """V and its degrees of freedom."""
    variance = own.variance + np.maximum(runs - residual, 0.0)
    uncertain = runs**2 / run_degrees + own.variance**2 / own.degrees
    return variance, np.maximum(ratio(variance**2, uncertain, otherwise=1.0), seeds - 1)

"""The test: is the difference of two methods more than chance in runs and items?

Both methods are run with the same S seeds and asked the same n items. What is called better has to
be better with other seeds and on other items of the kind, so both are random, and they are
crossed. For a method's run s and item i

    outcome = mean + run_s + item_i + rest_si

where an item's part is the same for all runs of a method, and largely for both methods. In the
difference of two methods what an item has in common cancels, and what it has for one of them alone
stays (method x item). The variance of the mean difference is then

    V = between runs / S  +  method x item / n  +  rest / (S n)

It is estimated by mean squares (variance.py): I, the variance over n of the items' paired
differences, which holds the last two parts; R, the variance over S of the runs, which holds the
first and a rest E of its own:

    V = I + max(R - E, 0)

The difference over sqrt(V) is referred to Student's t with Satterthwaite's degrees of freedom,
V² / (R² / degrees of R + I² / degrees of I), never fewer than S - 1. This is the quasi-F of designs
with crossed random effects (Satterthwaite 1946; Clark 1973). Where items do not differ, it is
Welch's t between runs; where runs do not differ, it is the paired t over items.

Items are always paired. Runs need not be: two runs with one seed see the training rows in one
order, and in most pairs of methods that makes them no more alike than any two runs. Then R is the
sum of both methods' own, as in Welch's test: to pair would spend half of the degrees of freedom and
take nothing out. Where it does make them alike, as in DoRA that starts where LoRA starts, R is that
of the paired run means. Three run means cannot say which is the case, but thousands of answers can:
runs are paired where that makes the uncertainty of R less, judged by the rest alone, i.e. where the
rest of the paired differences is below 1 / sqrt(2) of the two methods' own. On the tiny base's
arithmetic table that share is 0.20 for DoRA beside LoRA and 0.9 to 1.1 between all other methods.
Either R is valid in both cases unless runs with one seed are opposites; the choice is one of power.

Measured by `python -m bench.report.statistics.simulate --comparisons 10000`: percent called better
or worse at 5%, three seeds, 75% accuracy; the range is over 150 and 600 items, with and without
method x item. A true 5 shows as 4.6 to 5.4.

    between runs, points                    0            2            5         true difference 5
    this test                            1.6 to 2.4   2.9 to 4.4   3.5 to 4.5   88, 41, 11
    the same, runs always paired         1.7 to 2.5   3.6 to 5.5   5.5 to 6.5   73, 35, 12
    the same, paired and S - 1 degrees   0.0          0.0 to 0.4   0.6 to 3.5   51, 26, 10
    items alone unless F sees runs       3.8 to 4.4   5.2 to 6.8   4.5 to 6.4   95, 51, 15
    items alone                          5.0 to 5.6     10 to 28     31 to 62   99.8, 94, 81
    paired t between run means           4.7 to 7.2   4.8 to 6.4   4.9 to 5.7   68, 32, 11
    Welch's t between run means          3.4 to 6.3   3.1 to 5.3   3.4 to 4.1   87, 40, 11

The last column is how often 5 true points are found with 600 items and runs that differ by 0, 2 and
5. Of the tests that hold 5% in all conditions, this one finds the most. A look at the runs by an F
test costs 6.8, and 9.1 where one method's runs differ by 5 points and the other's not at all (5.8
here); run means alone forget the items, items alone the runs. Runs that a seed makes alike, with
answers that are not, are called at 1.6; with eight of ten answers alike, at 4.8. With three seeds
that differ by 5 points a true 5 is found one time in nine: that takes more seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.report.statistics.variance import Array, items, parts, ratio

LEVEL = 0.05
LEAST_SEEDS = 3


@dataclass(frozen=True)
class CrossedTest:
    """What the test found, for each comparison of a batch; in outcomes, where 1 is 100 points.

    Attributes:
        difference: Ours less theirs.
        variance: Of the difference, V above.
        degrees: Degrees of freedom.
        p: Two-sided.
        paired: Whether runs with one seed were paired.
        runs: R above.
        run_degrees: Its degrees of freedom.
        run_residual: E above.
        items: I above.
        item_degrees: Its degrees of freedom.
        item_residual: The rest / (S n) in it.
    """

    difference: Array
    variance: Array
    degrees: Array
    p: Array
    paired: Array
    runs: Array
    run_degrees: Array
    run_residual: Array
    items: Array
    item_degrees: Array
    item_residual: Array

    def interval(self, level: float = LEVEL) -> tuple[Array, Array]:
        """Lower and upper end of the difference's interval; `level` 0.05 is 95%."""
        from scipy.special import stdtrit

        reach = stdtrit(self.degrees, 1 - level / 2) * np.sqrt(self.variance)
        return self.difference - reach, self.difference + reach


def crossed_test(
    ours: Sequence[Array],
    theirs: Sequence[Array],
    weights: Sequence[float] = (1.0,),
    paired: bool | None = None,
) -> CrossedTest:
    """Test the difference of two methods' means.

    Args:
        ours: For each benchmark an array `(..., seeds, items)` of 0 and 1; leading axes are
            comparisons that are computed together. At least two seeds.
        theirs: The same for the other method, with the same seeds and items in the same order.
        weights: Of the benchmarks in the average; they add up to 1.
        paired: Whether runs with one seed are paired; None lets the answers decide.
    """
    from scipy.special import stdtr

    both = [one - other for one, other in zip(ours, theirs, strict=True)]
    one, other, pairs = (parts(values, weights) for values in (ours, theirs, both))
    own = items([values.mean(axis=-2) for values in both], weights)
    free = pairs.seeds - 1
    apart, apart_residual = one.runs + other.runs, one.residual + other.residual
    apart_degrees = ratio(apart**2, (one.runs**2 + other.runs**2) / free, otherwise=free)
    alike = np.asarray(pairs.residual < apart_residual / np.sqrt(2))
    if paired is not None:
        alike = np.full(alike.shape, paired)
    runs = np.where(alike, pairs.runs, apart)
    run_residual = np.where(alike, pairs.residual, apart_residual)
    run_degrees = np.where(alike, free, apart_degrees)
    variance = own.variance + np.maximum(runs - run_residual, 0.0)
    # Neither runs nor items differ among themselves: as if one item more were otherwise.
    size = sum(values.shape[-1] for values in ours)
    variance = np.where(variance > 0, variance, 1.0 / size**2)
    uncertain = runs**2 / run_degrees + own.variance**2 / own.degrees
    degrees = np.maximum(ratio(variance**2, uncertain, otherwise=max(size - 1, 1)), free)
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
        run_residual=run_residual,
        items=own.variance,
        item_degrees=own.degrees,
        item_residual=pairs.residual,
    )

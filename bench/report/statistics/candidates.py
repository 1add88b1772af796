"""Other tests that could have been taken, for the simulation that chose among them."""

from collections.abc import Callable

import numpy as np

from bench.report.statistics.crossed import CrossedTest, crossed_test
from bench.report.statistics.variance import Array, ratio

Test = Callable[[Array, Array], Array]


def chosen(ours: Array, theirs: Array) -> Array:
    """The test of the tables."""
    return crossed_test([ours], [theirs]).p


def runs_apart(ours: Array, theirs: Array) -> Array:
    """The same with runs that are never paired."""
    return crossed_test([ours], [theirs], paired=False).p


def runs_paired(ours: Array, theirs: Array) -> Array:
    """The same with runs that are always paired."""
    return crossed_test([ours], [theirs], paired=True).p


def least_degrees(ours: Array, theirs: Array) -> Array:
    """The same with runs that are always paired, and S - 1 degrees of freedom."""
    test = crossed_test([ours], [theirs], paired=True)
    return _p(test, test.variance, test.run_degrees)


def runs_if_seen(ours: Array, theirs: Array) -> Array:
    """Items alone, unless an F test at 25% sees the runs differ; then 2 (S - 1) degrees."""
    from scipy.special import fdtrc

    test = crossed_test([ours], [theirs], paired=False)
    free = 2.0 * (ours.shape[-2] - 1)
    size = ours.shape[-1]
    excess = ratio(test.runs, test.run_residual, otherwise=1.0)
    seen = fdtrc(free, free * (size - 1), excess) < 0.25
    return np.where(seen, _p(test, test.variance, np.asarray(free)), items_alone(ours, theirs))


def items_alone(ours: Array, theirs: Array) -> Array:
    """The paired t over items, as if there could be no other runs."""
    test = crossed_test([ours], [theirs])
    return _p(test, test.items, test.item_degrees)


def run_means_paired(ours: Array, theirs: Array) -> Array:
    """The paired t between run means, as if there were no other items."""
    test = crossed_test([ours], [theirs], paired=True)
    return _p(test, test.runs, test.run_degrees)


def run_means_apart(ours: Array, theirs: Array) -> Array:
    """Welch's t between run means, as if there were no other items."""
    test = crossed_test([ours], [theirs], paired=False)
    return _p(test, test.runs, test.run_degrees)


# In the order of the columns, under the names that they have there.
CANDIDATES: dict[str, Test] = {
    "chosen": chosen,
    "apart": runs_apart,
    "paired": runs_paired,
    "S - 1": least_degrees,
    "if seen": runs_if_seen,
    "items": items_alone,
    "paired t": run_means_paired,
    "Welch t": run_means_apart,
}


def _p(test: CrossedTest, variance: Array, degrees: Array) -> Array:
    from scipy.special import stdtr

    distance = ratio(np.abs(test.difference), np.sqrt(variance), otherwise=0.0)
    return 2 * stdtr(degrees, -distance)

"""How often the tables' verdicts and intervals are right, by simulation.

    python tests/report/statistics/simulate.py --comparisons 10000      (minutes)

It prints how often the test calls one of two equal methods better, which should be at most 5% but
for chance, how often it finds a true difference, and how often the interval of a cell contains the
true accuracy: for runs whose variances are equal, unequal or skewed, items alone or in clusters, 3
and 5 seeds. Two other tests are computed on the same draws: one that takes all items as
independent, and one that ignores variation between runs. docs/statistics.md has the output.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import expit

from bench.report.formats import show
from bench.report.statistics.bootstrap import intervals
from bench.report.statistics.clusters import by_cluster
from bench.report.statistics.crossed import LEVEL, crossed_test
from bench.report.statistics.variance import Array, ratio
from bench.report.tables import Cell, Column, Report, Row, Table

DIFFERENCE = 5.0
BATCH = 500  # comparisons that are held at once
FEWER = 20  # times fewer intervals than tests, which are faster

# A mean over a distribution of mean 0 and variance 1 is a sum over these nodes with these shares:
# Gauss-Hermite for the normal, Gauss-Laguerre for one minus an exponential (a few bad runs).
_HERMITE, _LAGUERRE = np.polynomial.hermite_e.hermegauss(64), np.polynomial.laguerre.laggauss(64)
NORMAL = _HERMITE[0], _HERMITE[1] / _HERMITE[1].sum()
SKEWED = 1 - _LAGUERRE[0], _LAGUERRE[1] / _LAGUERRE[1].sum()


@dataclass(frozen=True)
class World:
    """Two methods and the distribution of their scores.

    An item has a difficulty that both methods share, on the logit scale, and another for each
    method (interaction); items of one cluster share half of the variance of both. A run is better
    or worse than its method on all items. An answer is right with the chance that follows. Over all
    items and runs the expected accuracies differ by exactly `difference`. The default difficulty
    and an interaction of 1 give about the parts of variance of the arithmetic table on the tiny
    base.

    Attributes:
        seeds: runs of each method.
        items: of the benchmark.
        accuracy: expected accuracy of the other method, in percent.
        difference: true difference between the methods, in percentage points.
        deviation: standard deviation between a method's runs over all items, in percentage points.
        other: that of the other method; None for the same.
        difficulty: standard deviation of the items' difficulty, in logits.
        interaction: standard deviation of the items' difficulty for one method, in logits.
        skewed: whether runs are skewed: most are a little better than their mean, some much worse.
        cluster: items per cluster.
        alike: correlation between the runs of both methods with one seed.
        answers_alike: share of the answers that have one random draw for both methods.
    """

    seeds: int = 3
    items: int = 600
    accuracy: float = 75.0
    difference: float = 0.0
    deviation: float = 0.0
    other: float | None = None
    difficulty: float = 2.5
    interaction: float = 0.0
    skewed: bool = False
    cluster: int = 1
    alike: float = 0.0
    answers_alike: float = 0.0

    def draw(self, generator: np.random.Generator, comparisons: int) -> tuple[Array, Array]:
        """Outcomes of one method and the other, each `(comparisons, seeds, items)` of 0 and 1."""
        shape = (comparisons, self.seeds, self.items)
        difficulty = self._of_items(generator, self.difficulty, comparisons)
        shared = generator.normal(size=(comparisons, self.seeds, 1))
        coins = generator.random(shape)
        together = generator.random(shape) < self.answers_alike
        drawn = []
        for centre, spread in self._methods:
            own = (
                1 - generator.exponential(size=(comparisons, self.seeds, 1))
                if self.skewed
                else generator.normal(size=(comparisons, self.seeds, 1))
            )
            run = spread * (np.sqrt(self.alike) * shared + np.sqrt(1 - self.alike) * own)
            liked = self._of_items(generator, self.interaction, comparisons)
            chance = expit(centre + difficulty + liked + run)
            fallen = np.where(together, coins, generator.random(shape))
            drawn.append((fallen < chance).astype(float))
        return drawn[0], drawn[1]

    @property
    def clusters(self) -> Array:
        """The number of each item's cluster."""
        return np.arange(self.items) // self.cluster

    def _of_items(self, generator: np.random.Generator, spread: float, comparisons: int) -> Array:
        drawn = generator.normal(0, spread, (comparisons, 1, self.items))
        if self.cluster == 1:
            return drawn
        shape = (comparisons, 1, -(-self.items // self.cluster))
        shared = generator.normal(0, spread, shape).repeat(self.cluster, axis=-1)
        return np.sqrt(0.5) * (drawn + shared[..., : self.items])

    @cached_property
    def _methods(self) -> list[tuple[float, float]]:
        """Mean and deviation between runs of each method, in logits."""
        other = self.deviation if self.other is None else self.other
        wanted = (
            (self.accuracy + self.difference, self.deviation),
            (self.accuracy, other),
        )
        return [self._calibrated(accuracy / 100, points / 100) for accuracy, points in wanted]

    def _calibrated(self, accuracy: float, deviation: float) -> tuple[float, float]:
        """Mean and deviation between runs in logits that give those in accuracy."""
        from scipy.optimize import brentq

        items = np.hypot(self.difficulty, self.interaction)
        nodes, shares = SKEWED if self.skewed else NORMAL

        def of_runs(mean: float, spread: float) -> Array:
            """Expected accuracy, over all items, of runs at the nodes."""
            return expit((mean + spread * nodes)[:, None] + items * NORMAL[0]) @ NORMAL[1]

        def mean(spread: float) -> float:
            return float(brentq(lambda m: float(of_runs(m, spread) @ shares) - accuracy, -20, 20))

        def between_runs(spread: float) -> float:
            """Deviation in accuracy of runs that differ by `spread` logits."""
            runs = of_runs(mean(spread), spread)
            return float(np.sqrt((runs - runs @ shares) ** 2 @ shares))

        if deviation == 0:
            return mean(0.0), 0.0
        spread = float(brentq(lambda s: between_runs(s) - deviation, 0, 10))
        return mean(spread), spread


def crossed(ours: Array, theirs: Array, clusters: Array) -> Array:
    """The test of the tables."""
    if clusters[-1] + 1 == len(clusters):
        return items_independent(ours, theirs, clusters)
    return crossed_test([by_cluster(ours, clusters)], [by_cluster(theirs, clusters)]).p


def items_independent(ours: Array, theirs: Array, clusters: Array) -> Array:
    """The same, over items whatever their clusters."""
    return crossed_test([ours], [theirs]).p


def runs_paired(ours: Array, theirs: Array, clusters: Array) -> Array:
    """The same, with runs that are always paired."""
    return crossed_test([ours], [theirs], paired=True).p


def items_alone(ours: Array, theirs: Array, clusters: Array) -> Array:
    """The paired t over items, without variation between runs."""
    from scipy.special import stdtr

    test = crossed_test([ours], [theirs])
    t = ratio(np.abs(test.difference), np.sqrt(test.items.variance), otherwise=0.0)
    return 2 * stdtr(test.items.degrees, -t)


TESTS = {"crossed": crossed, "items independent": items_independent, "one run": items_alone}


def called(
    world: World, comparisons: int, seed: int = 0, tests: Mapping[str, Any] = TESTS
) -> dict[str, float]:
    """How often each test calls a method better or worse, in percent."""
    generator = np.random.default_rng(seed)
    counts = dict.fromkeys(tests, 0)
    for begin in range(0, comparisons, BATCH):
        ours, theirs = world.draw(generator, min(BATCH, comparisons - begin))
        for name, test in tests.items():
            counts[name] += int((test(ours, theirs, world.clusters) <= LEVEL).sum())
    return {name: 100 * count / comparisons for name, count in counts.items()}


def interval(outcomes: Array, draws: int = 2_000) -> tuple[float, float]:
    """The interval of one cell over one benchmark."""
    return intervals([{"": outcomes}], {"": {"": 1.0}}, draws)[0][""]


def covered(world: World, cells: int, seed: int = 0, draws: int = 2_000) -> float:
    """How often the interval of a cell contains the true accuracy, in percent."""
    generator = np.random.default_rng(seed)
    inside = 0
    for _ in range(cells):
        outcomes = world.draw(generator, 1)[0][0]
        if world.cluster > 1:
            outcomes = by_cluster(outcomes, world.clusters)
        low, high = interval(outcomes, draws)
        inside += low <= (world.accuracy + world.difference) / 100 <= high
    return 100 * inside / cells


RUNS = {
    "equal, 0 and 0": {},
    "equal, 2 and 2": {"deviation": 2.0},
    "equal, 5 and 5": {"deviation": 5.0},
    "unequal, 5 and 0": {"deviation": 5.0, "other": 0.0},
    "skewed, 5 and 5": {"deviation": 5.0, "skewed": True},
    "skewed, 5 and 0": {"deviation": 5.0, "other": 0.0, "skewed": True},
}


def worlds(difference: float = 0.0) -> Iterator[tuple[tuple[str, str, str], World]]:
    """All conditions: seeds, runs, and items per cluster."""
    for seeds in (3, 5):
        for runs, given in RUNS.items():
            for cluster in (1, 5, 10):
                given = {"deviation": 0.0, "interaction": 1.0, **given}
                world = World(seeds=seeds, difference=difference, cluster=cluster, **given)
                yield (str(seeds), runs, str(cluster)), world


def report(comparisons: int, seed: int) -> Report:
    """The table of the simulation."""
    columns = (
        *(Column(name, f"False: {name}", ".2f") for name in TESTS),
        Column("power", "Power", ".2f"),
        Column("covered", "Coverage", ".2f"),
    )
    rows = []
    for names, world in worlds():
        values = called(world, comparisons, seed)
        larger = replace(world, difference=DIFFERENCE)
        values["power"] = called(larger, comparisons, seed, {"power": crossed})["power"]
        values["covered"] = covered(world, max(1, comparisons // FEWER), seed)
        rows.append(Row(names, {name: Cell(value) for name, value in values.items()}))

    def reach(rate: float, count: float) -> float:
        return 196 * (rate * (1 - rate) / count) ** 0.5

    notes = (
        "False: percent of comparisons of equal methods called better or worse. 5 is measured as "
        f"5 ± {reach(LEVEL, comparisons):.2f} in 95% of conditions.",
        f"Power: percent called better if the difference is {DIFFERENCE:.0f} points.",
        "Coverage: percent of 95% intervals of a cell that contain the true accuracy, of the first "
        f"method. 95 is measured as 95 ± {reach(1 - LEVEL, max(1, comparisons // FEWER)):.2f}.",
    )
    facts = {
        "Comparisons": f"{comparisons:,} for each condition, seed {seed}",
        "Methods": "75% accuracy on 600 items, with a difficulty of each item for each method",
        "Runs": "standard deviation between a method's runs, in percentage points",
        "Clusters": "items per cluster, which share half of the variance of their difficulty",
    }
    names = ("Seeds", "Runs", "Cluster")
    table = Table("rates", "", columns, tuple(rows), names, notes)
    return Report("simulation", "Verdicts and intervals in simulated tables", facts, (table,))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the simulation and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=1000, help="for each condition (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (0)")
    given = parser.parse_args(arguments)
    show(report(given.comparisons, given.seed))


if __name__ == "__main__":
    main()

"""How often the tables' verdicts and intervals are right, by simulation.

    python tests/report/statistics/simulate.py --comparisons 10000

It prints how often the test calls one of two equal methods better, which must be at most 5% but for
chance, how often it finds a true difference, and how often the interval of a cell contains the true
accuracy. Two other tests are computed on the same draws: one that always pairs the runs, and one
over items alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bench.report.formats import show
from bench.report.statistics.bootstrap import intervals
from bench.report.statistics.crossed import LEVEL, crossed_test
from bench.report.statistics.variance import Array, ratio
from bench.report.tables import Cell, Column, Report, Row, Table

DEVIATIONS = (0.0, 2.0, 5.0)
DIFFERENCE = 5.0
BATCH = 500  # comparisons that are held at once
FEWER = 5  # times fewer intervals than tests, which are faster

# Gauss-Hermite: a mean over a standard normal is a sum over these nodes with these shares.
NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
SHARES = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class World:
    """Two methods and the distribution of their scores.

    An item has a difficulty that both methods share, on the logit scale, and another for each
    method (interaction). A run is better or worse than its method on all items. An answer is right
    with the chance that follows. Over all items and runs the expected accuracies differ by exactly
    `difference`. The default difficulty and an interaction of 1 give about the parts of variance
    of the arithmetic table on the tiny base.

    Attributes:
        seeds: runs of each method.
        items: of the benchmark.
        accuracy: expected accuracy of the other method, in percent.
        difference: true difference between the methods, in percentage points.
        deviation: standard deviation between a method's runs over all items, in percentage points.
        other: that of the other method; None for the same.
        difficulty: standard deviation of the items' difficulty, in logits.
        interaction: standard deviation of the items' difficulty for one method, in logits.
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
    alike: float = 0.0
    answers_alike: float = 0.0

    def draw(self, generator: np.random.Generator, comparisons: int) -> tuple[Array, Array]:
        """Outcomes of one method and the other, each `(comparisons, seeds, items)` of 0 and 1."""
        shape = (comparisons, self.seeds, self.items)
        difficulty = generator.normal(0, self.difficulty, (comparisons, 1, self.items))
        shared = generator.normal(size=(comparisons, self.seeds, 1))
        coins = generator.random(shape)
        together = generator.random(shape) < self.answers_alike
        drawn = []
        for centre, spread in self._methods:
            own = generator.normal(size=(comparisons, self.seeds, 1))
            run = spread * (np.sqrt(self.alike) * shared + np.sqrt(1 - self.alike) * own)
            liked = generator.normal(0, self.interaction, (comparisons, 1, self.items))
            chance = _chance(centre + difficulty + liked + run)
            fallen = np.where(together, coins, generator.random(shape))
            drawn.append((fallen < chance).astype(float))
        return drawn[0], drawn[1]

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

        def expected(means: Array, spread: float) -> Array:
            """Expected accuracy of logits with these means and one deviation."""
            return _chance(np.asarray(means)[..., None] + spread * NODES) @ SHARES

        def mean(spread: float) -> float:
            total = np.hypot(items, spread)
            return float(brentq(lambda logit: float(expected(logit, total)) - accuracy, -20, 20))

        def between_runs(spread: float) -> float:
            """Deviation in accuracy of runs that differ by `spread` logits."""
            runs = expected(mean(spread) + spread * NODES, items)
            return float(np.sqrt((runs - runs @ SHARES) ** 2 @ SHARES))

        if deviation == 0:
            return mean(0.0), 0.0
        spread = float(brentq(lambda s: between_runs(s) - deviation, 0, 10))
        return mean(spread), spread


def _chance(logit: Array) -> Array:
    return 1 / (1 + np.exp(-logit))


def crossed(ours: Array, theirs: Array) -> Array:
    """The test of the tables."""
    return crossed_test([ours], [theirs]).p


def runs_paired(ours: Array, theirs: Array) -> Array:
    """The same with runs that are always paired."""
    return crossed_test([ours], [theirs], paired=True).p


def items_alone(ours: Array, theirs: Array) -> Array:
    """The paired t over items, without variation between runs."""
    from scipy.special import stdtr

    test = crossed_test([ours], [theirs])
    t = ratio(np.abs(test.difference), np.sqrt(test.items.variance), otherwise=0.0)
    return 2 * stdtr(test.items.degrees, -t)


TESTS = {"crossed": crossed, "paired": runs_paired, "items": items_alone}


def called(
    world: World, comparisons: int, seed: int = 0, tests: Mapping[str, Any] = TESTS
) -> dict[str, float]:
    """How often each test calls a method better or worse, in percent."""
    generator = np.random.default_rng(seed)
    counts = dict.fromkeys(tests, 0)
    for begin in range(0, comparisons, BATCH):
        ours, theirs = world.draw(generator, min(BATCH, comparisons - begin))
        for name, test in tests.items():
            counts[name] += int((test(ours, theirs) <= LEVEL).sum())
    return {name: 100 * count / comparisons for name, count in counts.items()}


def interval(outcomes: Array, draws: int = 2_000) -> tuple[float, float]:
    """The interval of one cell over one benchmark."""
    return intervals([{"": outcomes}], {"": {"": 1.0}}, draws)[0][""]


def covered(world: World, cells: int, seed: int = 0, draws: int = 2_000) -> float:
    """How often the interval of a cell contains the true accuracy, in percent."""
    generator = np.random.default_rng(seed)
    inside = 0
    for _ in range(cells):
        low, high = interval(world.draw(generator, 1)[1][0], draws)
        inside += low <= world.accuracy / 100 <= high
    return 100 * inside / cells


def worlds(difference: float) -> Iterator[tuple[str, World]]:
    """The conditions of a table, with names."""
    for interaction in (0.0, 1.0):
        for size in (150, 600):
            for deviation in DEVIATIONS:
                name = f"{size} items, runs {deviation:.0f}" + ", method x item" * bool(interaction)
                world = World(
                    items=size, difference=difference, deviation=deviation, interaction=interaction
                )
                yield name, world


OTHERS = {
    "600 items, one method's runs 5, other's 0": World(deviation=5.0, other=0.0),
    "600 items, runs 2, alike by seed": World(deviation=2.0, alike=0.5),
    "600 items, runs 2, answers alike by seed": World(deviation=2.0, alike=0.8, answers_alike=0.8),
    "600 items, runs 2, five seeds": World(deviation=2.0, seeds=5),
}


def report(comparisons: int, seed: int) -> Report:
    """All tables of the simulation."""

    def table(heading: str, rates: Mapping[str, Mapping[str, float]], note: str = "") -> Table:
        columns = tuple(Column(name, name) for name in next(iter(rates.values())))
        rows = [Row((n,), {k: Cell(v) for k, v in of_row.items()}) for n, of_row in rates.items()]
        notes = (note,) if note else ()
        return Table(heading, heading, columns, tuple(rows), ("Condition",), notes)

    reach = 196 * (LEVEL * (1 - LEVEL) / comparisons) ** 0.5
    equal = {**dict(worlds(0.0)), **OTHERS}
    coverage = {
        f"600 items, runs {deviation:.0f}, {seeds} seeds": {
            "percent": covered(World(seeds=seeds, deviation=deviation), comparisons // FEWER, seed)
        }
        for seeds in (3, 5)
        for deviation in DEVIATIONS
    }
    facts = {
        "Comparisons": f"{comparisons:,} for each condition, seed {seed}",
        "Methods": "3 seeds each if not given, 75% accuracy",
        "Runs": "standard deviation between the runs of a method, in percentage points",
    }
    tables = (
        table(
            "No true difference: percent called better or worse",
            {name: called(world, comparisons, seed) for name, world in equal.items()},
            f"A rate of 5 is measured as {5 - reach:.1f} to {5 + reach:.1f} in 95% of conditions.",
        ),
        table(
            f"A true difference of {DIFFERENCE:.0f}: percent called better or worse",
            {name: called(world, comparisons, seed) for name, world in worlds(DIFFERENCE)},
        ),
        table("Intervals that contain the true accuracy, in percent", coverage),
    )
    return Report("simulation", "Verdicts and intervals in simulated tables", facts, tables)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the simulation and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=1000, help="for each condition (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (0)")
    given = parser.parse_args(arguments)
    show(report(given.comparisons, given.seed))


if __name__ == "__main__":
    main()

"""Runs of two methods, drawn from a model of how scores come about; for simulations.

An item has a difficulty that both methods share, on the logit scale; with an interaction each
method finds some items easier than the other does. A run is a little better or worse than its
method on all items. An answer is then a coin with that chance. Over all items and runs there could
be, the methods' expected accuracies differ by exactly the difference that is asked for.

The usual spread of difficulty and an interaction of 1 give about the parts of variance that the
runs of the arithmetic table on the tiny base show.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.report.statistics.variance import Array

# Gauss-Hermite: a mean over a standard normal is a sum over these nodes with these shares.
NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
SHARES = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class World:
    """Two methods, and what moves their scores.

    Attributes:
        seeds: Runs of each method.
        items: Of the benchmark.
        accuracy: Expected accuracy of the other method, in percent.
        difference: True difference between the methods, in points.
        deviation: Standard deviation between a method's runs on all items there could be, in
            points.
        other: The same of the other method; None for the same.
        difficulty: Standard deviation of the items' difficulty, in logits.
        interaction: Standard deviation of what each method makes of an item, in logits.
        alike: Correlation between the runs of both methods with one seed.
        answers_alike: Share of the answers that one seed decides for both methods: there the coin
            falls for both or for neither, where both have the same chance.
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
        """Outcomes of our method and the other, each `(comparisons, seeds, items)` of 0 and 1."""
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
        """The mean and the deviation between runs in logits that give those in accuracy."""
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

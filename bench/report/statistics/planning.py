"""How many seeds or items would make a difference significant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, sqrt

from bench.report.statistics.crossed import LEAST_SEEDS, LEVEL, CrossedTest

POWER = 0.8
MOST_SEEDS = 1_000
MOST_ITEMS = 1_000_000


@dataclass(frozen=True)
class Design:
    """A comparison with its estimated variances, of which negative ones count as 0.

    Attributes:
        difference: to be found; 1 is 100 points.
        seeds: their number now.
        size: number of items now.
        runs: variance between runs of the difference, of one pair of runs.
        items: variance of the mean difference by method x item, with the items now.
        rest: variance of one pair of runs' difference by the rest, with the items now.
        run_rest: the rest in the variance between runs, of one pair of runs.
        spread: Satterthwaite's degrees of freedom of the runs, for each seed beyond the first.
        level: of the test.
    """

    difference: float
    seeds: int
    size: int
    runs: float
    items: float
    rest: float
    run_rest: float
    spread: float
    level: float = LEVEL

    @classmethod
    def of(cls, test: CrossedTest, seeds: int, size: int, level: float = LEVEL) -> Design:
        """The design of one comparison."""
        rest, run_rest = float(test.item_residual), float(test.run_residual)
        return cls(
            difference=abs(float(test.difference)),
            seeds=seeds,
            size=size,
            runs=max(float(test.runs) - run_rest, 0.0) * seeds,
            items=max(float(test.items) - rest, 0.0),
            rest=rest * seeds,
            run_rest=run_rest * seeds,
            spread=max(float(test.run_degrees), 1.0) / (seeds - 1),
            level=level,
        )

    def power(self, seeds: float, size: float) -> float:
        """How often the test would find the difference, from 0 to 1."""
        from scipy.special import nctdtr, stdtrit

        share = size / self.size
        runs = (self.runs + self.run_rest / share) / seeds
        items = self.items / share + self.rest / share / seeds
        variance = self.runs / seeds + items
        if variance <= 0:
            return 1.0
        uncertain = runs**2 / (self.spread * (seeds - 1)) + items**2 / max(size - 1, 1)
        degrees = max(variance**2 / uncertain, seeds - 1)
        needed = stdtrit(degrees, 1 - self.level / 2)
        found = 1 - nctdtr(degrees, self.difference / sqrt(variance), needed)
        return float(found) if found == found else 1.0  # NaN far from the centre

    def seeds_needed(self) -> int | None:
        """The least number of seeds with 80% power, for these items; None if none is enough."""
        return _least(lambda seeds: self.power(seeds, self.size), LEAST_SEEDS, MOST_SEEDS)

    def items_needed(self) -> int | None:
        """The least number of items with 80% power, for these seeds; None if none is enough."""
        return _least(lambda size: self.power(self.seeds, size), self.size, MOST_ITEMS)


def would_separate(design: Design) -> str:
    """What would make the difference significant, in words."""
    seeds, items = design.seeds_needed(), design.items_needed()
    numbers = [f"about {seeds:,} seeds"] if seeds else []
    if items:
        digits = max(len(str(items)) - 2, 0)  # two figures, rounded up
        numbers.append(f"about {ceil(items / 10**digits) * 10**digits:,} items")
    return ", or ".join(numbers) or "more seeds and more items"


def _least(power: Callable[[int], float], low: int, high: int) -> int | None:
    """The least whole number from `low` to `high` with enough power, which rises with it."""
    if power(high) < POWER:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle + 1, high)
    return low

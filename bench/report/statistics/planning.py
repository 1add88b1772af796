"""How many seeds or items would separate a difference that the test could not."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, sqrt

from bench.report.statistics.crossed import LEAST_SEEDS, LEVEL, CrossedTest

POWER = 0.8
MOST_SEEDS = 1_000
MOST_ITEMS = 1_000_000
SMALLEST = 0.0005  # a twentieth of a point: 0.0 in a table


@dataclass(frozen=True)
class Design:
    """What a comparison would be with other numbers of seeds and items.

    The variances are those that were seen; a part that came out below nothing is nothing.

    Attributes:
        difference: To be separated; 1 is 100 points.
        seeds: The number now.
        size: The number of items now.
        runs: Variance between runs of the difference, of one pair of runs.
        items: Variance of the mean difference that method x item gives with the items now.
        rest: Variance of one pair of runs' difference that the rest gives with the items now.
        run_rest: What the rest adds to the variance that one pair of runs shows.
        spread: Satterthwaite's degrees of freedom of the runs, for each seed beyond the first.
        level: Of the test.
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
    def of(cls, test: CrossedTest, seeds: int, size: int, level: float = LEVEL) -> "Design":
        """The design of a test that was made, of one comparison."""
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
        """How often the test would separate the difference, from 0 to 1."""
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
        # Far from the centre the function gives up; there the answer is known.
        return float(found) if found == found else 1.0

    def seeds_needed(self) -> int | None:
        """The least number of seeds, with the items as they are; None if none would do."""
        return _least(lambda seeds: self.power(seeds, self.size), LEAST_SEEDS, MOST_SEEDS)

    def items_needed(self) -> int | None:
        """The least number of items, with the seeds as they are; None if none would do."""
        return _least(lambda size: self.power(self.seeds, size), self.size, MOST_ITEMS)

    def both_needed(self) -> tuple[int, int] | None:
        """Seeds and items, both so many times those there are now; None if none would do."""
        times = _least(
            lambda tenths: self.power(self.seeds * tenths / 10, self.size * tenths / 10),
            10,
            10 * min(MOST_SEEDS // self.seeds, MOST_ITEMS // self.size),
        )
        if times is None:
            return None
        return ceil(self.seeds * times / 10), ceil(self.size * times / 10)


def would_separate(design: Design) -> str:
    """What would separate the difference, in words; the power is 80%.

    Where the runs limit it, no number of items would do alone; where the items do, no number of
    seeds.
    """
    if design.difference < SMALLEST:
        return "no difference to separate"
    seeds, size = design.seeds_needed(), design.items_needed()
    if seeds and size:
        return f"about {seeds:,} seeds, or about {_rounded(size)} items"
    if seeds:
        return f"about {seeds:,} seeds; no number of items alone"
    if size:
        return f"about {_rounded(size)} items; no number of seeds alone"
    both = design.both_needed()
    if both:
        return f"about {both[0]:,} seeds with {_rounded(both[1])} items; no number of either alone"
    return f"more than {MOST_SEEDS:,} seeds, and more items"


def _least(power: Callable[[int], float], low: int, high: int) -> int | None:
    """The least whole number from `low` to `high` with enough power, which rises with it."""
    if power(high) < POWER:
        return None
    while low < high:
        middle = (low + high) // 2
        if power(middle) >= POWER:
            high = middle
        else:
            low = middle + 1
    return low


def _rounded(number: int) -> str:
    """A number to two figures, upwards: a plan is no more exact."""
    digits = max(len(str(number)) - 2, 0)
    return f"{ceil(number / 10**digits) * 10**digits:,}"

"""How often the tables' verdicts and intervals are right, by simulation.

    python -m bench.report.statistics.simulate                          # about a minute
    python -m bench.report.statistics.simulate --comparisons 10000      # the documented rates

It prints how often each candidate test calls one of two equal methods better, which must be at most
5% but for chance; how often it finds a true difference; and how often the interval of a cell holds
the true accuracy.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bench.report.layout import Document, Section
from bench.report.statistics.bootstrap import interval
from bench.report.statistics.candidates import CANDIDATES, Test
from bench.report.statistics.crossed import LEVEL
from bench.report.statistics.world import World

DEVIATIONS = (0.0, 2.0, 5.0)
SIZES = (150, 600)
INTERACTION = 1.0
DIFFERENCE = 5.0
BATCH = 500  # comparisons that are held at once
FEWER = 5  # an interval is drawn, not computed: fewer of them


def called(
    world: World, comparisons: int, seed: int = 0, tests: Mapping[str, Test] = CANDIDATES
) -> dict[str, float]:
    """How often each test calls our method better or worse.

    Args:
        world: What the runs are drawn from.
        comparisons: Number of pairs of methods.
        seed: Of the draws.
        tests: By name.

    Returns:
        Percent by name.
    """
    generator = np.random.default_rng(seed)
    counts = dict.fromkeys(tests, 0)
    for begin in range(0, comparisons, BATCH):
        ours, theirs = world.draw(generator, min(BATCH, comparisons - begin))
        for name, test in tests.items():
            counts[name] += int((test(ours, theirs) <= LEVEL).sum())
    return {name: 100 * count / comparisons for name, count in counts.items()}


def covered(world: World, cells: int, seed: int = 0, draws: int = 2_000) -> float:
    """How often the interval of a cell holds the true accuracy, in percent."""
    generator = np.random.default_rng(seed)
    held = 0
    for _ in range(cells):
        _, outcomes = world.draw(generator, 1)
        low, high = interval([outcomes[0]], draws=draws)
        held += low <= world.accuracy / 100 <= high
    return 100 * held / cells


def worlds(difference: float) -> Iterable[tuple[str, World]]:
    """The conditions of a table, named."""
    for interaction in (0.0, INTERACTION):
        for size in SIZES:
            for deviation in DEVIATIONS:
                name = f"{size} items, runs {deviation:.0f}" + (
                    ", method x item" * bool(interaction)
                )
                yield (
                    name,
                    World(
                        items=size,
                        difference=difference,
                        deviation=deviation,
                        interaction=interaction,
                    ),
                )


def report(comparisons: int, seed: int) -> Document:
    """All tables of the simulation."""
    from bench.progress import Progress

    equal = [
        *worlds(0.0),
        ("600 items, one method's runs 5, other's 0", World(deviation=5.0, other=0.0)),
        ("600 items, runs 2, alike by seed", World(deviation=2.0, alike=0.5)),
        (
            "600 items, runs 2, answers alike by seed",
            World(deviation=2.0, alike=0.8, answers_alike=0.8),
        ),
        ("600 items, runs 2, five seeds", World(deviation=2.0, seeds=5)),
    ]
    unequal = [*worlds(DIFFERENCE)]
    cells = comparisons // FEWER
    total = (len(equal) + len(unequal)) * comparisons + 2 * len(DEVIATIONS) * cells
    with Progress("simulation", total, "comparison") as progress:

        def rates(conditions: Iterable[tuple[str, World]]) -> Iterable[tuple[str, ...]]:
            for name, world in conditions:
                found = called(world, comparisons, seed)
                progress.update(comparisons)
                yield name, *(f"{rate:.1f}" for rate in found.values())

        def coverage() -> Iterable[tuple[str, ...]]:
            for seeds in (3, 5):
                for deviation in DEVIATIONS:
                    world = World(seeds=seeds, deviation=deviation)
                    found = covered(world, cells, seed)
                    progress.update(cells)
                    yield f"600 items, runs {deviation:.0f}, {seeds} seeds", f"{found:.1f}"

        header = ("Condition", *CANDIDATES)
        tables = (
            Section(
                "No true difference: percent called better or worse",
                header,
                tuple(rates(equal)),
                (f"At most 5, but for chance: a true 5 shows as {_chance(comparisons)}.",),
            ),
            Section(
                f"A true difference of {DIFFERENCE:.0f} points: percent called better or worse",
                header,
                tuple(rates(unequal)),
                tuple(f"{name}: {test.__doc__}" for name, test in CANDIDATES.items()),
            ),
            Section(
                "Intervals of a cell",
                ("Condition", "Percent that hold the true accuracy"),
                tuple(coverage()),
                (f"Of {cells:,}; 95 or more is right.",),
            ),
        )
    facts = {
        "Comparisons": f"{comparisons:,} for each condition, seed {seed}",
        "Methods": "3 seeds each where not said otherwise, 75% accuracy",
        "Runs": "deviation between the runs of a method, in points",
        "Method x item": "each method finds some items easier than the other does",
    }
    return Document("Verdicts and intervals in simulated tables", facts, tables)


def _chance(comparisons: int) -> str:
    reach = 196 * (0.05 * 0.95 / comparisons) ** 0.5
    return f"{5 - reach:.1f} to {5 + reach:.1f} in 95 of 100 conditions"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the simulation and print its tables."""
    from bench.report.render import show

    parser = argparse.ArgumentParser(
        prog="python -m bench.report.statistics.simulate", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--comparisons", type=int, default=1000, help="for each condition (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (0)")
    given = parser.parse_args(arguments)
    if given.comparisons < FEWER:
        parser.error(f"--comparisons is {given.comparisons}: give {FEWER} or more, e.g. 1000")
    show(report(given.comparisons, given.seed))


if __name__ == "__main__":
    main()

"""Which test rows the runs of a table's rows answered correctly, from their records."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.names import key_of
from bench.report.records import Record
from bench.report.statistics.variance import Array

NOT_KEPT = (
    "not every run's record says which rows it answered correctly (an earlier version of this "
    "project did not keep it; force=true makes the runs again)"
)
OTHER_ROWS = "not all runs were asked the same test rows"


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of one row of a table.

    Attributes:
        seeds: Of its runs, in the row's order; None for a run without one.
        sets: By a benchmark's key an array `(seeds, items)` of 0 and 1; without the benchmarks
            that a run was not scored on.
        tests: Hash of the test rows.
        why: Why there are none; else empty.
    """

    seeds: tuple[int | None, ...]
    sets: dict[str, Array] = field(default_factory=dict)
    tests: str | None = None
    why: str = ""

    def of(self, key: str, seeds: Sequence[int | None] | None = None) -> Array:
        """The outcomes on one benchmark, of some of the seeds; `(seeds, items)`."""
        if seeds is None:
            return self.sets[key]
        return self.sets[key][[self.seeds.index(seed) for seed in seeds]]


def outcomes_of(runs: Sequence[Record], keys: Iterable[str]) -> Outcomes:
    """Read the outcomes of a row's runs.

    Args:
        runs: The runs of one row, in order of their seeds.
        keys: Of the table's benchmarks.
    """
    seeds = tuple(run.get("seed") for run in runs)
    tests = {(run.get("hashes") or {}).get("tests") for run in runs}
    scored = {key: [_score(run, key) for run in runs] for key in keys}
    whole = {key: scores for key, scores in scored.items() if all(scores)}
    kept = {key: [str(s.get("outcomes") or "") for s in scores] for key, scores in whole.items()}
    if not kept or not all(text for texts in kept.values() for text in texts):
        return Outcomes(seeds, why=NOT_KEPT)
    sizes = {key: {len(text) for text in texts} for key, texts in kept.items()}
    if len(tests) > 1 or None in tests or any(len(found) > 1 for found in sizes.values()):
        return Outcomes(seeds, why=OTHER_ROWS)
    sets = {key: np.array([_read(text) for text in texts]) for key, texts in kept.items()}
    return Outcomes(seeds, sets, tests.pop())


def _score(run: Record, key: str) -> Record:
    """A run's score on a benchmark, matched ignoring case; empty where it has none."""
    return next(
        (s for name, s in run["scores"].items() if key_of(name) == key_of(key) and s.get("n")), {}
    )


def _read(text: str) -> Array:
    return np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(float) - ord("0")

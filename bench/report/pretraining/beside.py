"""Each model against its Euclidean twin: the same seeds, the same text, the same order.

The difference in bits per byte is tested over seeds and over parts of the held-out text, as a
table's methods are over seeds and items (`bench.report.statistics.crossed`): a verdict is to hold
for another seed and for another text of the kind. The verdicts of a report are one family,
corrected by Holm's method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.report.pretraining.rows import PretrainedRow, twin_of
from bench.report.statistics.crossed import LEAST_SEEDS, LEVEL, crossed_test
from bench.report.statistics.differences import BETTER, FEW_SEEDS, NOT_COMPARED, OPEN, WORSE
from bench.report.statistics.holm import holm
from bench.report.statistics.variance import Array


@dataclass(frozen=True)
class TwinDifference:
    """A model less its twin, in bits per byte: below 0 it needs fewer.

    Attributes:
        row: of the model.
        twin: of the other.
        verdict: `better`, `worse`, or one of those that claim nothing.
        difference: mean over the seeds that both have; None where they can't be compared.
        low: lower end of its 95% interval; None with fewer than three seeds.
        high: upper end.
        p: two-sided, of this comparison alone.
        p_holm: corrected over the report: what the verdict goes by.
        by_seed: the difference of each seed.
        why: why there is no test; else empty.
    """

    row: PretrainedRow
    twin: PretrainedRow
    verdict: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    by_seed: Mapping[int, float] | None = None
    why: str = ""

    @property
    def speed(self) -> float:
        """Tokens a second as a multiple of the twin's."""
        return self.row.mean_of("tokens_per_second") / self.twin.mean_of("tokens_per_second")


def beside_twins(
    rows: Sequence[PretrainedRow], twins: Mapping[str, str]
) -> tuple[TwinDifference, ...]:
    """Every row that has a twin beside it, with a verdict."""
    pairs = [(row, twin) for row in rows if (twin := twin_of(row, rows, twins))]
    found = [_compare(row, twin) for row, twin in pairs]
    corrected = iter(holm([each.p for each in found if each.p is not None]))
    return tuple(each if each.p is None else _judged(each, next(corrected)) for each in found)


def _compare(row: PretrainedRow, twin: PretrainedRow) -> TwinDifference:
    empty = TwinDifference(row, twin, NOT_COMPARED)
    seeds = [seed for seed in row.records if seed in twin.records]
    if not seeds:
        return replace(empty, why="no seed in common")
    for seed in seeds:
        ours, theirs = (each.records[seed]["training"] for each in (row, twin))
        if ours["order"] != theirs["order"]:
            return replace(empty, why=f"seed {seed}: not trained on the same tokens in one order")
        if ours["blocks"]["bytes"] != theirs["blocks"]["bytes"]:
            return replace(empty, why=f"seed {seed}: not the same held-out text")
    one, other = (np.stack([_parts(each, seed) for seed in seeds]) for each in (row, twin))
    by_seed = dict(zip(seeds, (one - other).mean(axis=1).tolist(), strict=True))
    compared = replace(empty, difference=float((one - other).mean()), by_seed=by_seed)
    if len(seeds) < LEAST_SEEDS:
        few = f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''} in common, 3 are needed"
        return replace(compared, verdict=FEW_SEEDS, why=few)
    if one.shape[1] < 2:
        return replace(compared, why="one held-out document alone")
    test = crossed_test([one], [other])
    low, high = test.interval()
    return replace(compared, verdict=OPEN, low=float(low), high=float(high), p=float(test.p))


def _parts(row: PretrainedRow, seed: int) -> Array:
    """Bits of each part of the held-out text, scaled so that their mean is bits per byte."""
    blocks = row.records[seed]["training"]["blocks"]
    return np.array(blocks["bits"]) * len(blocks["bits"]) / sum(blocks["bytes"])


def _judged(found: TwinDifference, p: float) -> TwinDifference:
    if p > LEVEL or found.difference is None:
        return replace(found, p_holm=p)
    return replace(found, p_holm=p, verdict=BETTER if found.difference < 0 else WORSE)

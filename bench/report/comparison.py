"""A comparison of two rows with the same seeds on the same items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bench.report.statistics.crossed import LEAST_SEEDS, LEVEL, crossed_test
from bench.report.statistics.variance import Array

BETTER, WORSE = "better", "worse"
NOT_SIGNIFICANT = "n.s."
FEW_SEEDS = "n.s. (too few seeds)"
NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Measure:
    """What rows are compared by.

    Attributes:
        key: its name in JSON.
        label: its name in tables.
        unit: unit of a difference.
        format: format of a difference in a table.
        scale: factor of means over items.
        lower_is_better: whether a negative difference is an improvement.
    """

    key: str
    label: str
    unit: str
    format: str
    scale: float = 1.0
    lower_is_better: bool = False

    def cell(self, column: str) -> str:
        """The key of its cells of a benchmark or average: `micro`, `micro_nll`."""
        return column if self is ACCURACY else f"{column}_{self.key}"


ACCURACY = Measure("accuracy", "accuracy", "percentage points", "z.1f", scale=100.0)
NLL = Measure("nll", "NLL", "nats per token", "z.3f", lower_is_better=True)
BITS = Measure("bits_per_byte", "bits per byte", "bits per byte", "z.3f", lower_is_better=True)
MEASURES = {measure.key: measure for measure in (ACCURACY, NLL, BITS)}


@dataclass(frozen=True)
class Comparison:
    """A row less its reference, on one benchmark, average or measure.

    Attributes:
        heading: what it is about, e.g. `curvature` or `vs. LoRA`; may be empty.
        row: key of the row.
        reference: key of the reference row.
        label: the row's name in the table.
        reference_label: the reference's name in the table.
        column: key of a benchmark or average, or `bits_per_byte`.
        measure: key of what is compared, in `MEASURES`.
        verdict: `better` or `worse` if a difference is claimed, else one of the other constants.
        difference: mean over the common seeds, in the unit of the column (percentage points for
            accuracy); None if the two can't be compared.
        low: lower end of its 95% interval, uncorrected; None with fewer than three seeds.
        high: upper end.
        p: two-sided p-value of this comparison alone.
        p_holm: corrected over the family by Holm's method; decides the verdict.
        seeds: the seeds that both rows have.
        by_seed: the difference for each of these seeds.
        n: items that each run answered, or clusters of items.
        degrees: degrees of freedom of the test.
        detectable: smallest difference that the test of a family of this size finds with 80%
            power; see `CrossedTest.detectable`.
        paired_runs: whether runs of one seed were paired in the test (items always are).
        why: why there is no test or no comparison.
    """

    heading: str
    row: str
    reference: str
    label: str
    reference_label: str
    column: str
    measure: str = ACCURACY.key
    verdict: str = NOT_COMPARED
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    seeds: tuple[int, ...] = ()
    by_seed: Mapping[int, float] = field(default_factory=dict)
    n: int | None = None
    degrees: float | None = None
    detectable: float | None = None
    paired_runs: bool = False
    why: str = ""

    @property
    def name(self) -> str:
        """What is subtracted from what, e.g. `HypLoRA − LoRA`."""
        return f"{self.label} − {self.reference_label}"


def compare(
    asked: Comparison,
    ours: Sequence[Array],
    theirs: Sequence[Array],
    weights: Sequence[float],
    seeds: Sequence[int],
    family: int = 1,
) -> Comparison:
    """Estimate and test a difference; `judge` gives the verdict.

    Args:
        asked: what is compared.
        ours: for each benchmark the outcomes of the row, `(seeds, items)`.
        theirs: those of the reference, with the same seeds and items.
        weights: weights of the benchmarks; they add up to 1.
        seeds: the seeds that both have.
        family: number of comparisons that are corrected together.
    """
    if not seeds:
        return replace(asked, verdict=FEW_SEEDS, why="no common seed")
    unit = MEASURES[asked.measure].scale
    pairs = list(zip(weights, ours, theirs, strict=True))
    by_run = [
        sum(w * (a[run].mean() - b[run].mean()) for w, a, b in pairs) for run in range(len(seeds))
    ]
    found = replace(
        asked,
        verdict=NOT_SIGNIFICANT,
        difference=unit * sum(w * float(a.mean() - b.mean()) for w, a, b in pairs),
        seeds=tuple(seeds),
        by_seed={seed: unit * float(value) for seed, value in zip(seeds, by_run, strict=True)},
        n=sum(values.shape[1] for values in ours),
    )
    if len(seeds) < LEAST_SEEDS:
        few = f"{len(seeds)} common seed{'s' if len(seeds) > 1 else ''}, {LEAST_SEEDS} are needed"
        return replace(found, verdict=FEW_SEEDS, why=few)
    test = crossed_test(ours, theirs, weights)
    low, high = test.interval()
    return replace(
        found,
        low=unit * float(low),
        high=unit * float(high),
        p=float(test.p),
        degrees=float(test.degrees),
        detectable=unit * float(test.detectable(LEVEL / family)),
        paired_runs=bool(test.paired),
    )


def judge(family: Sequence[Comparison]) -> list[Comparison]:
    """Correct the p-values of a family of comparisons and give the verdicts, at 5%."""
    corrected = iter(holm([found.p for found in family if found.p is not None]))
    judged = []
    for found in family:
        if found.p is not None and found.difference is not None:
            p = next(corrected)
            better = (found.difference > 0) != MEASURES[found.measure].lower_is_better
            verdict = found.verdict if p > LEVEL else BETTER if better else WORSE
            found = replace(found, p_holm=p, verdict=verdict)
        judged.append(found)
    return judged


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected over a family: at 5%, all verdicts hold in 95% of families.

    Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = np.minimum(values[order] * np.arange(len(p), 0, -1), 1.0)
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(steps)
    return list(map(float, corrected))

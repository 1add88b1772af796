"""A comparison of two rows with the same seeds on the same items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BETTER, WORSE = "better", "worse"
NOT_SIGNIFICANT = "n.s."
FEW_SEEDS = "n.s. (too few seeds)"
NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Comparison:
    """A row less its reference, on one benchmark, average or measure.

    Attributes:
        heading: of the group of comparisons that it belongs to, e.g. `vs. LoRA`.
        row: key of the row.
        reference: key of the reference row.
        label: what the table calls the row.
        reference_label: what the table calls the reference.
        column: key of a benchmark or average, or `bits_per_byte`.
        verdict: `better` or `worse` if a difference is claimed, else one of the other constants.
        difference: mean over the common seeds, in the unit of the column (percentage points for
            accuracy); None if the two can't be compared.
        low: lower end of its 95% interval, uncorrected; None with fewer than three seeds.
        high: upper end.
        p: two-sided p-value of this comparison alone.
        p_holm: corrected over the family by Holm's method; decides the verdict.
        seeds: that both rows have.
        by_seed: the difference of each seed.
        n: items that each run answered.
        degrees: degrees of freedom of the test.
        sd_runs: standard deviation of the difference between runs beyond item noise.
        paired_runs: whether runs of one seed were paired in the test (items always are).
        would_separate: how many seeds or items would make this difference significant, in words.
        why: why there is no test or no comparison.
    """

    heading: str
    row: str
    reference: str
    label: str
    reference_label: str
    column: str
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
    sd_runs: float | None = None
    paired_runs: bool = False
    would_separate: str = ""
    why: str = ""

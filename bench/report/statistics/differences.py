"""What a comparison of two rows of a table found."""

from dataclasses import dataclass

BETTER, WORSE = "better", "worse"
OPEN = "not separated"
FEW_SEEDS = "not separated (seeds)"
NOT_COMPARED = "not compared"
VERDICTS = (BETTER, WORSE, OPEN, FEW_SEEDS, NOT_COMPARED)


@dataclass(frozen=True)
class PairedDifference:
    """A row of a table less its reference, on one set or average: same seeds, same items.

    Attributes:
        method: Key of the row's method.
        curvature: Its curvature, or `auto`; None for a method without one.
        label: What the table calls the row.
        reference: What the table calls the row that it is set against.
        key: A benchmark's key, `micro` or `macro`.
        verdict: One of `VERDICTS`. Only `better` and `worse` claim a difference.
        difference: Row less reference, in points, mean over the seeds that both have; None where
            they can't be compared.
        low: Lower end of the difference's 95% interval, in points; None with fewer than three
            seeds. Each interval is of one comparison alone, without the family's correction.
        high: Upper end.
        p: Two-sided p-value of this comparison alone; None with fewer than three seeds.
        p_holm: The same, corrected over the family by Holm's method: what the verdict goes by.
        seeds: The seeds that both rows have.
        n: Items that each run answered.
        degrees: Degrees of freedom of the test.
        sd_runs: Standard deviation between runs of the difference, in points, beyond what chance
            in the items gives; 0 where there is no more than that.
        paired_runs: Whether runs with one seed were paired, since their answers are alike; the
            items are always paired.
        would_separate: How many seeds or items would separate a difference of this size, in words;
            empty where it is separated or can't be told.
        why: Why there is no test, or no comparison; else empty.
    """

    method: str
    curvature: float | str | None
    label: str
    reference: str
    key: str
    verdict: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    seeds: tuple[int, ...] = ()
    n: int | None = None
    degrees: float | None = None
    sd_runs: float | None = None
    paired_runs: bool = False
    would_separate: str = ""
    why: str = ""


@dataclass(frozen=True)
class BesideReference:
    """All rows of a table against one method: a section of the table.

    Attributes:
        method: Key of the method that the others are set against, e.g. `lora`.
        heading: E.g. `Beside LoRA`.
        differences: The average that the table is judged by of all rows first, in the table's
            order, then each set.
        notes: What was compared, how, and what limits it.
    """

    method: str
    heading: str
    differences: tuple[PairedDifference, ...]
    notes: tuple[str, ...] = ()

    def on(self, key: str) -> tuple[PairedDifference, ...]:
        """The differences on one benchmark, `micro` or `macro`, in the table's order."""
        return tuple(found for found in self.differences if found.key == key)

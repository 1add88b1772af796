"""What a comparison found, as a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.report.figures.subject import Subject
from bench.report.pretraining.beside import TwinDifference
from bench.report.statistics.differences import BETTER, NOT_COMPARED, WORSE, PairedDifference
from bench.report.statistics.wording import between, points, probability
from bench.report.table import Table


@dataclass(frozen=True)
class Sentence:
    """What a comparison found, in three parts: `HypLoRA is` `worse` ` than LoRA: ...`."""

    subject: str
    verdict: str
    rest: str

    @property
    def text(self) -> str:
        """The whole sentence."""
        return f"{self.subject} {self.verdict}{self.rest}"

    @property
    def mark(self) -> str:
        """`better` or `worse` where it claims that, else `open`."""
        return self.verdict if self.verdict in (BETTER, WORSE) else "open"


def findings(table: Table, family: str = "") -> Iterator[Sentence]:
    """A sentence for each row against each reference, on what the table judges by.

    Args:
        table: with its comparisons.
        family: what the methods' keys begin with; empty for all.
    """
    main = Subject(table, ()).main
    for beside in table.beside:
        for found in beside.on(main):
            if found.method.startswith(family) and found.verdict != NOT_COMPARED:
                yield sentence(found)


def twin_sentence(found: TwinDifference) -> Sentence:
    """A pretrained model beside its twin, in bits per byte."""
    told = "" if found.difference is None else f": {found.difference:+.3f} bits per byte"
    told += _facts(found, len(found.by_seed or {}), "+z.3f") + "."
    return _claim(found.row.label, found.verdict, found.twin.label, told)


def sentence(found: PairedDifference) -> Sentence:
    """One comparison in words, with its interval and corrected p-value."""
    told = "" if found.difference is None else f": {points(found.difference)} points"
    told += _facts(found, len(found.seeds), "+z.1f")
    if found.would_separate:
        takes = "" if found.would_separate.startswith("no ") else "to separate that takes "
        told += f"; {takes}{found.would_separate}"
    return _claim(found.label, found.verdict, found.reference, f"{told}.")


def _claim(ours: str, verdict: str, theirs: str, told: str) -> Sentence:
    if verdict in (BETTER, WORSE):
        return Sentence(f"{ours} is", verdict, f" than {theirs}{told}")
    return Sentence(f"{ours} and {theirs} are", verdict, told)


def _facts(found: PairedDifference | TwinDifference, seeds: int, form: str) -> str:
    """Interval, corrected p-value and number of seeds in brackets, as far as there are any."""
    facts = []
    if found.low is not None:
        facts.append(f"95% interval {between(found.low, found.high, form)}")
    if found.p_holm is not None:
        facts.append(f"p (Holm) {probability(found.p_holm)}")
    if seeds:
        facts.append(f"of {seeds} seed{'s' if seeds > 1 else ''}")
    return f" ({', '.join(facts)})" if facts else ""

"""Each row of a table against LoRA, and against LoRA at HypLoRA's scale.

A HypLoRA row is set against LoRA for what the method does, and against `lora_matched` of the same
curvature for what of it is geometry and not scale. Where a table's rows differ in an option
(`apart` in the sweep file), like is set against like: `down_proj alone` against LoRA on down_proj
alone. A table without LoRA whose rows differ in K has K = 1, which a run has unless told otherwise,
to set the others against.

The verdicts of a table are of two families, each corrected by Holm's method: all comparisons on the
average that it is judged by, whatever they are against, which answer what it was made for; and all
on single benchmarks, which are there to say where a difference comes from. The base model stands in
neither: nothing is trained there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from bench.report.rows import Column, Row
from bench.report.spec import AVERAGES
from bench.report.statistics.cells import weights_of
from bench.report.statistics.crossed import LEAST_SEEDS, LEVEL, CrossedTest, crossed_test
from bench.report.statistics.differences import (
    BETTER,
    FEW_SEEDS,
    NOT_COMPARED,
    OPEN,
    WORSE,
    BesideReference,
    PairedDifference,
)
from bench.report.statistics.holm import holm
from bench.report.statistics.outcomes import OTHER_ROWS, Outcomes
from bench.report.statistics.wording import beside_notes

USUAL_K = 1.0
Find = Callable[[Row], Row | None]


def beside(
    rows: Sequence[Row],
    columns: Sequence[Column],
    outcomes: Sequence[Outcomes],
    apart: Iterable[str] = (),
    average: str = AVERAGES[0],
) -> tuple[BesideReference, ...]:
    """Set a table's rows against its references.

    Args:
        rows: Of the table.
        columns: Its benchmarks.
        outcomes: Of each row.
        apart: Options of the methods that make rows of their own.
        average: What the table is judged by, `micro` or `macro`.

    Returns:
        A section for each reference; none where the table has nothing to set a row against.
    """
    known = {id(row): found for row, found in zip(rows, outcomes, strict=True)}
    keys = _keys(columns, average)
    made: list[tuple[str, str, list[tuple[PairedDifference, CrossedTest | None]]]] = []
    for method, heading, find, members in _references(rows, tuple(apart)):
        pairs = [_compare(row, find(row), key, columns, known) for key in keys for row in members]
        if pairs:
            made.append((method, heading, pairs))
    corrected = _corrected([pair for _, _, pairs in made for pair in pairs], average)
    tested = [found.key == average for found in corrected.values() if found.p is not None]
    counts = {f"the {average} average": sum(tested), "single benchmarks": tested.count(False)}
    sections = []
    for method, heading, pairs in made:
        differences = tuple(corrected[id(found)] for found, _ in pairs)
        reference = heading.removeprefix("Beside ")
        notes = beside_notes(differences, reference, counts)
        sections.append(BesideReference(method, heading, differences, notes))
    return tuple(sections)


def _keys(columns: Sequence[Column], average: str) -> list[str]:
    """The average, then each benchmark, unless the one is the other."""
    averaged = [column.key for column in columns if column.averaged]
    singles = [column.key for column in columns]
    return ([average] if averaged else []) + (singles if singles != averaged[:1] else [])


def _references(
    rows: Sequence[Row], apart: tuple[str, ...]
) -> list[tuple[str, str, Find, list[Row]]]:
    """Method, heading, how a row's reference is found, and the rows that are set against one."""

    def options(row: Row) -> tuple[str, ...]:
        return tuple(str(row.options.get(name)) for name in apart)

    def finder(method: str, with_curvature: bool) -> Find:
        def place(row: Row) -> tuple[float | str | None, tuple[str, ...]]:
            return row.curvature if with_curvature else None, options(row)

        there = {place(row): row for row in rows if row.method == method}
        return lambda row: there.get(place(row))

    found: list[tuple[str, str, Find, list[Row]]] = []
    trained = [row for row in rows if row.method != "none"]
    methods = {row.method for row in trained}
    if "lora" in methods:
        others = [row for row in trained if row.method != "lora"]
        found.append(("lora", "Beside LoRA", finder("lora", False), others))
    curved = [row for row in trained if row.curvature is not None]
    if "lora_matched" in methods:
        others = [row for row in curved if row.method != "lora_matched"]
        find = finder("lora_matched", True)
        found.append(("lora_matched", "Beside LoRA at HypLoRA's scale", find, others))
    if "lora" not in methods:
        usual = {(row.method, options(row)): row for row in curved if row.curvature == USUAL_K}
        others = [
            row
            for row in curved
            if row.curvature != USUAL_K and (row.method, options(row)) in usual
        ]
        found.append(
            ("k", f"Beside K={USUAL_K}", lambda row: usual[row.method, options(row)], others)
        )
    return found


def _compare(
    row: Row,
    reference: Row | None,
    key: str,
    columns: Sequence[Column],
    known: dict[int, Outcomes],
) -> tuple[PairedDifference, CrossedTest | None]:
    """One comparison, without a verdict where it comes to the correction."""
    label = reference.label if reference else ""
    empty = PairedDifference(row.method, row.curvature, row.label, label, key, NOT_COMPARED)
    if reference is None:
        return replace(empty, why="the table has no row of that method with the same options"), None
    ours, theirs = known[id(row)], known[id(reference)]
    for found in (ours, theirs):
        if found.why:
            return replace(empty, why=found.why), None
    if ours.tests != theirs.tests:
        return replace(empty, why=OTHER_ROWS), None
    weights = weights_of(key, columns, ours)
    if not weights or not weights_of(key, columns, theirs):
        return replace(empty, why="not scored in every run"), None
    seeds = tuple(s for s in ours.seeds if s is not None and s in theirs.seeds)
    if not seeds:
        return replace(empty, verdict=FEW_SEEDS, why="no seed in common"), None
    one, other = ([found.of(benchmark, seeds) for benchmark in weights] for found in (ours, theirs))
    difference = sum(
        weight * float(a.mean() - b.mean())
        for weight, a, b in zip(weights.values(), one, other, strict=True)
    )
    compared = replace(
        empty,
        verdict=OPEN,
        difference=100 * difference,
        seeds=seeds,
        n=sum(values.shape[1] for values in one),
    )
    if len(seeds) < LEAST_SEEDS:
        few = f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''} in common, at least 3 are needed"
        return replace(compared, verdict=FEW_SEEDS, why=few), None
    test = crossed_test(one, other, list(weights.values()))
    low, high = test.interval()
    beyond = max(float(test.runs - test.run_residual), 0.0) * len(seeds)
    return replace(
        compared,
        low=100 * float(low),
        high=100 * float(high),
        p=float(test.p),
        degrees=float(test.degrees),
        sd_runs=100 * beyond**0.5,
        paired_runs=bool(test.paired),
    ), test


def _corrected(
    pairs: Sequence[tuple[PairedDifference, CrossedTest | None]], average: str
) -> dict[int, PairedDifference]:
    """All comparisons with corrected p-values, verdicts, and what would separate the rest."""
    done = {id(found): found for found, _ in pairs}
    for averages in (True, False):
        family = [
            (found, test)
            for found, test in pairs
            if test is not None and (found.key == average) is averages
        ]
        corrected = holm([found.p for found, _ in family if found.p is not None])
        for (found, test), p in zip(family, corrected, strict=True):
            done[id(found)] = _with_verdict(found, test, p)
    return done


def _with_verdict(found: PairedDifference, test: CrossedTest, p: float) -> PairedDifference:
    """The verdict at 5%."""
    if p <= LEVEL:
        return replace(found, p_holm=p, verdict=BETTER if test.difference > 0 else WORSE)
    return replace(found, p_holm=p)

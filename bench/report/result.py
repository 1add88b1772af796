"""The report, comparisons and figures of one table's runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report.cases import Predictions
from bench.report.comparison import Comparison
from bench.report.figure import Figure, save
from bench.report.figures import table_figures
from bench.report.formats import write
from bench.report.pretraining.comparisons import comparisons_of
from bench.report.pretraining.figures import bits_figure, layers_figure
from bench.report.pretraining.report import pretraining_report
from bench.report.published import load_published
from bench.report.score_report import score_data, score_report
from bench.report.score_table import score_table
from bench.report.scores import ScoreTable
from bench.report.selection import Selection
from bench.report.spec import PretrainingSpec
from bench.report.tables import Report


@dataclass(frozen=True)
class Result:
    """A selection of runs as a report.

    Attributes:
        selection: the runs it was made from.
        report: its tables.
        comparisons: comparisons of its rows, with verdicts.
        figures: makes its figures.
        scores: the computed table; None for pretraining runs.
    """

    selection: Selection
    report: Report
    comparisons: tuple[Comparison, ...]
    figures: Callable[[], Sequence[Figure]]
    scores: ScoreTable | None = None


def result_of(selection: Selection, predictions: Predictions = lambda run_id: ()) -> Result:
    """Make the report of a selection.

    Raises:
        ValueError: these runs make no table, or there is no such file of published numbers.
    """
    if isinstance(selection.spec, PretrainingSpec):
        return _pretraining_result(selection)
    spec = selection.spec
    published = load_published(spec.published) if spec.published else None
    table = score_table(selection, predictions)
    return Result(
        selection=selection,
        report=score_report(table, published),
        comparisons=table.comparisons,
        figures=lambda: table_figures(table),
        scores=table,
    )


def _pretraining_result(selection: Selection) -> Result:
    groups, found = selection.groups, comparisons_of(selection)
    return Result(
        selection=selection,
        report=pretraining_report(selection, found),
        comparisons=found,
        figures=lambda: [bits_figure(groups, found), layers_figure(groups)],
    )


def write_result(result: Result, results: Path, figures: bool = True) -> list[Path]:
    """Write tables/<name>.{md,csv,json,tex} and, if asked, figures/<name>_<figure>.{svg,png}."""
    data = score_data(result.scores) if result.scores else {}
    paths = write(result.report, results / "tables", data)
    if figures:
        for figure in result.figures():
            paths += save(figure, results / "figures", f"{result.report.name}_{figure.name}")
    return paths

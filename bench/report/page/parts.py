"""The parts of the page, kept to a size."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jinja2.utils import htmlsafe_json_dumps

from bench.progress import Progress
from bench.report.cases import Predictions, case_studies
from bench.report.collect import Collected
from bench.report.efficiency import efficiency_report
from bench.report.embeddings.report import embeddings_report
from bench.report.figure import Figure, page_spec
from bench.report.figures import efficiency
from bench.report.formats.html import HtmlTable, html_table
from bench.report.result import Result
from bench.report.selection import Selection
from bench.report.tables import Report, bounded
from bench.tracking.contents import Measurement

# Characters; the page is at most 5 MB, of which vega's scripts are 0.9 MB.
FIGURES, CASES, TABLES = 1_300_000, 1_500_000, 1_000_000
LINES = 40  # of a list of any length
ROWS = 12  # of those that lack runs


@dataclass(frozen=True)
class Part:
    """A report with everything that belongs to it.

    Attributes:
        report: its facts and tables.
        title: its heading, then the note below it.
        charts: its figures; then case studies, if there are any.
        missing: missing runs and the command that runs them.
        omitted: what did not fit on the page.
    """

    report: Report
    title: str
    note: str = ""
    charts: tuple[Figure, ...] = ()
    cases: Mapping[str, Any] | None = None
    missing: tuple[str, ...] = ()
    omitted: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Target of links."""
        return "table-" + re.sub(r"[^\w-]", "-", self.report.name)

    @property
    def tables(self) -> list[HtmlTable]:
        """Its tables for the template."""
        return list(map(html_table, self.report.tables))


def parts_of(results: Sequence[Result], collected: Collected) -> tuple[list[Part], list[str]]:
    """The parts in reading order, and the titles of the tables that did not fit."""
    # Characters left; once something did not fit, nothing of its kind does.
    left = {"figures": FIGURES, "cases": CASES, "tables": TABLES}
    share = CASES // max(1, min(4, len(results)))  # so that the first does not take all
    measured = [found for each in collected.measurements.values() if (found := _measured(each))]
    titles = titles_of([*(result.report for result in results), *(m.report for m in measured)])
    parts: list[Part] = []
    others: list[str] = []
    with Progress("page", len(results), "table") as progress:
        for result in results:
            title = titles[result.report.name]
            left["tables"] -= _size(result.report)
            if left["tables"] >= 0:
                parts.append(_result_part(result, title, collected.predictions, left, share))
            else:
                others.append(title)
            progress.update(1)
    measured.sort(key=lambda part: part.title)
    parts += [replace(part, title=titles[part.report.name]) for part in measured]
    return parts, others


def titles_of(reports: Sequence[Report]) -> dict[str, str]:
    """A title for each report by its name, which is added if titles are equal."""
    counts = Counter(found.title for found in reports)
    return {
        found.name: found.title + (f" ({found.name})" if counts[found.title] > 1 else "")
        for found in reports
    }


def _measured(measurement: Measurement) -> Part | None:
    found = measurement.content
    if measurement.kind == "efficiency":
        report = efficiency_report(found)
        return Part(report, report.title, charts=tuple(filter(None, [efficiency.figure(found)])))
    if measurement.kind == "embeddings":
        report = embeddings_report(found)
        note = f"Its figures are not in this file: see figures/{report.name}_*.svg, and "
        note += f"figures/{report.name}_disk.html for an interactive one."
        return Part(report, report.title, note)
    return None


def _result_part(
    result: Result, title: str, predictions: Predictions, left: dict[str, int], share: int
) -> Part:
    drawn: tuple[Figure, ...] = ()
    studies: dict[str, Any] | None = None
    omitted: list[str] = []
    if left["figures"] >= 0:
        drawn = tuple(result.figures())
        left["figures"] -= sum(_data_size(page_spec(figure)) for figure in drawn)
    if left["figures"] < 0:
        drawn = ()
        omitted.append("interactive figures")
    if result.scores and left["cases"] >= 0:
        studies = case_studies(result.scores, predictions, characters=share)
        left["cases"] -= _data_size(studies) if studies else 0
    if result.scores and left["cases"] < 0:
        studies = None
        omitted.append("case studies")
    note, missing = _note(result.selection), tuple(_missing(result.selection))
    return Part(result.report, title, note, drawn, studies, missing, tuple(omitted))


def _note(selection: Selection) -> str:
    runs, first = selection.records, selection.records[0]
    of = f" of {selection.total:,}" if selection.total > len(runs) else ""
    what = "run" if selection.total == 1 else "runs"
    if "scores" not in first:
        return f"{len(runs):,}{of} pretraining {what}"
    where = f"{first['model']}, {first['data']} data, protocol {first['protocol']}"
    return f"{len(runs):,}{of} {what}: {where}"


def _missing(selection: Selection) -> Iterator[str]:
    """The rows that lack runs, and the command that completes them."""
    yield from bounded((row.line for row in selection.missing), ROWS)
    if selection.command:
        yield f"To run them: {selection.command}"


def _data_size(data: Mapping[str, Any]) -> int:
    """Characters that data for a script takes, escaped as in the templates."""
    return len(htmlsafe_json_dumps(data))


def _size(report: Report) -> int:
    """The approximate number of characters that a report takes on the page."""
    cells = sum(60 * len(row.cells) for table in report.tables for row in table.rows)
    notes = sum(len(note) + 10 for table in report.tables for note in table.notes)
    return cells + notes + sum(map(len, report.facts.values())) + 2000

"""The parts of a report's page, made of what was collected and held to a size."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.progress import Progress
from bench.report.cases import CaseStudies, case_studies
from bench.report.collect import lacking
from bench.report.collected import Collected, CollectedTable
from bench.report.figure import Figure, page_spec
from bench.report.figures.subject import Subject, figures_of
from bench.report.layout import Document, Section, document
from bench.report.page.cells import Grid, grid_of

# Characters, of a page of 5 MB: vega's scripts are 0.9 MB of it.
FIGURES, CASES, TABLES = 1_300_000, 1_500_000, 1_000_000
LINES = 40  # of a list that may be of any length
ROWS, COMMANDS = 12, 4  # of those that a table lacks: so many are named, so many with a command


@dataclass(frozen=True)
class GridPart:
    """A section of a document: its heading, its table where it has one, its notes."""

    heading: str
    grid: Grid | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """A table, or a measurement, with all that belongs to it.

    Attributes:
        anchor: what a link to it ends in.
        title: its heading.
        note: what stands below that.
        facts: what was compared.
        grids: the sections of its document.
        charts: its figures.
        cases: what was written for the same problems; None where that is not known.
        missing: runs that are not there, and what makes them.
        omitted: what there was no room for.
    """

    anchor: str
    title: str
    note: str
    facts: Mapping[str, str]
    grids: tuple[GridPart, ...]
    charts: tuple[Figure, ...] = ()
    cases: CaseStudies | None = None
    missing: tuple[str, ...] = ()
    omitted: tuple[str, ...] = ()


class _Room:
    """What is left of a number of characters. Once something did not fit, nothing does."""

    def __init__(self, characters: int) -> None:
        self.left = characters

    def take(self, size: int) -> bool:
        self.left -= size
        return self.left >= 0

    def __bool__(self) -> bool:
        return self.left > 0


def parts_of(collected: Collected) -> tuple[list[Part], list[str]]:
    """The parts in reading order, and the titles of the tables that there was no room for."""
    figures, cases, tables = _Room(FIGURES), _Room(CASES), _Room(TABLES)
    share = CASES // max(1, min(4, len(collected.tables)))  # so that the first takes not all
    titles = titles_of(collected.tables)
    parts: list[Part] = []
    others: list[str] = []
    with Progress("page", len(collected.tables), "table") as progress:
        for found in collected.tables:
            text = document(found.table)
            title = titles[found.name]
            if tables.take(_size(text)):
                parts.append(_table_part(found, title, text, collected, figures, cases, share))
            else:
                others.append(title)
            progress.update(1)
    parts += _pretrained(collected)
    parts += _measured(collected)
    return parts, others


def _pretrained(collected: Collected) -> Iterator[Part]:
    """A part for each report on pretraining runs."""
    from bench.report.pretraining import pretraining_document, pretraining_figures

    alike = Counter(found.spec.title for found in collected.pretrainings)
    for found in collected.pretrainings:
        text = pretraining_document(found.records, found.spec)
        title = text.title + (f" ({found.spec.name})" if alike[text.title] > 1 else "")
        note = f"{len(found.records):,} pretraining run{'s' if len(found.records) > 1 else ''}"
        drawn = tuple(pretraining_figures(found.records, found.spec))
        yield _part(found.spec.name, text, title=title, note=note, charts=drawn)


def _measured(collected: Collected) -> Iterator[Part]:
    """A part for each measurement that is no run."""
    # The study makes a page, too, with the shell of this one: neither can be imported first.
    from bench.report.efficiency import efficiency_document
    from bench.report.embeddings import embeddings_document
    from bench.report.figures import efficiency

    if "efficiency" in collected.measurements:
        report = collected.measurements["efficiency"].content
        figure = efficiency.figure(report)
        drawn = (figure,) if figure else ()
        yield _part("efficiency", efficiency_document(report), charts=drawn)
    if "embeddings" in collected.measurements:
        report = collected.measurements["embeddings"].content
        note = (
            "Its pictures are not in this file: figures/embeddings_*.svg, and "
            "figures/embeddings_disk.html to move about in."
        )
        yield _part("embeddings", embeddings_document(report), note=note)


def titles_of(tables: Sequence[CollectedTable]) -> dict[str, str]:
    """A title for each table, by its name, which stands behind it where titles are alike."""
    counts = Counter(found.table.title for found in tables)
    return {
        found.name: found.table.title
        + (f" ({found.name})" if counts[found.table.title] > 1 else "")
        for found in tables
    }


def _table_part(
    found: CollectedTable,
    title: str,
    text: Document,
    collected: Collected,
    figures: _Room,
    cases: _Room,
    share: int,
) -> Part:
    drawn: tuple[Figure, ...] = ()
    studies = None
    omitted = []
    if figures:
        drawn = tuple(figures_of(found.table, found.records, found.spec))
        if not figures.take(sum(_data_size(page_spec(chart)) for chart in drawn)):
            drawn = ()
    if found.spec.figures and not figures:
        omitted.append("figures with values on hover")
    if cases:
        subject = Subject.of(found.table, found.records, found.spec)
        studies = case_studies(subject, collected.predictions, characters=share)
        if studies and not cases.take(_data_size(studies.data)):
            studies = None
    if not cases:
        omitted.append("case studies")
    return _part(
        found.name,
        text,
        title=title,
        note=_note(found),
        charts=drawn,
        cases=studies,
        missing=tuple(_missing(found)),
        omitted=tuple(omitted),
    )


def _part(name: str, text: Document, **rest: Any) -> Part:
    given: dict[str, Any] = {"title": text.title, "note": ""} | rest
    return Part(
        anchor="table-" + re.sub(r"[^\w-]", "-", name),
        facts=text.facts,
        grids=tuple(map(grid_part, text.sections)),
        **given,
    )


def grid_part(section: Section) -> GridPart:
    """A section as the page shows it."""
    grid = grid_of(section) if section.rows else None
    return GridPart(section.heading, grid, section.notes)


def bounded(lines: Iterable[str], most: int = LINES) -> Iterator[str]:
    """The first lines, and then how many more there are."""
    all_lines: Sequence[str] = list(lines)
    yield from all_lines[:most]
    if len(all_lines) > most:
        yield f"and {len(all_lines) - most:,} more"


def _note(found: CollectedTable) -> str:
    table = found.table
    of = f" of {found.total:,}" if found.total > len(found.records) else ""
    where = f"{table.model}, {table.data} data, protocol {table.protocol}"
    return f"{len(found.records):,}{of} runs: {where}"


def _missing(found: CollectedTable) -> Iterator[str]:
    """The rows that lack runs, each with its command; of many rows one command for all."""
    each = len(found.missing) <= COMMANDS
    lines = []
    for missing in found.missing:
        line = "; ".join([lacking(missing), *missing.why])
        lines.append(f"{line}: {missing.command}" if each else line)
    yield from bounded(lines, ROWS)
    if not each:
        yield f"All of them: {found.command}"


def _data_size(data: Mapping[str, Any]) -> int:
    """How many characters data for a script takes, escaped as the templates do."""
    from jinja2.utils import htmlsafe_json_dumps

    return len(htmlsafe_json_dumps(data))


def _size(text: Document) -> int:
    """About how many characters a document takes on the page."""
    cells = sum(len(cell) + 30 for s in text.sections for row in s.rows for cell in row)
    notes = sum(len(note) + 10 for s in text.sections for note in s.notes)
    return cells + notes + sum(map(len, text.facts.values())) + 2000

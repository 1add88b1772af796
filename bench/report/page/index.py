"""The page: results/report/index.html, a single file without a server or a request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.files import write_text
from bench.report.collect import Collected
from bench.report.comparison import NOT_COMPARED
from bench.report.formats.html import html_table
from bench.report.page.parts import LINES, parts_of, titles_of
from bench.report.page.provenance import provenance
from bench.report.page.shell import render
from bench.report.page.words import sentence
from bench.report.result import Result
from bench.report.tables import bounded

NAME = "index.html"
SCRIPTS = ("nav.js", "sort.js", "vega", "charts.js", "cases.js")
FAMILY = "hyplora"  # methods that the summary is about
GLANCED = 8  # tables in the summary


def write_page(results: Sequence[Result], collected: Collected, folder: Path) -> Path:
    """Write the page into a folder, which is created, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    write_text(path, page(results, collected))
    return path


def page(results: Sequence[Result], collected: Collected) -> str:
    """The page as text; `results` are of the selections of `collected`, in their order."""
    parts, others = parts_of(results, collected)
    titles = titles_of([result.report for result in results])
    found = [(titles[result.report.name], _summary(result)) for result in results]
    summary = [(title, sentences) for title, sentences in found if sentences]
    scored = [result.selection for result in results if result.scores]
    runs = {record["identity"] for selection in scored for record in selection.records}
    pretrained = [result.selection for result in results if not result.scores]
    return render(
        "report.html",
        "HypLoRA: results",
        SCRIPTS,
        parts=parts,
        others=list(bounded(others, LINES)),
        summary=summary[:GLANCED],
        more_found=max(0, len(summary) - GLANCED),
        runs=len(runs),
        pretrained=sum(len(selection.records) for selection in pretrained),
        bases=sorted({record["model"] for found in scored for record in found.records}),
        absent=dict(collected.absent),
        left_out=list(bounded(collected.left_out, LINES)),
        states={state: count for state, count in collected.states.items() if count},
        unfinished=list(bounded(collected.unfinished, LINES)),
        provenance=html_table(provenance(scored)) if scored else None,
    )


def _summary(result: Result) -> list[tuple[str, str, str]]:
    """The comparisons on the main column of a table: of HypLoRA's methods, or of all models."""
    found = [each for each in result.comparisons if each.verdict != NOT_COMPARED]
    if result.scores:
        ours = {row.key for row in result.scores.rows if row.method.startswith(FAMILY)}
        main = result.scores.main
        found = [each for each in found if each.column == main and each.row in ours]
    return list(map(sentence, found))

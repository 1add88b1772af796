"""The page: results/report/index.html, one file for a person to read, and to send to another."""

from __future__ import annotations

from pathlib import Path

from bench.files import write_text
from bench.report.collected import Collected
from bench.report.page.parts import bounded, grid_part, parts_of, titles_of
from bench.report.page.provenance import provenance
from bench.report.page.shell import render
from bench.report.page.words import findings, twin_sentence
from bench.report.pretraining import twin_differences

__all__ = ["write_page"]

NAME = "index.html"
SCRIPTS = ("nav.js", "sort.js", "vega", "charts.js", "cases.js")
FAMILY = "hyplora"  # what the page's first words are about
GLANCED = 8  # tables that they are of


def write_page(collected: Collected, folder: Path) -> Path:
    """Write the page of all that was collected.

    Args:
        collected: tables, measurements, and what they lack.
        folder: where index.html is put.

    Returns:
        Its path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    write_text(path, page(collected))
    return path


def page(collected: Collected) -> str:
    """The page as text."""
    parts, others = parts_of(collected)
    titles = titles_of(collected.tables)
    found = [(titles[t.name], list(findings(t.table, FAMILY))) for t in collected.tables]
    found += [
        (each.spec.title, [twin_sentence(one) for one in twin_differences(each.records, each.spec)])
        for each in collected.pretrainings
    ]
    summary = [(title, sentences) for title, sentences in found if sentences]
    return render(
        "report.html",
        "HypLoRA, run and compared",
        SCRIPTS,
        parts=parts,
        others=list(bounded(others)),
        summary=summary[:GLANCED],
        more_found=max(0, len(summary) - GLANCED),
        # A run may stand in several tables.
        runs=len({run["identity"] for part in collected.tables for run in part.records}),
        pretrained=sum(len(found.records) for found in collected.pretrainings),
        bases=sorted({part.table.model for part in collected.tables}),
        absent=dict(collected.absent),
        left_out=list(bounded(f"{x.what}: {x.why}" for x in collected.left_out)),
        states={state: count for state, count in collected.states.items() if count},
        unfinished=list(bounded(collected.unfinished)),
        provenance=grid_part(provenance(collected.tables)) if collected.tables else None,
    )

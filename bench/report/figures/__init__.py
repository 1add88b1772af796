"""The figures of a score table: each is a module with `figure(table) -> Figure | None`."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

from bench.report.figure import Figure
from bench.report.scores import ScoreTable


def table_figures(table: ScoreTable) -> list[Figure]:
    """The figures that a table's spec names, without those that no run has the data for.

    The table's title is put before theirs.
    """
    spec = table.selection.spec
    drawn = (import_module(f"{__name__}.{name}").figure(table) for name in spec.figures)
    return [replace(found, title=f"{spec.title}: {found.title}") for found in drawn if found]

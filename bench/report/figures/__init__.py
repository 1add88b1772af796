"""The figures of a score table: each is a module with `figure(table) -> Figure | None`."""

from __future__ import annotations

from importlib import import_module

from bench.report.figure import Figure
from bench.report.scores import ScoreTable


def table_figures(table: ScoreTable) -> list[Figure]:
    """The figures that a table's spec names, without those that no run has the data for."""
    modules = (import_module(f"{__name__}.{name}") for name in table.selection.spec.figures)
    return [figure for module in modules if (figure := module.figure(table)) is not None]

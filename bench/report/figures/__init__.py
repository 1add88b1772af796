"""The figures of a score table: each is a module with `figure(table) -> Figure | None`."""

from __future__ import annotations

from importlib import import_module

from bench.report.figure import Figure
from bench.report.scores import ScoreTable


def table_figures(table: ScoreTable) -> list[Figure]:
    """The figures that the spec of a table names, less those that no run has the facts for."""
    drawn = (
        import_module(f"{__name__}.{name}").figure(table) for name in table.selection.spec.figures
    )
    return [figure for figure in drawn if figure is not None]

"""The figures that go with a table: as files to print, and with values on hover for a page.

A figure is one file: `picture(subject)` draws it, `charts(subject)` is the same for a page; None
and empty where no run has the facts for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

from bench.report.chart import Chart
from bench.report.figures.subject import Subject
from bench.report.records import Record
from bench.report.spec import TableSpec
from bench.report.style import save
from bench.report.table import Table


def draw(table: Table, records: Iterable[Record], spec: TableSpec, folder: Path) -> list[Path]:
    """Draw the figures that a table's spec names, as SVG and PNG.

    Args:
        table: made of the records by `build`.
        records: the runs.
        spec: names the figures.
        folder: where they are written, as <table>_<figure>.svg and .png.

    Returns:
        The paths; none for a figure that no run has the facts for.
    """
    subject = Subject.of(table, records, spec)
    paths: list[Path] = []
    for name in spec.figures:
        figure = _figure(name).picture(subject)
        if figure is not None:
            paths += save(figure, folder, f"{table.name}_{name}")
    return paths


def charts(table: Table, records: Iterable[Record], spec: TableSpec) -> list[Chart]:
    """The same figures with values on hover; arguments as for `draw`."""
    subject = Subject.of(table, records, spec)
    return [chart for name in spec.figures for chart in _figure(name).charts(subject)]


def _figure(name: str) -> ModuleType:
    """The file of a figure; `spec.FIGURES` has the names."""
    return import_module(f"{__name__}.{name}")

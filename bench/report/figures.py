"""The pictures that go with a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.report.gates import PANELS
from bench.report.names import method_label
from bench.report.records import Record, group, select
from bench.report.spec import TableSpec
from bench.report.style import log_scale, new_figure, save, style_of, tidy
from bench.report.table import Table
from bench.tracking.record import gates_by_module


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
    paths: list[Path] = []
    for name in spec.figures:
        if name == "accuracy":
            figure = _accuracy(table)
        else:
            figure = _gates(table, group(select(records), spec.apart))
        if figure is not None:
            paths += save(figure, folder, f"{table.name}_{name}")
    return paths


def _accuracy(table: Table) -> Any:
    """Each row's accuracy on each set: a dot a seed, a line at their mean."""
    figure = new_figure(9.5, 0.9 + 0.27 * len(table.rows))
    axes = figure.subplots(1, len(table.columns), sharey=True, squeeze=False)[0]
    methods = list(dict.fromkeys(row.method for row in table.rows))
    for axis, column in zip(axes, table.columns, strict=True):
        for place, row in enumerate(table.rows):
            cell = row.cells[column.key]
            colour, marker = style_of(methods.index(row.method))
            values = [value.value for value in cell.values]
            axis.plot(values, [place] * len(values), marker, color=colour, markersize=4, alpha=0.7)
            if cell.mean is not None:
                axis.plot(
                    [cell.mean] * 2, [place - 0.35, place + 0.35], color=colour, linewidth=1.5
                )
        if column.chance is not None:
            axis.axvline(column.chance, color="black", linestyle=":", linewidth=1)
        tidy(axis, column.label)
        axis.set_xlabel("accuracy, %", fontsize=8)
    axes[0].set_yticks(range(len(table.rows)), [row.label for row in table.rows])
    axes[0].invert_yaxis()
    figure.suptitle(f"{table.title}: a dot a seed, a bar the mean, dotted chance", fontsize=10)
    return figure


def _gates(table: Table, groups: Sequence[Sequence[Record]]) -> Any:
    """Gates by module type and method, before (hollow) and after training, mean over seeds."""
    summaries: dict[str, dict[str, list[dict[str, dict[str, float]]]]] = {}
    widest: dict[str, int] = {}
    for row, runs in zip(table.rows, groups, strict=True):
        measured = [run["training"]["gates"] for run in runs if run["training"].get("gates")]
        # Of a method's rows the one with the most layers: all in one picture can't be told apart.
        if measured and len(measured[0]["end"]) > widest.get(row.method, 0):
            widest[row.method] = len(measured[0]["end"])
            summaries[row.method] = {
                when: [gates_by_module(run[when]) for run in measured] for when in ("start", "end")
            }
    if not summaries:
        return None
    modules = list(dict.fromkeys(m for s in summaries.values() for run in s["end"] for m in run))
    figure = new_figure(9.5, 4.2)
    axes = figure.subplots(1, len(PANELS))
    for axis, (key, title) in zip(axes, PANELS.items(), strict=True):
        drawn: list[float] = []
        for place, (method, moments) in enumerate(summaries.items()):
            colour, marker = style_of(place)
            shift = 0.7 * ((place + 0.5) / len(summaries) - 0.5)
            for when, runs in moments.items():
                points = [
                    (
                        modules.index(module) + shift,
                        sum(run[module][key] for run in runs) / len(runs),
                    )
                    for module in modules
                    if all(module in run for run in runs)
                ]
                drawn += [value for _, value in points]
                axis.plot(
                    *zip(*points, strict=True),
                    marker,
                    color=colour,
                    markerfacecolor="none" if when == "start" else colour,
                    markersize=5,
                    label=method_label(method) if when == "end" else None,
                )
        log_scale(axis, drawn)
        tidy(axis, title)
        axis.set_xticks(range(len(modules)), modules, rotation=30, ha="right")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.suptitle(f"{table.title}: gates before (hollow) and after training", fontsize=10)
    return figure

"""Gates by layer and module type, before and after training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.chart import Chart, chart_of, choice, scales, values
from bench.report.figures.subject import Look, Subject, row_looks
from bench.report.gates import PANELS, layer_number
from bench.report.records import Record
from bench.report.style import (
    WIDE,
    head,
    legend_below,
    log_scale,
    name_axis,
    new_figure,
    tidy,
)

TITLE = "Gates by layer and module type"
MOMENTS = {"start": "before", "end": "after"}
# By (module, moment): for each layer its number and the panels' values, mean over seeds.
Curves = Mapping[tuple[str, str], Sequence[tuple[int, Mapping[str, float]]]]


def picture(subject: Subject) -> Any:
    """A row of panels a statistic, a column a module type; dashed and hollow before training."""
    measured, looks = _measured(subject)
    if not measured:
        return None
    modules = list(dict.fromkeys(module for curves in measured.values() for module, _ in curves))
    figure = new_figure(WIDE, 4.6)
    grid = figure.subplots(len(PANELS), len(modules), sharex=True, sharey="row", squeeze=False)
    for axes, (key, title) in zip(grid, PANELS.items(), strict=True):
        drawn: list[float] = []
        for axis, module in zip(axes, modules, strict=True):
            for row, curves in measured.items():
                colour, marker = looks[row]
                for moment in MOMENTS:
                    # A logarithmic axis has no place for 0: a gate that never varies.
                    points = [
                        (layer, found[key])
                        for layer, found in curves.get((module, moment), ())
                        if found[key] > 0
                    ]
                    drawn += [value for _, value in points]
                    axis.plot(
                        *(zip(*points, strict=True) if points else ((), ())),
                        marker=marker,
                        color=colour,
                        linestyle="--" if moment == "start" else "-",
                        markerfacecolor="none" if moment == "start" else colour,
                        markersize=3,
                        linewidth=0.8,
                        label=row if moment == "end" else None,
                    )
            tidy(axis, module if key == next(iter(PANELS)) else "")
            axis.xaxis.get_major_locator().set_params(integer=True)
        log_scale(axes[0], drawn)
        name_axis(axes[0], y=title)
    for axis in grid[-1]:
        name_axis(axis, x="layer")
    legend_below(figure, *grid[0][0].get_legend_handles_labels())
    head(
        figure,
        f"{subject.table.title}: gates before (dashed) and after training, mean over seeds; "
        "0 is not drawn",
    )
    return figure


def charts(subject: Subject) -> list[Chart]:
    """The same, one statistic of one module type at a time."""
    import altair as alt

    measured, looks = _measured(subject)
    if not measured:
        return []
    facts = [
        {"row": row, "module": module, "training": MOMENTS[moment]}
        | {"layer": layer}
        | {title: found[key] if found[key] > 0 else None for key, title in PANELS.items()}
        for row, curves in measured.items()
        for (module, moment), layers in curves.items()
        for layer, found in layers
    ]
    modules = list(dict.fromkeys(str(fact["module"]) for fact in facts))
    colour, shape = scales({row: looks[row] for row in measured})
    log = alt.Axis(tickCount=5, format="~g")
    base = (
        alt.Chart(values(facts))
        .transform_filter("datum.module == module")
        .transform_calculate(value="datum[statistic]")
        .transform_filter("isValid(datum.value)")
        .encode(
            x=alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1, format="d")),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(type="log", nice=False), axis=log),
            color=alt.Color("row:N", scale=colour, title=None),
        )
    )
    dash = alt.StrokeDash(
        "training:N",
        title=None,
        scale=alt.Scale(domain=["after", "before"], range=[[1, 0], [4, 4]]),
    )
    lines = base.mark_line(strokeWidth=1.5).encode(strokeDash=dash)
    points = base.mark_point(filled=True, size=60).encode(
        shape=alt.Shape("row:N", scale=shape, title=None),
        opacity=alt.condition("datum.training == 'before'", alt.value(0.5), alt.value(1)),
        tooltip=[
            "row:N",
            "module:N",
            "layer:Q",
            "training:N",
            *(f"{t}:Q" for t in PANELS.values()),
        ],
    )
    caption = (
        "Dashed before training, full after it; mean over seeds, on validation prompts. "
        "Logarithmic scale: a variation of 0 is not on it."
    )
    chosen = {
        "statistic": choice("statistic", "Statistic", list(PANELS.values())),
        "module": choice("module", "Module", modules),
    }
    return [chart_of(TITLE, caption, [lines, points], 280, **chosen)]


def _measured(subject: Subject) -> tuple[dict[str, Curves], dict[str, Look]]:
    """The gates of the rows that have some, and the rows' looks."""
    measured = {}
    for row, runs in subject.few():
        known = [run for run in runs if (run.get("training") or {}).get("gates")]
        if known:
            measured[row.label] = _curves(known)
    return measured, row_looks([row for row in subject.table.rows if row.label in measured])


def _curves(runs: Sequence[Record]) -> Curves:
    """The gates of one row, mean over its runs layer by layer."""
    found: dict[tuple[str, str], list[tuple[int, dict[str, float]]]] = {}
    for moment in MOMENTS:
        for layers in zip(*(run["training"]["gates"][moment] for run in runs), strict=True):
            first = layers[0]
            curve = found.setdefault((first["module"], moment), [])
            means = {key: sum(layer[key] for layer in layers) / len(layers) for key in PANELS}
            curve.append((layer_number(first["layer"], len(curve)), means))
    return found

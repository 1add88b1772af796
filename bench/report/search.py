"""The figure of a search: the value of each trial, and what it depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import altair as alt

from bench.report.figure import Figure, data, look, names, panel, save
from bench.report.theme import BLUE, RED


def draw_search(
    trials: Sequence[tuple[int, Sequence[float]]],
    objectives: Sequence[tuple[str, str]],
    importances: Mapping[str, float],
    best: Sequence[int],
    folder: Path,
    name: str,
) -> list[Path]:
    """Write the figure of a search as SVG and PNG; return the paths.

    It shows one objective over the trials with the best so far, or two against each other.

    Args:
        trials: number and values of each finished trial.
        objectives: name and direction (`minimize`, `maximize`) of each.
        importances: share of the variance by key; may be empty.
        best: numbers of the best trials.
        folder: folder of the files.
        name: stem of the files.
    """
    shape: Any = "linear"
    trials = sorted(trials)
    (first, direction), *others = objectives
    keys = [objective for objective, _ in objectives]
    rows: list[dict[str, Any]] = [
        {"trial": number, "kind": "trial", **dict(zip(keys, values, strict=True))}
        for number, values in trials
    ]
    if others:
        x, y = first, others[0][0]
        for row in rows:
            if row["trial"] in best:
                row |= {"kind": "Pareto front", "line": row[y]}
        caption = "Line: Pareto front of the two objectives."
    else:
        x, y = "trial", first
        better = min if direction == "minimize" else max
        for row, value in zip(rows, accumulate((v[0] for _, v in trials), better), strict=True):
            row["line"] = value
        caption, shape = "Line: best value so far.", "step-after"
    scale = alt.Scale(zero=False, nice=False, padding=8)
    base = alt.Chart().encode(
        x=alt.X(f"{x}:Q", title=x.replace("_", " "), scale=scale),
        y=alt.Y(f"{y}:Q", title=y.replace("_", " "), scale=scale),
    )
    looks = {"trial": (BLUE, "circle"), "Pareto front": (RED, "diamond")}
    lines = base.mark_line(color=RED, strokeWidth=1.2, interpolate=shape).encode(y="line:Q")
    points = base.mark_point().encode(**look("kind", looks, legend=bool(others)))
    panels = [panel((lines, points), "trials", 190)]
    if importances:
        rows += [{"key": key, "share": share} for key, share in importances.items()]
        bars = alt.Chart().mark_bar(color=BLUE, height={"band": 0.7})
        bars = bars.encode(
            x=alt.X("share:Q", title="share of the variance"), y=names("key", list(importances))
        )
        panels.append(panel((bars,), "importance of the keys (fANOVA)", 190))
    chart = alt.concat(*panels, data=data(rows), columns=len(panels))
    figure = Figure("search", f"Search over {len(trials)} trials", caption, chart)
    return save(figure, folder, name)
